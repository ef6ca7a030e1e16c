"""Two branches that are added before the head: the left one sees what decides, the right one noise."""

from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.program import Program, adam, spread
from benchmarks.truth.programs.mlp import ACTS, GAINS, Block, scale_init
from benchmarks.truth.task import accuracy
from torch import Tensor, nn


class Branches(nn.Module):
    """A deep left branch on the first columns, a shallow right branch on the others."""

    def __init__(self, depth: int, act: str) -> None:
        super().__init__()
        self.enter = nn.Linear(8, 32)
        self.left = nn.ModuleList(Block(32, ACTS[act], None) for _ in range(depth))
        self.right = nn.Sequential(nn.Linear(8, 32), nn.ReLU())
        self.head = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.tanh(self.enter(x[:, :8]))
        for block in self.left:
            a = block(a)
        y: Tensor = self.head(a + self.right(x[:, 8:]))
        return y


def two_views() -> data.Pairs:
    """Parity of two columns in the first view, noise in the second."""
    noise = data.seeded(9)
    return [(torch.cat([x, torch.randn(x.shape, generator=noise)], 1), y) for x, y in data.parity()]


def branches(depth: int = 6, act: str = "tanh", *, steps: int = 300, **others: Any) -> Program:
    """Parity with a useless second view."""

    def make() -> nn.Module:
        model = Branches(depth, act)
        if act in GAINS:
            scale_init(model, GAINS[act])
        return model

    options: dict[str, Any] = {
        "name": f"branches-{act}-{depth}",
        "steps": steps,
        "model": make,
        "batches": two_views,
        "loss": nn.functional.cross_entropy,
        "optimizer": adam(2e-3),
        "skill": accuracy(two_views),
        "places": spread(depth, "left"),
    }
    return Program(**(options | others))
