"""Development only: losses and gradients of a decoder by PyTorch, to hold ours against.
Usage: pytorch-oracle.py CHECKPOINT_DIR BATCH.json OUT.safetensors [LOSSES.py]; float32, one thread.
LOSSES.py defines losses_of(batch, logits, hidden), a dict by name; gradients are then named LOSS/TENSOR."""
import json
import runpy
import struct
import sys

import torch

directory, batch_path, out_path, *losses_path = sys.argv[1:]
torch.set_num_threads(1)
config = json.load(open(f"{directory}/config.json"))
raw = open(f"{directory}/model.safetensors", "rb").read()
header_size = struct.unpack("<Q", raw[:8])[0]
header = json.loads(raw[8 : 8 + header_size])
header.pop("__metadata__", None)
weights = {}
for name, entry in header.items():
    begin, end = entry["data_offsets"]
    numbers = torch.frombuffer(bytearray(raw[8 + header_size + begin : 8 + header_size + end]), dtype=torch.float32)
    weights[name] = numbers.reshape(entry["shape"]).requires_grad_()

batch = json.load(open(batch_path))
ids, targets, positions, starts = (torch.tensor(batch[key]) for key in ("ids", "targets", "positions", "starts"))
heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
head_dim = config.get("head_dim", config["hidden_size"] // heads)
group = heads // kv_heads
fused = config["model_type"] == "internlm2"


def norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"]) * weight


angles = positions[:, None] * config["rope_theta"] ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
cos, sin = (torch.cat([f(angles)] * 2, -1).float()[:, None] for f in (torch.cos, torch.sin))


def rotate(x):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


rows = len(ids)
index = torch.arange(rows)
causal = (index[None] <= index[:, None]) & (index[None] >= starts[:, None])
embedding = "model.tok_embeddings.weight" if fused else "model.embed_tokens.weight"
x = weights[embedding][ids]
for layer in range(config["num_hidden_layers"]):
    at = lambda name: weights[f"model.layers.{layer}.{name}.weight"]
    product = lambda y, name: torch.nn.functional.linear(y, at(name), weights.get(f"model.layers.{layer}.{name}.bias"))
    slides = config.get("layer_types", ["sliding_attention"] * config["num_hidden_layers"])[layer] == "sliding_attention"
    window = (config.get("sliding_window") if slides else None) or rows
    visible = causal & (index[None] > index[:, None] - window)
    h = norm(x, at("attention_norm" if fused else "input_layernorm"))
    if fused:
        qkv = product(h, "attention.wqkv").view(rows, kv_heads, group + 2, head_dim)
        q, k, v = qkv[:, :, :group].reshape(rows, heads, head_dim), qkv[:, :, group], qkv[:, :, group + 1]
    else:
        q, k, v = (product(h, f"self_attn.{p}_proj").view(rows, -1, head_dim) for p in "qkv")
    if f"model.layers.{layer}.self_attn.q_norm.weight" in weights:
        q, k = norm(q, at("self_attn.q_norm")), norm(k, at("self_attn.k_norm"))
    q, k = rotate(q), rotate(k)
    k, v = (t.repeat_interleave(group, 1) for t in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) / head_dim**0.5
    p = scores.masked_fill(~visible, float("-inf")).softmax(-1)
    attended = torch.einsum("hqk,khd->qhd", p, v).reshape(rows, -1)
    x = x + product(attended, "attention.wo" if fused else "self_attn.o_proj")
    h = norm(x, at("ffn_norm" if fused else "post_attention_layernorm"))
    gate, up, down = ("feed_forward.w1", "feed_forward.w3", "feed_forward.w2") if fused else ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    x = x + product(torch.nn.functional.silu(product(h, gate)) * product(h, up), down)
head = embedding if config["tie_word_embeddings"] else "output.weight" if fused else "lm_head.weight"
hidden = norm(x, weights["model.norm.weight"])
logits = hidden @ weights[head].T
if losses_path:
    losses = runpy.run_path(losses_path[0])["losses_of"](batch, logits, hidden)
else:
    losses = {"": torch.nn.functional.cross_entropy(logits, targets.where(targets >= 0, torch.tensor(-100)))}

header, data, end = {}, b"", 0
for case, loss in losses.items():
    for weight in weights.values():
        weight.grad = None
    loss.backward(retain_graph=True)
    for name, tensor in weights.items():
        if tensor.grad is None:
            continue
        numbers = tensor.grad.contiguous().numpy().tobytes()
        place = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [end, end + len(numbers)]}
        header[f"{case}/{name}" if case else name] = place
        data, end = data + numbers, end + len(numbers)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open(out_path, "wb").write(struct.pack("<Q", len(text)) + text + data)
print(json.dumps({case: loss.item() for case, loss in losses.items()}) if losses_path else loss.item())
