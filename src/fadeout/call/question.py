"""The question: everything a caller hands to a verb, as one value."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.batch import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A network, the way from it to a scalar, and how much of it is asked for.

    Attributes:
        verb: The public function that was called, to begin messages with.
        model: Any module; DDP and compiled wrappers are taken off.
        batch: In any form that `call.batch.parse` takes; of a course, an iterable of such.
        loss: loss(output, y), or loss(output) without a y.
        step: Any closure model -> scalar, instead of batch and loss.
        optimizer: The one in use; of a course anything that `train_step` takes.
        within: Dotted path of the part to examine.
        autocast: A dtype, or True for the device's default.
        reach: Output positions to sample across tokens.
        steps: Training steps on a copy; 0 for one exam.
        train_step: What the user's loop does once.
        trains: Names of the parameters that the step after the backward pass moves; None where nobody has said.
    """

    verb: str
    model: nn.Module
    batch: Any = None
    loss: Callable[..., Tensor] | None = None
    step: Step | None = None
    optimizer: Any = None
    within: str | None = None
    autocast: torch.dtype | bool | None = None
    reach: int = 0
    steps: int = 0
    train_step: Callable[..., Any] | None = None
    trains: frozenset[str] | None = None
