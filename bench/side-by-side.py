"""The PyTorch half of side-by-side.sh, and what it needs around it.

    python side-by-side.py model WIDE VAE OUT      makes OUT: the model WIDE, and an autoencoder as the settings VAE say
    python side-by-side.py picture MODEL OUT       draws the picture OUT; tells of its steps as Flow's events do
    python side-by-side.py half MODEL WORK ROUNDS  as halves.rs: seconds, CPU seconds and MiB of each round
    python side-by-side.py differ A B              how far two pictures are apart
"""

# What one way of calling needs is imported there: a whole process is timed, imports and all.
import json
import os
import shutil
import sys
import time
from pathlib import Path

PROMPT = "a photo of a panda on a beach"
STEPS, GUIDANCE = 30, 5.0


def model(wide, vae, out):
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    part = Path(out + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(wide, part, ignore=shutil.ignore_patterns("vae"), copy_function=os.link)
    AutoencoderKL.from_config(json.loads(Path(vae).read_text())).save_pretrained(part / "vae")
    part.rename(out)


def picture(model, out):
    import torch
    from diffusers import StableDiffusionXLPipeline

    torch.set_num_threads(2)
    pipe = StableDiffusionXLPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)

    def told(pipe, step, timestep, kept):
        print(json.dumps({"type": "progress", "unit": "step", "done": step + 1, "t": time.perf_counter()}))
        return kept

    drawn = pipe(
        PROMPT,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator("cpu").manual_seed(0),
        callback_on_step_end=told,
    )
    drawn.images[0].save(out)


def load(model):
    import torch
    from diffusers import UNet2DConditionModel

    # Weights that are in float32 already stay in the mapped file until they are used.
    return lambda: UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32)


def text(model):
    import torch
    from diffusers import StableDiffusionXLPipeline

    pipe = StableDiffusionXLPipeline.from_pretrained(model, unet=None, vae=None, torch_dtype=torch.float32)
    return lambda: pipe.encode_prompt(PROMPT, device="cpu", do_classifier_free_guidance=False)


def decode(model, size):
    import torch
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(model, subfolder="vae", torch_dtype=torch.float32)
    side = size >> (len(vae.config.block_out_channels) - 1)
    latents = torch.randn(1, vae.config.latent_channels, side, side)
    return lambda: vae.decode(latents / vae.config.scaling_factor).sample


def step(model, size):
    import torch

    unet, settings = load(model)(), lambda part: json.loads(Path(model, part, "config.json").read_text())
    c, vae = unet.config, settings("vae")
    side, tokens = size >> (len(vae["block_out_channels"]) - 1), settings("text_encoder")["max_position_embeddings"]
    width = c.projection_class_embeddings_input_dim - 6 * c.addition_time_embed_dim
    latents = torch.randn(1, c.in_channels, side, side)
    text = torch.randn(2, tokens, c.cross_attention_dim)
    time_ids = torch.tensor([[size, size, 0, 0, size, size]] * 2, dtype=torch.float32)
    added = {"text_embeds": torch.randn(2, width), "time_ids": time_ids}

    def guided():
        both = torch.cat([latents] * 2)
        said = unet(both, 500, encoder_hidden_states=text, added_cond_kwargs=added, return_dict=False)[0]
        negative, positive = said.chunk(2)
        return negative + GUIDANCE * (positive - negative)

    return guided


def fold(model):
    from peft import LoraConfig, get_peft_model

    adapted = LoraConfig(r=8, lora_alpha=8, init_lora_weights=False, target_modules=r".*attn[12]\.to_(q|k|v|out\.0)")
    return get_peft_model(load(model)(), adapted).merge_adapter


def half(model, work, rounds):
    import torch

    sys.dont_write_bytecode = True  # beside the sources
    from watched import Peak

    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    kind, _, size = work.partition("-")
    parts = {"load": load, "text": text, "decode": decode, "unet": step, "fold": fold}
    run = parts[kind](model, int(size)) if size else parts[kind](model)
    for _ in range(int(rounds)):
        if kind == "fold":
            run.__self__.unmerge_adapter()
        with Peak(os.getpid()) as peak:
            begun, cpu = time.perf_counter(), time.process_time()
            result = run()
            took = time.perf_counter() - begun, time.process_time() - cpu
        print(*took, f"{peak.mib:.0f}")
        del result


def differ(a, b):
    import numpy as np
    from PIL import Image

    a, b = (np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (a, b))
    print(f"The two pictures differ by at most {abs(a - b).max()} of 255 levels.")


if __name__ == "__main__":
    {"model": model, "picture": picture, "half": half, "differ": differ}[sys.argv[1]](*sys.argv[2:])
