"""Development only: an adapter over a checkpoint by Hugging Face PEFT: logits, loss and gradients, and its own files.
Usage: peft-oracle.py IDS (CHECKPOINT_DIR ADAPTER_DIR OUT_DIR)...; float32, one thread. OUT_DIR gets the adapter as PEFT
saves it, gradients.safetensors by PEFT's names, and expected.json (logits of IDS, the loss of the next token, logits merged)."""
import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

ids = torch.tensor([json.loads(sys.argv[1])])
torch.set_num_threads(1)
for checkpoint, adapter, out in zip(*(iter(sys.argv[2:]),) * 3):
    base = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, adapter, is_trainable=True).eval()
    logits = model(ids).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[:-1], ids[0, 1:])
    loss.backward()
    model.save_pretrained(out)
    gradients = {
        name.replace(".default", "").replace("lora_magnitude_vector.weight", "lora_magnitude_vector"): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    save_file(gradients, Path(out) / "gradients.safetensors")
    with torch.no_grad():
        merged = model.merge_and_unload()(ids).logits[0]
    result = {"logits": logits.tolist(), "merged": merged.tolist(), "loss": loss.item()}
    (Path(out) / "expected.json").write_text(json.dumps(result))
