"""Training of the lab's networks: one plain loop, the same for every arm."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fadeout.lab.data import Data

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of it.

    Attributes:
        accuracy, train_accuracy: Shares of held-out and of training rows that are right.
        losses: Of every step.
    """

    accuracy: float
    train_accuracy: float
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        """Mean of the last 20 steps; nan where one is not finite."""
        last = self.losses[-20:]
        return sum(last) / len(last) if last else math.nan


def batches(data: Data, *, rows: int, steps: int, seed: int) -> Iterator[Batch]:
    """Batches of shuffled rows, epoch after epoch, until `steps` were given."""
    draw = torch.Generator().manual_seed(seed)
    given = 0
    while given < steps:
        order = torch.randperm(len(data.x), generator=draw)
        for start in range(0, len(order) - rows + 1, rows):
            if given == steps:
                return
            chosen = order[start : start + rows]
            given += 1
            yield data.x[chosen], data.y[chosen]


def train(
    model: nn.Module,
    data: Data,
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    seed: int,
    rows: int = 64,
    clip: float = math.inf,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    after: Callable[[int], None] | None = None,
) -> Trained:
    """Train on a data set; a loss that is no longer finite ends it.

    Args:
        after: Called with the number of steps that are done, after each.
    """
    model.train()
    losses = []
    for done, (x, y) in enumerate(batches(data, rows=rows, steps=steps, seed=seed), start=1):
        value = loss(model(x), y)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        if math.isfinite(clip):
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(float(value.detach()))
        if not math.isfinite(losses[-1]):
            break
        if after is not None:
            after(done)
    return Trained(
        accuracy=accuracy(model, data.x_test, data.y_test),
        train_accuracy=accuracy(model, data.x, data.y),
        losses=tuple(losses),
    )


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of rows whose largest output is the right one."""
    model.eval()
    right = 0
    for start in range(0, len(y), 1000):
        right += int((model(x[start : start + 1000]).argmax(-1) == y[start : start + 1000]).sum())
    model.train()
    return right / len(y)


def epochs(data: Data, number: float, *, rows: int = 64) -> int:
    """Steps of so many passes over the training rows."""
    return round(number * (len(data.x) // rows))
