"""Capture: the scalar that a user's training step sends backward, caught before it goes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from fadeout.errors import FadeoutError
from fadeout.probe.graph.walk import leaves_of


class Caught(BaseException):
    """Carries the scalar out of a training step; no `except Exception` of the user's stops it."""

    def __init__(self, loss: Tensor) -> None:
        super().__init__("fadeout: the training step's backward was caught")
        self.loss = loss


@contextmanager
def backwards(see: Callable[[Tensor], None]) -> Iterator[None]:
    """Calls `see` with every scalar that is sent backward, before it is."""
    original = torch.autograd.backward

    def watched(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        first = tensors[0] if isinstance(tensors, (tuple, list)) else tensors
        if isinstance(first, Tensor):
            see(first)
        return original(tensors, *args, **kwargs)

    torch.autograd.backward = watched
    try:
        yield
    finally:
        torch.autograd.backward = original


def which_backward(step: Callable[[], Any]) -> tuple[int, int, list[Tensor]]:
    """(index of the backward pass that trains most, how many there are, what is stepped next), from one real step.

    A pass behind which an optimizer steps on parameters that no pass reaches comes before all others.

    Raises:
        FadeoutError: If the step sends nothing backward.
    """
    passes: list[tuple[list[Tensor], list[Tensor]]] = []

    def stepped(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if passes:
            passes[-1][1].extend(p for group in optimizer.param_groups for p in group["params"])

    handle = register_optimizer_step_pre_hook(stepped)
    try:
        with backwards(lambda loss: passes.append((reached(loss), []))):
            step()
    finally:
        handle.remove()
    if not passes:
        raise FadeoutError(
            "examine: train_step= never called backward(); it must do once what the training loop does once"
        )
    counts = [len(leaves) for leaves, _ in passes]
    every = {id(p) for leaves, _ in passes for p in leaves}
    idle = [n for n, (_, moved) in enumerate(passes) if moved and every.isdisjoint(id(p) for p in moved)]
    which = idle[0] if idle else counts.index(max(counts))
    return which, len(counts), passes[which][1]


def caught(step: Callable[[], Any], which: int) -> Tensor:
    """The scalar that the step's backward pass number `which` would start from."""
    seen = 0

    def see(loss: Tensor) -> None:
        nonlocal seen
        if seen == which:
            raise Caught(loss)
        seen += 1

    try:
        with backwards(see):
            step()
    except Caught as stop:
        return stop.loss
    raise FadeoutError(f"examine: train_step= called backward() {seen} times, {which + 1} before")


def reached(loss: Tensor) -> list[Tensor]:
    """Parameters that a scalar depends on."""
    return leaves_of(loss.grad_fn) if loss.grad_fn is not None else []


@contextmanager
def clipping(seen: list[bool]) -> Iterator[None]:
    """Notes for every clip_grad_norm_ called by its module's name whether it bit."""
    original = torch.nn.utils.clip_grad_norm_

    def watched(parameters: Any, max_norm: float, *args: Any, **kwargs: Any) -> Tensor:
        total = original(parameters, max_norm, *args, **kwargs)
        seen.append(float(total) > float(max_norm))
        return total

    torch.nn.utils.clip_grad_norm_ = watched
    try:
        yield
    finally:
        torch.nn.utils.clip_grad_norm_ = original
