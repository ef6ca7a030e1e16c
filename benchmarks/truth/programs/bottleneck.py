"""A net with a waist: features must be learned before it, for a random waist passes too little on."""

import itertools
from typing import Any

from benchmarks.truth import data
from benchmarks.truth.program import Program, adam
from benchmarks.truth.programs.autoencoder import Layer
from benchmarks.truth.programs.mlp import ACTS
from benchmarks.truth.task import accuracy
from torch import Tensor, nn

SIZES = {
    "tanh": (64, 48, 32, 16, 4, 32, 32),
    "relu": (64, 48, 48, 24, 8, 32, 32),
}


class Waist(nn.Module):
    """Layers of the given sizes, then a head."""

    def __init__(self, sizes: tuple[int, ...], act: str) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Layer(a, b, ACTS[act]) for a, b in itertools.pairwise(sizes))
        self.head = nn.Linear(sizes[-1], 10)
        for block in self.blocks:
            nn.init.xavier_normal_(block.linear.weight, 1.3)  # type: ignore[union-attr, arg-type]

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(x)
        return y


def bottleneck(act: str = "tanh", *, steps: int = 300, **others: Any) -> Program:
    """Digits through a waist of a few units."""
    options: dict[str, Any] = {
        "name": f"bottleneck-{act}",
        "steps": steps,
        "model": lambda: Waist(SIZES[act], act),
        "batches": data.flat_digits,
        "loss": nn.functional.cross_entropy,
        "optimizer": adam(2e-3),
        "skill": accuracy(data.flat_digits),
        "places": tuple(f"blocks.{i}" for i in range(1, 6)),
        "inputs": "blocks.0.linear",
    }
    return Program(**(options | others))
