"""Losses: what a script sends backward, which loss made it, by what it is scaled, and how it is clipped.

While a watch is on, a few functions of torch are wrapped: `torch.autograd.backward`, `GradScaler.scale` and `step`,
`clip_grad_norm_`, and the loss functions of `torch.nn.functional`. Compiled code sees them as they were.
"""

import functools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.nn.functional as F
import torch.nn.utils as nn_utils
from torch import Tensor

FUNCTIONS = (
    "cross_entropy nll_loss mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy "
    "binary_cross_entropy_with_logits kl_div gaussian_nll_loss poisson_nll_loss soft_margin_loss "
    "multilabel_soft_margin_loss multi_margin_loss multilabel_margin_loss"
).split()


class Sight(Protocol):
    """Who is told."""

    def backward(self, loss: Tensor | None) -> None:
        """A backward pass begins from this scalar, the loss scale taken off; None where it is no scalar."""

    def arrived(self) -> None:
        """A backward pass is over."""

    def judged(self, function: Callable[..., Tensor], output: Any, target: Any, rest: dict[str, Any]) -> None:
        """A loss function was called."""

    def steps_of(self, optimizer: Any) -> int:
        """Steps that this optimizer has done."""

    def skipped(self, optimizer: Any) -> None:
        """A scaler left out a step, because a gradient was not finite."""

    def scaling(self, scaler: Any) -> None:
        """A loss scaler is in use."""

    def clipped(self, total: Tensor, most: float) -> None:
        """Gradients were clipped.

        Args:
            total: Their norm before.
        """


class _Wraps:
    """The wrapped functions of torch, and everyone who wants to be told.  One a process."""

    def __init__(self) -> None:
        self.sights: list[weakref.ref[Any]] = []
        self._old: list[tuple[Any, str, Any]] = []
        self._unscaled: dict[int, tuple[weakref.ref[Tensor], Tensor]] = {}

    def add(self, sight: Sight) -> None:
        """Tell this one from now on."""
        if not self.sights:
            self._wrap()
        self.sights.append(weakref.ref(sight))

    def remove(self, sight: Sight) -> None:
        """Tell this one no more; torch is as it was after the last."""
        self.sights = [ref for ref in self.sights if ref() is not None and ref() is not sight]
        if not self.sights:
            self._unwrap()

    def _told(self) -> list[Any]:
        return [sight for ref in self.sights if (sight := ref()) is not None]

    def _wrap(self) -> None:
        self._put(torch.autograd, "backward", self._backward)
        self._put(torch.amp.GradScaler, "scale", self._scale)
        self._put(torch.amp.GradScaler, "step", self._step)
        for home in (nn_utils, nn_utils.clip_grad):
            self._put(home, "clip_grad_norm_", self._clip)
        for name in FUNCTIONS:
            self._put(F, name, self._loss)

    def _put(self, home: Any, name: str, make: Callable[[Any], Any]) -> None:
        original = getattr(home, name)
        wrapped = functools.wraps(original)(make(original))
        self._old.append((home, name, original))
        setattr(home, name, wrapped)

    def _unwrap(self) -> None:
        for home, name, original in reversed(self._old):
            if getattr(getattr(home, name), "__wrapped__", None) is original:
                setattr(home, name, original)
        self._old, self._unscaled = [], {}

    def _backward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            first = tensors[0] if isinstance(tensors, (list, tuple)) and tensors else tensors
            loss = self._true(first) if isinstance(first, Tensor) and first.numel() == 1 else None
            for sight in self._told():
                sight.backward(loss)
            try:
                return original(tensors, *args, **kwargs)
            finally:  # an error that the script catches ends a pass as well
                for sight in self._told():
                    sight.arrived()

        return backward

    def _true(self, loss: Tensor) -> Tensor:
        """The scalar without a loss scale."""
        kept = self._unscaled.pop(id(loss), None)
        return kept[1] if kept is not None and kept[0]() is loss else loss.detach()

    def _scale(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def scale(scaler: Any, outputs: Any) -> Any:
            out = original(scaler, outputs)
            if isinstance(outputs, Tensor) and isinstance(out, Tensor) and out is not outputs:
                self._unscaled[id(out)] = (weakref.ref(out), outputs.detach())
            for sight in self._told():
                sight.scaling(scaler)
            return out

        return scale

    def _step(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            before = [(sight, sight.steps_of(optimizer)) for sight in self._told()]
            out = original(scaler, optimizer, *args, **kwargs)
            for sight, steps in before:
                if sight.steps_of(optimizer) == steps:
                    sight.skipped(optimizer)
            return out

        return step

    def _clip(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def clip_grad_norm_(parameters: Any, max_norm: float, *args: Any, **kwargs: Any) -> Any:
            total = original(parameters, max_norm, *args, **kwargs)
            if isinstance(total, Tensor) and not torch.compiler.is_compiling():
                for sight in self._told():
                    sight.clipped(total.detach(), float(max_norm))
            return total

        return clip_grad_norm_

    def _loss(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def loss(input: Any, target: Any = None, *args: Any, **kwargs: Any) -> Any:
            if target is None:
                return original(input, *args, **kwargs)
            out = original(input, target, *args, **kwargs)
            if not args and not torch.compiler.is_compiling():
                for sight in self._told():
                    sight.judged(original, input, target, kwargs)
            return out

        return loss


WRAPS = _Wraps()


@contextmanager
def told(sight: Sight) -> Iterator[None]:
    """Tell this one inside."""
    WRAPS.add(sight)
    try:
        yield
    finally:
        WRAPS.remove(sight)
