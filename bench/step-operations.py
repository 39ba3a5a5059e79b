"""Counts what a training step with PaRa takes, as a share of one with LoRA. Run by train-step.sh.

    python step-operations.py MODEL RANK

A product of [n, a] and [a, b] is 2nab operations, and so is each gradient of it that is wanted: one of a frozen layer,
both of a LoRA's two. A PaRa takes six products with its basis, and two for the basis'
gradient.
"""

import json
import sys
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

model, rank = sys.argv[1], int(sys.argv[2])
unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32)
extra = {"lora": 0, "para": 0}


def count(layer, inputs, output):
    n, d_in, d_out = output.numel() // output.shape[-1], layer.in_features, layer.out_features
    extra["lora"] += 6 * n * rank * (d_in + d_out)
    extra["para"] += 16 * n * rank * d_out


for name, layer in unet.named_modules():
    if name.endswith((".to_q", ".to_k", ".to_v", ".to_out.0")):
        layer.register_forward_hook(count)
c = unet.config
width = c.projection_class_embeddings_input_dim - 6 * c.addition_time_embed_dim
tokens = json.loads(Path(model, "text_encoder", "config.json").read_text())["max_position_embeddings"]
latents, text = torch.zeros(1, c.in_channels, c.sample_size, c.sample_size), torch.zeros(1, tokens, c.cross_attention_dim)
added = {"text_embeds": torch.zeros(1, width), "time_ids": torch.zeros(1, 6)}
with FlopCounterMode(display=False) as base, torch.no_grad():
    unet(latents, torch.tensor([500]), encoder_hidden_states=text, added_cond_kwargs=added)
step = 2 * base.get_total_flops()
print((step + extra["para"]) / (step + extra["lora"]))
