"""A case: one training program as a user would hand it over, and what training has shown about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.optim import Optimizer

Group = Literal["fault", "healthy", "elsewhere"]
Step = Callable[[nn.Module, Any, Any], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a user's script has, ready for fadeout.examine.

    Attributes:
        batches: (x, y), a dict of keyword arguments, or anything `train_step` takes; cycled.
        train_step: train_step(model, batch, optimizer) -> scalar loss, what the user's loop does once;
            it uses only what it is given, so that a copy of model and optimizer trains as well.
    """

    model: nn.Module
    batches: list[Any]
    loss: Callable[..., Tensor] | None
    optimizer: Optimizer | None
    train_step: Step | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One program with its truth.

    Attributes:
        labels: Accepted verdicts, among flows, vanishing, exploding, dead, saturated, bad_init, severed,
            not_finite, undetermined.
        where: Accepted module paths as named_modules() spells them; empty where place is not asked.
        causes: Accepted kinds among weight, slope, norm, skip, mix, loss, other (in time: weight, slope, gates,
            truncation); empty where the cause is not asked.
        steps: The user's own horizon.
        twin: The repaired program, for faults; for the elsewhere group the program it came from.
        skill: What a trained model is worth: 0 the best constant output, 1 perfect. Reads the task, never the loss.
        bar: Skill from which a program of this task counts as learning.
        trap: A perturbation that training shows to be harmless goes to the healthy group rather than away.
    """

    name: str
    program: str
    group: Group
    fault: str | None = None
    strength: int | None = None
    place: int | None = None
    labels: tuple[str, ...] = ("flows",)
    where: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    steps: int
    build: Callable[[], Setup]
    twin: Callable[[], Setup] | None = None
    skill: Callable[[nn.Module], float]
    bar: float
    trap: bool = True
