"""What PyTorch peers share: two steps to warm up, then a line for each line asked."""

import sys

import torch


def peak():
    return next(int(row.split()[1]) * 1024 for row in open("/proc/self/status") if row.startswith("VmHWM"))


def serve_steps(step, before=0):
    """Answers "memory" with the peak bytes less `before`, and every other line with what `step` returns."""
    for _ in range(2):
        step()
    # The compiler's own memory is not the step's: the peak is taken from here on, by resetting the high-water mark.
    try:
        open("/proc/self/clear_refs", "w").write("5")
    except OSError:
        pass
    print("ready", torch.__version__, flush=True)
    for line in sys.stdin:
        print(peak() - before if line.strip() == "memory" else step(), flush=True)
