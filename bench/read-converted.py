"""Has diffusers and PEFT read what Flow converts, on mini-sdxl: the prediction must be that of the PaRa itself.

Run by read-converted.sh. Arguments: model, PaRa in Flow's form, LoRA in kohya's names, LoRA in PEFT's names, folder of
PEFT's PaRa that Flow read and wrote again, folder of PEFT's own, the reduced model as a folder and as a single file.
"""

import sys

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from peft import PeftModel
from safetensors.torch import load_file

model, para, kohya, peft, deft, deft_before, folder, single = sys.argv[1:]
torch.manual_seed(0)
torch.set_grad_enabled(False)
inputs = load_file("tests/data/peft-para/expected.safetensors")


def predict(unet):
    conditions = {"text_embeds": inputs["text_embeds"], "time_ids": inputs["time_ids"]}
    return unet(
        inputs["sample"], inputs["timestep"], encoder_hidden_states=inputs["encoder_hidden_states"],
        added_cond_kwargs=conditions,
    ).sample


def fresh():
    return UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32)


def differ(what, found, wanted):
    off = (found - wanted).abs().max().item()
    print(f"{what}: off by {off:.1e}")
    assert off < 5e-5, what


unet = fresh()
base = predict(unet)
for name, q in load_file(para).items():
    layer = unet.get_submodule(name.removeprefix("unet.").removesuffix(".para_q"))
    q = torch.linalg.qr(q.double())[0]
    w = layer.weight.data.double().flatten(1)
    layer.weight.data = (w - q @ (q.T @ w)).float().reshape(layer.weight.shape)
reduced = predict(unet)
print("the PaRa moves the prediction by", (reduced - base).abs().max().item())
for what, file in (("kohya's names in diffusers", kohya), ("PEFT's names in diffusers", peft)):
    pipe = StableDiffusionXLPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipe.load_lora_weights(file)
    differ(what, predict(pipe.unet), reduced)
for what, adapter in (("PEFT's own PaRa", deft_before), ("the same through Flow, in PEFT", deft)):
    differ(what, predict(PeftModel.from_pretrained(fresh(), adapter)), inputs["eps"])
saved = StableDiffusionXLPipeline.from_pretrained(folder, torch_dtype=torch.float32)
differ("the reduced model as a folder", predict(saved.unet), reduced)
saved = StableDiffusionXLPipeline.from_single_file(single, config=model, torch_dtype=torch.float32)
differ("the reduced model as a single file", predict(saved.unet), reduced)
