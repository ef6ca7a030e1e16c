"""Skips: a way around a weight layer and the activation that reads it."""

from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call import privates


class Skip:
    """Holds what entered a layer until the activation behind it has returned, and adds it there."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._held: list[Any] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> "Skip":
        twin = memo[id(self)] = Skip(self.scale)
        return twin

    def keep(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """A pre-hook of the layer."""
        x = args[0] if args else None
        projection = privates.children(module).get(PROJECTION)
        self._held = [projection(x) if projection is not None and isinstance(x, Tensor) else x]

    def add(self, out: Any) -> Any:
        """The activation's result with what was held."""
        held, self._held = (self._held[0] if self._held else None), []
        if isinstance(out, Tensor) and isinstance(held, Tensor) and held.shape == out.shape:
            return held + self.scale * out
        return out

    def after(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
        """A forward hook of the activation."""
        return self.add(out)


PROJECTION = "fadeout_skip"


class Scaled:
    """A forward hook that multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
        if isinstance(out, tuple):
            return (out[0] * self.factor, *out[1:])
        return out * self.factor


class Gate(nn.Module):
    """alpha * x with a trained alpha that starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(1, device="cpu"))

    def forward(self, x: Tensor) -> Tensor:
        """The branch, as far as it is let in yet."""
        return self.alpha * x
