"""Rectified: a copy with ReLU in place of every sigmoid, tanh and their like, and He initialisation."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fadeout.counterfactual.bench import Bench, copied, measured, under
from fadeout.counterfactual.entry import Counterfactual
from fadeout.counterfactual.redrawn import CURVES, redraw


class _Rectified(TorchFunctionMode):
    """ReLU instead of every curve, module or function, while a copy runs."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in CURVES:
            given = args[0] if args else (kwargs or {})["input"]
            return torch.relu_(given) if name.endswith("_") else functional.relu(given)
        return func(*args, **(kwargs or {}))


def _left(bench: Bench) -> float:
    fresh = copied(bench, lambda model: redraw(model, gain=math.sqrt(2.0)))
    return math.nan if fresh is None else measured(under(fresh, _Rectified))


rectified = Counterfactual(
    title="a copy with ReLU and He initialisation",
    takes="slope",
    applies=lambda cause, bench: cause == "slope" and bool(bench.activations & CURVES),
    left=_left,
    confirms=True,
)
