"""Times training steps of PEFT: LoRA, and PaRa by its DEFT tuner. Run by train-step.sh.

    python train-step.py MODEL METHOD RANK STEPS  ->  milliseconds of each step
"""

import json
import sys
import time
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from peft import DeftConfig, LoraConfig, get_peft_model

model, method, rank, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.manual_seed(0)
torch.set_num_threads(2)
unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32)
layers = ["to_q", "to_k", "to_v", "to_out.0"]
if method == "lora":
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers)
else:
    config = DeftConfig(r=rank, para=True, decomposition_method="qr", target_modules=layers)
unet = get_peft_model(unet, config)
unet.train()
parameters = [p for p in unet.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0)
noises = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
c = unet.base_model.model.config
width = c.projection_class_embeddings_input_dim - 6 * c.addition_time_embed_dim
latents = torch.randn(1, c.in_channels, c.sample_size, c.sample_size)
tokens = json.loads(Path(model, "text_encoder", "config.json").read_text())["max_position_embeddings"]
text = torch.randn(1, tokens, c.cross_attention_dim)
size = 8.0 * c.sample_size
added = {"text_embeds": torch.randn(1, width), "time_ids": torch.tensor([[size, size, 0, 0, size, size]])}
for step in range(steps):
    start = time.perf_counter()
    t = torch.randint(0, 1000, (1,))
    noise = torch.randn_like(latents)
    prediction = unet(noises.add_noise(latents, noise, t), t, encoder_hidden_states=text, added_cond_kwargs=added).sample
    loss = (prediction - noise).square().mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    print(1000 * (time.perf_counter() - start))
