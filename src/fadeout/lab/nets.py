"""Networks of the lab: plain stacks and residual stacks of linear layers, made as textbooks make them."""

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

Start = Callable[[nn.Linear], None]


def default(layer: nn.Linear) -> None:
    """As torch makes it: weights of variance 1 / (3 fan_in), small random biases."""


def gaussian(sigma_w: float) -> Start:
    """Weights N(0, sigma_w^2 / fan_in), zero biases."""

    def start(layer: nn.Linear) -> None:
        nn.init.normal_(layer.weight, std=sigma_w / math.sqrt(layer.in_features))
        nn.init.zeros_(layer.bias)

    return start


def he(layer: nn.Linear) -> None:
    """He et al. 2015: variance 2 / fan_in, for ReLU."""
    gaussian(math.sqrt(2.0))(layer)


def glorot(layer: nn.Linear) -> None:
    """Glorot and Bengio 2010: uniform of variance 2 / (fan_in + fan_out)."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)


def orthogonal(gain: float = 1.0) -> Start:
    """Saxe et al. 2014: all singular values equal to `gain`."""

    def start(layer: nn.Linear) -> None:
        nn.init.orthogonal_(layer.weight, gain)
        nn.init.zeros_(layer.bias)

    return start


def plain(
    activation: Callable[[], nn.Module],
    depth: int,
    *,
    width: int = 64,
    start: Start = default,
    norm: Callable[[int], nn.Module] | None = None,
    features: int = 64,
    classes: int = 10,
) -> nn.Sequential:
    """`depth` hidden layers, each followed by its activation, and a linear head as torch makes it.

    Args:
        norm: Put between a layer and its activation, e.g. nn.BatchNorm1d.
    """
    parts: list[nn.Module] = []
    for i in range(depth):
        layer = nn.Linear(features if i == 0 else width, width)
        start(layer)
        parts += [layer, *([norm(width)] if norm is not None else []), activation()]
    return nn.Sequential(*parts, nn.Linear(width if depth else features, classes))


class Residual(nn.Module):
    """x + W relu(x), `depth` times, between two linear layers.

    Args:
        scale: Of the He weights in the branches: 1 / sqrt(2 depth) keeps the sum of all branches of order 1, 0
            starts with branches that add nothing.
    """

    def __init__(
        self, depth: int, *, width: int = 64, scale: float = 1.0, features: int = 64, classes: int = 10
    ) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(features, width), nn.Linear(width, classes)
        self.branches = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        for branch in self.branches:
            gaussian(scale * math.sqrt(2.0))(branch)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for branch in self.branches:
            x = x + branch(F.relu(x))
        out: Tensor = self.head(x)
        return out
