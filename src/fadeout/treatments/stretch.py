"""Stretch: the output's range over the targets', where the loss compares the two as numbers."""

from typing import Any

from torch import Tensor, nn

from fadeout.call.batch import parse
from fadeout.treatments.patient import Edit
from fadeout.treatments.surgery import Surgery

RANGES = {
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hardtanh": (-1.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "relu": (0.0, None),
}
MARGIN = 0.05
FAR = 3.0  # spread or mean of the targets from which an output that starts near 1 has far to go
_NUMBERS = frozenset({"MseLoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "Pow", "Abs", "Square"})


class Stretched:
    """A forward hook of the model: shift + scale * output."""

    def __init__(self, shift: float, scale: float) -> None:
        self.shift, self.scale = shift, scale

    def __call__(self, module: nn.Module, args: Any, out: Any) -> Any:
        return self.shift + self.scale * out if isinstance(out, Tensor) else out


def stretch(on: Surgery) -> bool:
    """Whether the output's range missed the targets and now holds them."""
    batch = parse(on.patient.batch, verb="treat") if on.patient.batch is not None else None
    target = batch.targets[0] if batch is not None and batch.targets else None
    if not isinstance(target, Tensor) or not target.is_floating_point() or not _NUMBERS & set(on.anatomy.loss_ops):
        return False
    output = next((a for a in reversed(on.anatomy.activations) if a.role == "output"), None)
    if output is None or output.name not in RANGES:
        return _scaled(on, target)
    known = RANGES[output.name]
    low, high = float(target.min()), float(target.max())
    if not low < high:
        return False
    bottom, top = known
    if low >= bottom and (top is None or high <= top):
        return False
    spare = MARGIN * (high - low)
    low, high = low - spare, high + spare
    scale = (high - low) / ((top if top is not None else 1.0) - bottom)
    shift = low - scale * bottom
    on.model.register_forward_hook(Stretched(shift, scale))
    on.write(Edit(what="output", path="", old=output.name, new=f"{shift:.4g} + {scale:.4g} * {output.name}(x)"))
    return True


def _scaled(on: Surgery, target: Tensor) -> bool:
    """An output without a range, scaled to targets that are far from 1: their mean and spread come for free then."""
    mean, spread = float(target.float().mean()), float(target.float().std(unbiased=False))
    if not spread > 0 or (spread <= FAR and abs(mean) <= FAR):
        return False
    on.model.register_forward_hook(Stretched(mean, spread))
    on.write(Edit(what="output", path="", old="x", new=f"{mean:.4g} + {spread:.4g} * x"))
    return True
