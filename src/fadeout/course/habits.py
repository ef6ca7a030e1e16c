"""Habits: what a training loop does around its backward passes - gradients that it never clears, a rate that decays."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from fadeout.course.capture import backwards, reached
from fadeout.probe.account.norms import norm, read
from fadeout.probe.instruments.updates import optimizers_in

WATCHED = 6  # first steps whose gradients are looked at before each backward pass
GONE = 1e-3  # of the largest rate: from here down it has decayed to nothing


class Habits:
    """Seen of a loop over its steps."""

    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        self._model = {id(p) for p in model.parameters()}
        self._optimizers = optimizers_in(optimizer)
        self._clean: set[int] = set()  # parameters whose gradient was empty before some backward since their last step
        self._stepped: set[int] = set()
        self._stale: list[bool] = []  # for each optimizer step but the first: gradients of earlier steps are in it
        self._rates: list[float] = []

    @contextmanager
    def watched(self, number: int) -> Iterator[None]:
        """Around one step of the loop."""
        if number > WATCHED:
            yield
        else:
            handles = [
                register_optimizer_step_pre_hook(self._before_step),
                register_optimizer_step_post_hook(self._after_step),
            ]
            try:
                with backwards(self._before_backward):
                    yield
            finally:
                for handle in handles:
                    handle.remove()
        self._rates.append(max((_rate(o) for o in self._optimizers), default=float("nan")))

    def _before_backward(self, loss: Tensor) -> None:
        leaves = [p for p in reached(loss) if id(p) in self._model]
        self._clean |= {id(p) for p in leaves if p.grad is None}
        held = [p for p in leaves if p.grad is not None and p.grad.layout == torch.strided]
        sizes = read([norm(p.grad).double() for p in held if p.grad is not None]) if held else []
        self._clean |= {id(p) for p, size in zip(held, sizes, strict=True) if size == 0}

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        given = [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None and id(p) in self._model]
        again = [p for p in given if id(p) in self._stepped]
        if again and not any(callable(a) for a in (*args[1:], *kwargs.values())):  # a closure clears inside
            self._stale.append(sum(id(p) not in self._clean for p in again) > 0.5 * len(again))

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        held = {id(p) for g in optimizer.param_groups for p in g["params"]}
        self._clean -= held
        self._stepped |= held

    @property
    def stale(self) -> bool:
        """The optimizer steps with gradients of earlier steps added."""
        return len(self._stale) >= 2 and all(self._stale)

    @property
    def rate_gone(self) -> int | None:
        """The step from which on the learning rate is next to nothing of what it was; None if it never is."""
        largest = max((r for r in self._rates if r == r), default=0.0)
        small = [n for n, rate in enumerate(self._rates, 1) if rate <= GONE * largest]
        if largest <= 0 or not self._rates or self._rates[-1] > GONE * largest:
            return None
        last_large = max((n for n, rate in enumerate(self._rates, 1) if rate > GONE * largest), default=0)
        return next(n for n in small if n > last_large)


def _rate(optimizer: Optimizer) -> float:
    return max((float(group["lr"]) for group in optimizer.param_groups if "lr" in group), default=float("nan"))
