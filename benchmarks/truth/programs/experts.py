"""A mixture of experts: most of the experts are idle in any one batch."""

from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.program import Program, adam
from benchmarks.truth.task import accuracy
from torch import Tensor, nn


class Experts(nn.Module):
    """Top-1 routing over `count` experts, weighted by the gate; with `idle` the router never chooses the last ones."""

    def __init__(self, count: int, idle: int) -> None:
        super().__init__()
        self.inp = nn.Linear(64, 32)
        self.gate = nn.Linear(32, count)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 32)) for _ in range(count)
        )
        self.head = nn.Linear(32, 10)
        self.idle = idle

    def forward(self, x: Tensor) -> Tensor:
        h = self.inp(x).tanh()
        scores = self.gate(h)
        if self.idle:
            scores = torch.cat([scores[:, : -self.idle], scores[:, -self.idle :] - 1e4], 1)
        weight, chosen = scores.softmax(-1).max(-1)
        out = torch.zeros_like(h)
        for i, expert in enumerate(self.experts):
            mine = (chosen == i).nonzero().squeeze(1)
            if len(mine):
                out = out.index_add(0, mine, expert(h[mine]) * weight[mine, None])
        y: Tensor = self.head(h + out)
        return y


def experts(count: int = 8, idle: int = 0, *, steps: int = 150, **others: Any) -> Program:
    """Digits by a mixture."""
    options: dict[str, Any] = {
        "name": f"experts-{count}" + (f"-idle{idle}" if idle else ""),
        "steps": steps,
        "model": lambda: Experts(count, idle),
        "batches": data.flat_digits,
        "loss": nn.functional.cross_entropy,
        "optimizer": adam(3e-3),
        "skill": accuracy(data.flat_digits),
        "places": ("inp", "inp", "gate", "head", "head"),
        "inputs": "inp",
        "chain": False,
    }
    return Program(**(options | others))
