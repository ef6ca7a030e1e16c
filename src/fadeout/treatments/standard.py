"""Standard input: mean 0 and spread 1, by a hook before the model."""

from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.batch import parse, tensors
from fadeout.treatments.patient import Edit
from fadeout.treatments.surgery import Surgery

ALIKE = 10.0  # largest spread of a column over the median one, up to which all are scaled as one
NEAR = (0.3, 0.5, 2.0)  # |mean| up to here, spread between these: standardised already


class Standardising:
    """A forward pre-hook: the first real tensor that enters, shifted and scaled by constants."""

    def __init__(self, mean: Tensor, spread: Tensor) -> None:
        self.mean, self.spread = mean, spread

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        done = False

        def change(value: Any) -> Any:
            nonlocal done
            if isinstance(value, Tensor) and value.is_floating_point() and value.dim() >= 2 and not done:
                done = True
                return (value - self.mean.to(value)) / self.spread.to(value)
            if type(value) in (tuple, list):
                return type(value)(change(item) for item in value)
            return value

        args = tuple(change(value) for value in args)
        return args, kwargs if done else {key: change(value) for key, value in kwargs.items()}


def standardise(on: Surgery) -> bool:
    """Whether the input was not standardised and now is."""
    if on.patient.batch is None:
        return False
    inputs = parse(on.patient.batch, verb="treat").inputs
    x = next((t for t in tensors(inputs) if t.is_floating_point() and t.dim() >= 2), None)
    if x is None or x.layout != torch.strided or not bool(torch.isfinite(x).all()):
        return False
    x = x.detach().float()
    spread = x.std(0, unbiased=False)
    varied = spread[spread > 0]
    if x.dim() == 2 and len(varied) and float(varied.amax()) > ALIKE * float(varied.median()):
        # a table of unlike columns: each by itself; what is constant, and what looks like a flag, stays
        mean = x.mean(0)
        keep = (spread == 0) | ((x == x.round()).all(0) & (x.abs().amax(0) <= 1))
        mean, spread = torch.where(keep, 0.0, mean), torch.where(keep, 1.0, spread)
    else:
        mean, spread = x.mean(), x.std(unbiased=False)
    far = float(mean.abs().amax()), float(spread.amin()), float(spread.amax())
    if (far[0] <= NEAR[0] and far[1] >= NEAR[1] and far[2] <= NEAR[2]) or far[2] == 0:
        return False
    on.model.register_forward_pre_hook(Standardising(mean, spread), with_kwargs=True)
    shift, scale = (_written(t) for t in (mean, spread))
    words = f"(x - {shift}) / {scale}"
    on.write(Edit(what="input", path="", old="x", new=words))
    return True


def _written(numbers: Tensor) -> str:
    """A number, or a tensor of them, as Python source."""
    if numbers.dim() == 0:
        return f"{float(numbers):.6g}"
    return "torch.tensor([" + ", ".join(f"{v:.6g}" for v in numbers.tolist()) + "])"
