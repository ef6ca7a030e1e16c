"""Optimizers: rates, Adam in the place of another, hooks around a step."""

from typing import Any

import torch
from torch.optim import Optimizer

from fadeout.errors import FadeoutError
from fadeout.treatments.patient import Edit
from fadeout.treatments.surgery import Surgery

_ADAMS = (torch.optim.Adam, torch.optim.AdamW)


def scale_rate(optimizer: Optimizer, factor: float) -> tuple[float, float]:
    """(old, new) rate of the first group; a schedule's base rate goes with it, or it would overwrite the new one."""
    old = float(optimizer.param_groups[0].get("lr", 0.0))
    for group in optimizer.param_groups:
        for key in ("lr", "initial_lr"):
            if key in group:
                group[key] = group[key] * factor
    return old, old * factor


def current(on: Surgery) -> list[Optimizer]:
    """The optimizers that will train the patient."""
    new = on.new_optimizer
    return on.optimizers if new is None else [new] if isinstance(new, Optimizer) else list(new)


def adam(on: Surgery, rate: float) -> Any:
    """Adam over the same groups; one that is Adam already keeps its object and gets the rate.

    Raises:
        FadeoutError: If there are several optimizers, of which only the loop knows which is which.
    """
    if len(on.optimizers) != 1:
        raise FadeoutError("adam: the loop has several optimizers; change them where they are made")
    old = on.optimizers[0]
    named = f"{type(old).__name__}(lr={float(old.param_groups[0].get('lr', 0.0)):g})"
    kept = isinstance(old, _ADAMS)
    name = type(old).__name__ if kept else "Adam"
    on.write(Edit(what="optimizer", path="", old=named, new=f"torch.optim.{name}(lr={rate:g})"))
    if kept:
        for group in old.param_groups:
            group["lr"] = group["initial_lr"] = rate
        return None
    decay = {"weight_decay"}
    groups = [{"params": g["params"], **{k: v for k, v in g.items() if k in decay}} for g in old.param_groups]
    return torch.optim.Adam(groups, lr=rate)


class Clipping:
    """A hook before a step: the gradient's norm at most this."""

    def __init__(self, norm: float) -> None:
        self.norm = norm

    def __call__(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        torch.nn.utils.clip_grad_norm_(
            [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None], self.norm
        )


class Rising:
    """Hooks around a step: a rate that rises linearly over the first steps, and is put back after each."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.done = 0
        self._rates: list[Any] = []

    def before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Lower the rate for this step."""
        self._rates = [group.get("lr") for group in optimizer.param_groups]
        factor = min(1.0, (self.done + 1) / self.steps)
        for group in optimizer.param_groups:
            if "lr" in group:
                group["lr"] = group["lr"] * factor

    def after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """The rate as it was."""
        self.done += 1
        for group, rate in zip(optimizer.param_groups, self._rates, strict=False):
            if rate is not None:
                group["lr"] = rate
