"""Progress: how far a network's output is better than the best output that ignores the input."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.batch import Closure, closure, fresh, is_pair
from fadeout.call.guard import Guard
from fadeout.call.modes import under_autocast, without_dropout
from fadeout.call.standard import IGNORED, NOTHING, Standard, against_constants, by_loss


@torch.no_grad()
def standard(model: nn.Module, batch: Any, loss: Callable[..., Tensor] | None, run: Closure) -> Standard:
    """The standard for one set of rows; the model runs once, in the mode it is in."""
    try:
        if isinstance(batch, Mapping) and loss is None:
            return _own_labels(batch) or NOTHING
        if loss is None or not (is_pair(batch)):
            return NOTHING
        output, _ = output_of_closure(model, run)
        return against_constants(output, batch[1], loss)
    except Exception:  # the user's loss on outputs it was not written for: no standard, and it is said so
        return NOTHING


def output_of_closure(model: nn.Module, run: Closure) -> tuple[Any, float]:
    """What the model returned while the closure ran, and the scalar."""
    seen: list[Any] = []
    handle = model.register_forward_hook(lambda module, args, out: seen.append(out))
    try:
        value = run.run(model)
    finally:
        handle.remove()
    return (seen[-1] if seen else None), float(value)


def _own_labels(batch: Mapping[str, Any]) -> Standard | None:
    """A model that carries its own loss: the entropy of its labels, where they are classes."""
    labels = batch.get("labels")
    if not isinstance(labels, Tensor) or labels.is_floating_point():
        return None
    kept = labels[labels != IGNORED]
    if not kept.numel() or bool((kept < 0).any()):
        return None
    share = torch.bincount(kept.flatten()).double() / kept.numel()
    share = share[share > 0]
    constant = float(-(share * share.log()).sum())
    return Standard(constant=constant, ignores_targets=False, judge=lambda output, value: by_loss(constant, value))


def fall(first: float, now: float) -> float:
    """Relative fall of a loss that no constant can be held against."""
    if not (math.isfinite(first) and math.isfinite(now)) or first <= 0 or now < 0:
        return math.nan  # a likelihood, a reward: its zero means nothing
    return (first - now) / first


@dataclass(slots=True)
class Judged:
    """Progress of the copy on the probes' rows."""

    standard: Standard
    output: Callable[[], tuple[Any, float]]
    first: float = math.nan

    def at(self, loss: float) -> float:
        """Against the best constant; by the fall of the loss where none can be judged."""
        if math.isnan(self.first):
            self.first = loss
        if math.isnan(self.standard.constant):
            return fall(self.first, loss)
        try:
            return self.standard.judge(*self.output())
        except Exception:  # the user's model on rows that it now refuses; the probe says so
            return math.nan


def unjudged() -> Judged:
    """Progress by the fall of the loss alone: what the step's answers are is not known."""
    return Judged(NOTHING, lambda: (None, math.nan))


def judge(
    model: nn.Module,
    batch: Any,
    loss: Callable[..., Tensor] | None,
    autocast: torch.dtype | bool | None,
    verb: str,
) -> Judged:
    """Progress on one set of rows; the model runs once each time it is asked, without dropout."""

    def call() -> Closure:
        return closure(model, fresh(batch), loss=loss, step=None, verb=verb)  # whose forward may write into it

    @torch.no_grad()
    def output() -> tuple[Any, float]:
        with Guard(model.modules()), without_dropout(model), under_autocast(model, autocast):
            return output_of_closure(model, call())

    with Guard(model.modules()), without_dropout(model), under_autocast(model, autocast):
        found = standard(model, batch, loss, call())
    return Judged(found, output)
