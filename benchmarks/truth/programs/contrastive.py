"""Contrastive learning: two noisy views of a digit must find each other among the batch."""

from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.program import Program, adam
from benchmarks.truth.task import in_both_modes
from torch import Tensor, nn


class Encoder(nn.Module):
    """An MLP to the unit sphere."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 16))

    def forward(self, views: Tensor) -> Tensor:
        return nn.functional.normalize(self.net(views), dim=-1)


def views() -> list[tuple[Tensor, Tensor]]:
    """(2 N, 64): both views below each other; the target of row i is row i + N."""
    g = data.seeded(14)
    batches = []
    for x, _ in data.flat_digits(48):
        pair = torch.cat([x + 1.2 * torch.randn(x.shape, generator=g) for _ in range(2)])
        batches.append((pair, torch.arange(len(x))))
    return batches


def info_nce(z: Tensor, y: Tensor) -> Tensor:
    """Cross entropy over the batch at temperature 0.2."""
    a, b = z.chunk(2)
    return nn.functional.cross_entropy(a @ b.T / 0.2, y)


def _found(model: nn.Module) -> float:
    losses = [info_nce(model(x), y).item() for x, y in views()]
    return 1 - sum(losses) / len(losses) / torch.tensor(48.0).log().item()


def contrastive(*, steps: int = 300, **others: Any) -> Program:
    """InfoNCE; skill is the share of log N that is saved against a constant output."""
    options: dict[str, Any] = {
        "name": "contrastive",
        "steps": steps,
        "model": Encoder,
        "batches": views,
        "loss": info_nce,
        "optimizer": adam(2e-3),
        "skill": in_both_modes(_found),
        "places": ("net.0", "net.0", "net.2", "net.2", "net.4"),
        "inputs": "net.0",
        "bar": 0.35,
    }
    return Program(**(options | others))
