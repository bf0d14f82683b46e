"""The peer of bench/benches/matmul.ts: float32 products in PyTorch 2.x, into an output that is there already.
Usage: matmul.py THREADS. Answers each line "FORM M N K REPEATS" with the milliseconds of one product."""
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]))
operands = {}


def product(form, m, n, k):
    if (form, m, n, k) not in operands:
        operands.clear()
        a = torch.rand(k, m).t() if form == "tn" else torch.rand(m, k)
        b = torch.rand(n, k).t() if form == "nt" else torch.rand(k, n)
        operands[form, m, n, k] = a, b, torch.zeros(m, n)
    return operands[form, m, n, k]


print("ready", torch.__version__, flush=True)
for line in sys.stdin:
    form, *numbers = line.split()
    m, n, k, repeats = map(int, numbers)
    a, b, out = product(form, m, n, k)
    torch.mm(a, b, out=out)
    start = time.perf_counter()
    for _ in range(repeats):
        torch.mm(a, b, out=out)
    print((time.perf_counter() - start) * 1e3 / repeats, flush=True)
