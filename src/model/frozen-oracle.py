"""Development only: an NF4 layer with LoRA beside it by PyTorch, to hold ours against; NF4 is decoded here from its bytes.
Usage: frozen-oracle.py, with JSON on standard input: rows, outputs, inputs, rank, and lists of numbers data, x, a, b, dy.
Prints y and the gradients of x, a and b."""
import json
import struct
import sys

import torch

given = json.load(sys.stdin)
rows, outputs, inputs, rank = (given[name] for name in ("rows", "outputs", "inputs", "rank"))
count = outputs * inputs
levels = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635]
levels += [-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725]
levels += [0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]
dynamic = [0.0, 1.0]
for power in range(7):
    for part in range(2**power):
        number = 10.0 ** (power - 6) * (0.1 + 0.9 * (part + 0.5) / 2**power)
        dynamic += [number, -number]
dynamic.sort()

data = bytes(given["data"])
blocks = -(-count // 64)
scales_at = -(-count // 2)
factors = struct.unpack_from(f"<{-(-blocks // 256)}f", data, scales_at + blocks)
(mean,) = struct.unpack_from("<f", data, len(data) - 4)
scales = [dynamic[data[scales_at + block]] * factors[block // 256] + mean for block in range(blocks)]
codes = [data[i // 2] >> (4 if i % 2 == 0 else 0) & 15 for i in range(count)]
weight = torch.tensor([levels[code] * scales[i // 64] for i, code in enumerate(codes)]).reshape(outputs, inputs)

x = torch.tensor(given["x"]).reshape(rows, inputs).requires_grad_()
a = torch.tensor(given["a"]).reshape(rank, inputs).requires_grad_()
b = torch.tensor(given["b"]).reshape(outputs, rank).requires_grad_()
y = x @ weight.T + 2 * (x @ a.T) @ b.T
y.backward(torch.tensor(given["dy"]).reshape(rows, outputs))
print(json.dumps([tensor.detach().flatten().tolist() for tensor in (y, x.grad, a.grad, b.grad)]))
