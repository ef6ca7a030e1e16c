"""A recommender: embeddings of users and items, an MLP above them."""

from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.program import Program, adam
from benchmarks.truth.task import explained
from torch import Tensor, nn
from torch.optim import Optimizer


class Recommender(nn.Module):
    """Dot product of embeddings plus an MLP on both."""

    def __init__(self, sparse: bool, deep: bool) -> None:
        super().__init__()
        self.users = nn.Embedding(60, 8, sparse=sparse)
        self.items = nn.Embedding(80, 8, sparse=sparse)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.3)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))
        self.deep = deep

    def forward(self, pairs: Tensor) -> Tensor:
        u, v = self.users(pairs[:, 0]), self.items(pairs[:, 1])
        y = self.mlp(torch.cat([u, v], 1))
        return y if self.deep else y + (u * v).sum(1, keepdim=True)


def _adagrad(parameters: Any) -> Optimizer:
    return torch.optim.Adagrad(parameters, lr=0.1)


def recommender(*, sparse: bool = False, deep: bool = False, steps: int = 300, **others: Any) -> Program:
    """Ratings by users and items; sparse tables go with Adagrad."""
    options: dict[str, Any] = {
        "name": "recommender" + ("-sparse" if sparse else "") + ("-deep" if deep else ""),
        "steps": steps,
        "model": lambda: Recommender(sparse, deep),
        "batches": data.ratings,
        "loss": nn.functional.mse_loss,
        "optimizer": _adagrad if sparse else adam(1e-2),
        "skill": explained(data.ratings),
        "places": ("users", "mlp.0", "mlp.2", "mlp.2", "mlp.4"),
    }
    return Program(**(options | others))
