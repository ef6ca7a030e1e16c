"""A graph convolution: nodes of a planted partition, labels for a tenth of them (the rest -100)."""

import itertools
from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.program import Program, adam, spread
from benchmarks.truth.task import accuracy
from torch import Tensor, nn


class GraphLayer(nn.Module):
    """relu(A x W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return (adjacency @ self.linear(x)).relu()


class GraphNet(nn.Module):
    """Graph layers and a head on every node; the graph is a buffer."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.register_buffer("adjacency", partition()[0])
        sizes = (16,) + (24,) * depth
        self.blocks = nn.ModuleList(GraphLayer(a, b) for a, b in itertools.pairwise(sizes))
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, self.adjacency)
        y: Tensor = self.head(x)
        return y


def partition() -> tuple[Tensor, Tensor, Tensor]:
    """Normalised adjacency (200, 200), features (200, 16), labels (200,) of four communities."""
    g = data.seeded(16)
    y = torch.randint(0, 4, (200,), generator=g)
    same = y[:, None] == y[None, :]
    edges = torch.rand(200, 200, generator=g) < torch.where(same, 0.12, 0.02)
    a = (edges | edges.T | torch.eye(200, dtype=torch.bool)).float()
    x = torch.randn(200, 16, generator=g) + 0.6 * torch.randn(4, 16, generator=g)[y]
    return a / a.sum(1, keepdim=True), x, y


def nodes() -> data.Pairs:
    """The whole graph as one batch, most labels hidden."""
    _, x, y = partition()
    hidden = torch.rand(200, generator=data.seeded(17)) > 0.3
    return [(x, y.masked_fill(hidden, -100))]


def graph(depth: int = 2, *, steps: int = 200, **others: Any) -> Program:
    """Node classification with ignored targets."""
    options: dict[str, Any] = {
        "name": f"graph-{depth}",
        "steps": steps,
        "model": lambda: GraphNet(depth),
        "batches": nodes,
        "loss": nn.functional.cross_entropy,
        "optimizer": adam(1e-2),
        "skill": accuracy(nodes),
        "places": spread(depth),
        "inputs": "blocks.0.linear",
    }
    return Program(**(options | others))
