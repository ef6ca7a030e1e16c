"""The standard of a script: the loss of the best output that ignores the input, on the script's own answers."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fadeout.call.standard import against_constants

CALLS = 64  # of the loss function that are kept
CLOSE = 0.01  # relative: factors between the two that count as one
MOST = 1 << 18  # elements of an output or its answers: larger ones are not kept


class Answers:
    """Outputs and answers of the script's loss function, as it is called."""

    def __init__(self) -> None:
        self._rows: list[tuple[Tensor, Tensor]] = []
        self._function: Callable[..., Tensor] | None = None
        self._key: Any = None

    def see(self, function: Callable[..., Tensor], output: Any, target: Any, rest: dict[str, Any]) -> None:
        """A loss function is called; the first kind of call that is seen is the one that counts."""
        if len(self._rows) >= CALLS or not (isinstance(output, Tensor) and isinstance(target, Tensor)):
            return
        if not output.requires_grad or output.numel() > MOST or target.numel() > MOST or not output.dim():
            return
        key = (function, sorted(rest), output.shape[1:], target.shape[1:], target.dtype)
        if self._key is None:
            self._key, self._function = key, functools.partial(_called, function, rest)
        if key == self._key and rest.get("reduction", "mean") == "mean" and rest.get("weight") is None:
            self._rows.append((output.detach().float().clone(), target.detach().clone()))

    @torch.no_grad()
    def constant(self, backward: Sequence[float]) -> float:
        """What would be sent backward for the best constant output; nan where it is not known.

        Args:
            backward: What was sent backward, from the first pass on: the same as the loss function gave, but for one
                factor (a share of an accumulated step), or the constant is not about it.
        """
        if not self._rows or self._function is None:
            return math.nan
        try:
            own = [float(self._function(output, target)) for output, target in self._rows[: len(backward)]]
            factors = [b / a for a, b in zip(own, backward, strict=False)]
            if max(factors) - min(factors) > CLOSE * abs(factors[0]):
                return math.nan
            output, target = (torch.cat([row[n] for row in self._rows]) for n in (0, 1))
            return factors[0] * against_constants(output, target, self._function).constant
        except Exception:  # a loss function of other shapes than it looks, a loss of zero
            return math.nan


def _called(function: Callable[..., Tensor], rest: dict[str, Any], output: Tensor, target: Tensor) -> Tensor:
    return function(output, target, **rest)
