"""Has PEFT make a PaRa (its DEFT tuner with para=True) on mini-sdxl's denoiser, and says what PEFT predicts with it.

Run by peft-para.sh, which makes the environment. Writes three files into tests/data/peft-para: PEFT's own two, and
`expected.safetensors` with the inputs and the prediction.
"""

import os
import shutil
import sys

import torch
from diffusers import UNet2DConditionModel
from peft import DeftConfig, get_peft_model
from safetensors.torch import save_file

model, out = sys.argv[1:3]
torch.manual_seed(0)
torch.set_grad_enabled(False)
unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32)
config = DeftConfig(
    r=4, para=True, decomposition_method="qr", target_modules=["to_q", "to_k", "to_v", "to_out.0", "time_emb_proj"]
)
peft = get_peft_model(unet, config)
shutil.rmtree(out, ignore_errors=True)
peft.save_pretrained(out)
os.remove(f"{out}/README.md")

c = unet.config
width = c.projection_class_embeddings_input_dim - 6 * c.addition_time_embed_dim
inputs = {
    "sample": torch.randn(2, c.in_channels, 8, 8),
    "timestep": torch.tensor([500, 20]),
    "encoder_hidden_states": torch.randn(2, 77, c.cross_attention_dim),
    "text_embeds": torch.randn(2, width),
    "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2),
}


def predict(network):
    conditions = {"text_embeds": inputs["text_embeds"], "time_ids": inputs["time_ids"]}
    return network(
        inputs["sample"], inputs["timestep"], encoder_hidden_states=inputs["encoder_hidden_states"],
        added_cond_kwargs=conditions,
    ).sample


with peft.disable_adapter():
    base = predict(peft)
eps = predict(peft)
print("PaRa moves the prediction by at most", (eps - base).abs().max().item())
save_file({**inputs, "eps": eps, "eps.base": base}, f"{out}/expected.safetensors")
