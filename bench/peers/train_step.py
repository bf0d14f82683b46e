"""The peer of bench/benches/train.ts: the same decoder and step in PyTorch 2.x, compiled.
Usage: train_step.py THREADS WIDTH LAYERS HEADS FEED_FORWARD VOCABULARY LENGTH BATCH. Answers each line on standard input
with the milliseconds of one step; "memory" is answered with the peak bytes since before the model was made."""
import resource
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from serve_steps import serve_steps

torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
dim, layers, heads, hidden, vocab, length, batch = map(int, sys.argv[2:9])
head_dim = dim // heads


def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()


before = resident()
angles = torch.outer(torch.arange(length).float(), 10000.0 ** (-torch.arange(0, head_dim, 2) / head_dim))
cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


def rotate(x):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = Norm(), Norm()
        self.qkv, self.out = linear(dim, 3 * dim), linear(dim, dim)
        self.gate, self.up, self.down = linear(dim, hidden), linear(dim, hidden), linear(hidden, dim)

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, heads, head_dim).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, dim))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(vocab, dim)
        self.blocks = nn.ModuleList([Block() for _ in range(layers)])
        self.norm, self.head = Norm(), linear(dim, vocab)

    def forward(self, x, y):
        h = self.embedding(x)
        for block in self.blocks:
            h = block(h)
        return F.cross_entropy(self.head(self.norm(h)).view(-1, vocab), y.view(-1))


decoder = Decoder()
optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
x, y = torch.randint(0, vocab, (batch, length)), torch.randint(0, vocab, (batch, length))
run = torch.compile(decoder)


def step():
    start = time.perf_counter()
    loss = run(x, y)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
    optimizer.step()
    return (time.perf_counter() - start) * 1e3


serve_steps(step, before)
