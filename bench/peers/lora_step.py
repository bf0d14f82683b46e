"""The peer of bench/benches/lora.ts: a Llama of TinyLlama's shape with frozen random weights and LoRA modules of its own,
in PyTorch 2.x, its blocks compiled. Usage: lora_step.py SHAPE BASE THREADS LENGTH RANK. BASE is f32, or bf16 (weights and
their products in bfloat16, the rest in float32). Answers "step" with the milliseconds of one step, "memory" with the
most bytes that the process has held (VmHWM)."""
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from serve_steps import serve_steps

shape, base, threads, length, rank = sys.argv[1:6]
length, rank = int(length), int(rank)
torch.set_num_threads(int(threads))
torch.manual_seed(0)
dim, layers, heads, kv_heads, hidden, vocab = {
    "tiny": (256, 2, 4, 2, 512, 512),
    "1.1B": (2048, 22, 32, 4, 5632, 32000),
}[shape]
head_dim = dim // heads
kind = torch.bfloat16 if base == "bf16" else torch.float32
angles = torch.outer(torch.arange(length).float(), 10000.0 ** (-torch.arange(0, head_dim, 2) / head_dim))
cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)


def frozen(outputs, inputs):
    return nn.Parameter(torch.empty(outputs, inputs, dtype=kind).normal_(0, 0.02), requires_grad=False)


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim), requires_grad=False)

    def forward(self, x):
        return F.rms_norm(x, (dim,), self.weight, 1e-5)


class Lora(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = frozen(outputs, inputs)
        self.a = nn.Parameter(torch.empty(rank, inputs).uniform_(-(inputs**-0.5), inputs**-0.5))
        self.b = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, x):
        y = F.linear(x.to(kind), self.weight).float()
        return y + F.linear(2 * F.linear(x, self.a), self.b)


def rotate(x):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = Norm(), Norm()
        self.q, self.k, self.v = Lora(dim, dim), Lora(dim, kv_heads * head_dim), Lora(dim, kv_heads * head_dim)
        self.out = Lora(dim, dim)
        self.gate, self.up, self.down = Lora(dim, hidden), Lora(dim, hidden), Lora(hidden, dim)

    def forward(self, x):
        h = self.norm1(x)
        split = lambda y, count: y.view(1, length, count, head_dim).transpose(1, 2)
        q, k, v = split(self.q(h), heads), split(self.k(h), kv_heads), split(self.v(h), kv_heads)
        repeat = lambda y: y.repeat_interleave(heads // kv_heads, 1)
        y = F.scaled_dot_product_attention(rotate(q), repeat(rotate(k)), repeat(v), is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(1, length, dim))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = frozen(vocab, dim)
        self.blocks = nn.ModuleList([Block() for _ in range(layers)])
        self.norm, self.head = Norm(), frozen(vocab, dim)

    def forward(self, x, y):
        h = F.embedding(x, self.embedding).float()
        for block in self.blocks:
            h = block(h)
        logits = F.linear(self.norm(h).to(kind), self.head).float()
        return F.cross_entropy(logits.view(-1, vocab), y.view(-1))


decoder = Decoder()
for block in decoder.blocks:
    block.compile()
parameters = [p for p in decoder.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=0, fused=True)
x, y = torch.randint(0, vocab, (1, length)), torch.randint(0, vocab, (1, length))


def step():
    start = time.perf_counter()
    loss = decoder(x, y)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    return (time.perf_counter() - start) * 1e3


serve_steps(step)
