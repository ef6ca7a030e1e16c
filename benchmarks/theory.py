"""What theory costs: critical points, a phase diagram, a thousand-layer prediction.

python benchmarks/theory.py
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import fadeout
from fadeout.outlook import NAMES
from fadeout.theory import find_critical, phase_diagram


def seconds(run: Callable[[], object], runs: int = 5) -> float:
    """Median processor time of one call, after one to warm up."""
    run()
    times = []
    for _ in range(runs):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return statistics.median(times)


def main() -> None:
    torch.set_num_threads(1)
    print("| what | median |\n|---|---:|")
    slowest = max((seconds(lambda phi=phi: find_critical(phi)), name) for name, phi in NAMES.items() if name != "cos")
    print(f"| critical point, slowest of {len(NAMES) - 1} activations ({slowest[1]}) | {slowest[0] * 1e3:.0f} ms |")
    columns = [4.0 * (i + 1) / 400 for i in range(400)]
    rows = [i / 400 for i in range(400)]
    for name in ("tanh", "relu", "gelu"):
        taken = seconds(lambda name=name: phase_diagram(NAMES[name], sigma_w=columns, sigma_b=rows), 3)
        print(f"| 400 x 400 phase diagram, {name} | {taken:.2f} s |")
    deep = nn.Sequential(*(m for _ in range(1000) for m in (nn.Linear(16, 16), nn.Tanh())))
    x = torch.randn(16, 16)
    print(f"| predict, 1,000 layers | {seconds(lambda: fadeout.predict(deep, x), 3):.2f} s |")


if __name__ == "__main__":
    main()
