"""Writes a model with the widths of SDXL's denoiser and text encoders, but fewer layers, and random weights: for timing.

    python wide-model.py models/mini-sdxl OUT

The autoencoder, the tokenizers and the noise are the small model's.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

small, out = Path(sys.argv[1]), Path(sys.argv[2])
torch.manual_seed(0)
part = out.with_name(out.name + ".part")
shutil.rmtree(part, ignore_errors=True)
shutil.copytree(small, part, ignore=shutil.ignore_patterns("unet", "text_encoder*", "clip", "*.md", "*.py", "*.png"))
UNet2DConditionModel(
    sample_size=32,
    block_out_channels=(320, 640, 1280),
    layers_per_block=1,
    transformer_layers_per_block=(1, 1, 1),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=(5, 10, 20),
    cross_attention_dim=2048,
    addition_embed_type="text_time",
    addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816,
    use_linear_projection=True,
).save_pretrained(part / "unet")
encoders = [("text_encoder", CLIPTextModel, 768, 12), ("text_encoder_2", CLIPTextModelWithProjection, 1280, 20)]
for name, kind, width, heads in encoders:
    said = json.loads((small / name / "config.json").read_text())
    kept = ("bos_token_id", "eos_token_id", "pad_token_id", "vocab_size", "hidden_act")
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=heads,
        num_hidden_layers=2,
        projection_dim=width,
        max_position_embeddings=77,
        **{key: said[key] for key in kept},
    )
    kind(config).save_pretrained(part / name)
for path in part.glob("tokenizer*/tokenizer_config.json"):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 77}))
shutil.rmtree(out, ignore_errors=True)
part.rename(out)
