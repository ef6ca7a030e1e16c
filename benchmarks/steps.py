"""What steps= costs: probes against the steps' own time, beyond the first 20; and the rules on a deep network.

python benchmarks/steps.py

For each network the exam of 20 and of 300 steps and 280 plain steps, each the fastest of three; the probes' share is
(exam of 300 - exam of 20 - 280 plain steps) / 280 plain steps.  Limit 25 %, aim 10 %.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.call.question import Question
from fadeout.probe.reading import take_reading
from fadeout.records import Course
from fadeout.rules import diagnose

MORE, FEW = 300, 20


def mlp() -> tuple[nn.Module, tuple[int, ...]]:
    layers = [m for _ in range(10) for m in (nn.Linear(256, 256), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(256, 10)), (256,)


def conv() -> tuple[nn.Module, tuple[int, ...]]:
    layers = [
        m for n in range(6) for m in (nn.Conv2d(3 if not n else 24, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)), (3, 16, 16)


class Encoder(nn.Module):
    """Pre-LN, read at the mean."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True, norm_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.body(x).mean(1))
        return y


def lstm() -> tuple[nn.Module, tuple[int, ...]]:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.LSTM(32, 64, batch_first=True), nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.head(self.rnn(x)[0][:, -1])
            return y

    return Reader(), (50, 32)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "MLP 10 x 256": mlp,
    "conv net 6 x 24, BN": conv,
    "pre-LN encoder 4 x 64, T 32": lambda: (Encoder(), (32, 64)),
    "LSTM 64, T 50": lstm,
}


def fastest(run: Callable[[], object], times: int = 3) -> float:
    """Seconds of the fastest of some runs."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        run()
        found.append(time.perf_counter() - begun)
    return min(found)


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'network':30} {'280 steps':>10} {'exam of 20':>11} {'exam of 300':>12} {'probes':>8}")
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        model, shape = make()
        batches = [(torch.randn(64, *shape), torch.randint(0, 10, (64,))) for _ in range(8)]
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

        def exam(steps: int) -> Callable[[], object]:
            return lambda: fadeout.examine(model, batches, loss=F.cross_entropy, optimizer=optimizer, steps=steps)  # noqa: B023

        def plain() -> None:
            for n in range(MORE - FEW):
                x, y = batches[n % 8]  # noqa: B023
                optimizer.zero_grad()  # noqa: B023
                F.cross_entropy(model(x), y).backward()  # noqa: B023
                optimizer.step()  # noqa: B023

        few, more = fastest(exam(FEW)), fastest(exam(MORE))
        steps = fastest(plain)
        print(f"{name:30} {steps:8.2f} s {few:9.2f} s {more:10.2f} s {(more - few - steps) / steps:8.0%}", flush=True)
    rules()


def rules() -> None:
    """All rules on 1,000 layers, one step and a course of ten probes; limit 50 ms."""
    torch.manual_seed(0)
    layers = [m for _ in range(1000) for m in (nn.Linear(16, 16), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(16, 3))
    batch = (torch.randn(32, 16), torch.randint(0, 3, (32,)))
    optimizer = torch.optim.Adam(model.parameters())
    question = Question(verb="bench", model=model, batch=batch, loss=F.cross_entropy, optimizer=optimizer)
    reading = take_reading(question).reading
    course = Course(
        steps=300, losses=(1.0,) * 300, probes=(reading,) * 10, learned=(0.0,) * 10, constant=1.1, updates=(),
        growth=1.0, broken=None, backwards=1, ignores_targets=False, clipped=0.0,
    )  # fmt: skip
    one = fastest(lambda: diagnose(reading), 7)
    ten = fastest(lambda: diagnose(replace(reading, course=course)), 7)
    print(f"\nall rules on 1,000 layers: {one * 1e3:.0f} ms, on a course of ten probes {ten * 1e3:.0f} ms (limit 50)")


if __name__ == "__main__":
    main()
