"""Trains the two example adapters in models/adapters on mini-sdxl with PyTorch, diffusers and PEFT.

A PaRa of the bear (rank 8 under gamma = 1/8, the convolutions and attention of the paper's files, 200 steps) and a LoRA
of the red cartoon (rank 8, attention, 300 steps). They are here until Flow trains its own.

    python bench/example-adapters.py
"""

import json
import pathlib

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionXLPipeline
from PIL import Image
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file

MODEL, DATA, OUT = "models/mini-sdxl", pathlib.Path("data/mini-dreambooth"), pathlib.Path("models/adapters")
GAMMA, RANK, PROMPTS = 8, 8, json.loads((DATA / "prompts.json").read_text())["subjects"]


class Reduced(torch.nn.Module):
    """A layer whose output loses the span of B: y = b + h - t Q Q^T h, with h the output without its bias."""

    def __init__(self, layer, rank):
        super().__init__()
        self.layer, self.t = layer, 1.0
        start = torch.linalg.qr(torch.randn(layer.weight.shape[0], rank))[0]
        self.B = torch.nn.Parameter(start)

    def forward(self, x):
        y, bias = self.layer(x), self.layer.bias
        axis = 1 if self.layer.weight.dim() == 4 else -1
        y = y.movedim(axis, -1)
        h = y if bias is None else y - bias
        q = torch.linalg.qr(self.B)[0]
        return (y - self.t * (h @ q) @ q.T).movedim(-1, axis)


def is_target(name, layer):
    """The paper's ExCA, as its files hold it."""
    if not isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)) or "attn2" in name or "embedding" in name:
        return False
    return "attn1.to_" in name or "resnets" in name or "samplers" in name


def batch(pipe, subject):
    files = sorted((DATA / subject).glob("*.png"))
    pictures = np.stack([np.asarray(Image.open(f).convert("RGB")) for f in files])
    pixels = torch.tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = pipe.vae.encode(pixels).latent_dist.mode() * pipe.vae.config.scaling_factor
    embeds, _, pooled, _ = pipe.encode_prompt(PROMPTS[subject]["training_prompt"], do_classifier_free_guidance=False)
    n = len(files)
    time_ids = torch.tensor([[64.0, 64, 0, 0, 64, 64]] * n)
    return latents, embeds.expand(n, -1, -1), {"text_embeds": pooled.expand(n, -1), "time_ids": time_ids}


def train(pipe, subject, parameters, steps, rate, ramp=None):
    noises = DDPMScheduler.from_config(pipe.scheduler.config)
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0)
    with torch.no_grad():
        latents, embeds, added = batch(pipe, subject)
    for step in range(steps):
        if ramp:
            ramp(min(1.0, (step + 1) / (steps / 10)))
        t = torch.randint(0, 1000, (len(latents),))
        noise = torch.randn_like(latents)
        prediction = pipe.unet(noises.add_noise(latents, noise, t), t, embeds, added_cond_kwargs=added).sample
        loss = (prediction - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0 or step == steps - 1:
            print(f"{subject} step {step}: loss {loss.item():.4f}", flush=True)


def para(subject):
    torch.manual_seed(0)
    pipe = StableDiffusionXLPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    pipe.unet.requires_grad_(False)
    reduced = {}
    for name, layer in list(pipe.unet.named_modules()):
        if is_target(name, layer):
            full = int(torch.linalg.matrix_rank(layer.weight.flatten(1)))
            rank = min(RANK, full // GAMMA)
            if rank:
                reduced[name] = Reduced(layer, rank)
                parent, _, child = name.rpartition(".")
                setattr(pipe.unet.get_submodule(parent), child, reduced[name])

    def ramp(t):
        for layer in reduced.values():
            layer.t = t

    train(pipe, subject, [layer.B for layer in reduced.values()], 200, 2e-2, ramp)
    spans = {f"unet.{name}.para_q": torch.linalg.qr(layer.B.detach())[0].half() for name, layer in reduced.items()}
    metadata = {
        "format": "para", "version": "1", "component": "unet", "layer_set": "table3", "subset": "ExCA",
        "rank": str(RANK), "gamma": f"1/{GAMMA}", "strength": "1", "base_model": "mini-sdxl", "steps": "200",
        "seed": "0", "prompt": PROMPTS[subject]["training_prompt"],
    }
    save_file({name: q.contiguous() for name, q in spans.items()}, OUT / f"{subject}.para.safetensors", metadata)


def lora(subject):
    torch.manual_seed(0)
    pipe = StableDiffusionXLPipeline.from_pretrained(MODEL, torch_dtype=torch.float32)
    pipe.unet.requires_grad_(False)
    pipe.unet.add_adapter(LoraConfig(r=8, lora_alpha=8, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    train(pipe, subject, [p for p in pipe.unet.parameters() if p.requires_grad], 300, 2e-3)
    state = {f"unet.{name}": value.half().contiguous() for name, value in get_peft_model_state_dict(pipe.unet).items()}
    metadata = {"format": "pt", "base_model": "mini-sdxl", "prompt": PROMPTS[subject]["training_prompt"], "steps": "300"}
    save_file(state, OUT / f"{subject}.lora.safetensors", metadata)


OUT.mkdir(parents=True, exist_ok=True)
para("bear_plushie")
lora("red_cartoon")
