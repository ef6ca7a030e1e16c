"""Number formats of the experiment `precision`: passes that really run in half, and training that rounds gradients."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout.lab import nets
from fadeout.lab.data import Data
from fadeout.lab.training import accuracy, batches

HALF, BRAIN = torch.float16, torch.bfloat16
E5M2, E4M3 = torch.float8_e5m2, torch.float8_e4m3fn
RANGES = {"fp16": (HALF, 12.34), "bf16": (BRAIN, 78.87), "fp8 E5M2": (E5M2, 9.88), "fp8 E4M3": (E4M3, 5.66)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A number format in which gradients are kept.

    Attributes:
        each: Every tensor of gradients gets a scale of its own, which puts its largest value at the format's.
    """

    dtype: torch.dtype
    each: bool = False

    @property
    def largest(self) -> float:
        return torch.finfo(self.dtype).max

    def rounded(self, gradient: Tensor) -> Tensor:
        """What the format keeps, in the gradient's own type; infinite where a value is beyond its largest."""
        if self.each:
            scale = self.largest / gradient.abs().amax().clamp_min(1e-30)
            return (gradient * scale).clamp(-self.largest, self.largest).to(self.dtype).to(gradient.dtype) / scale
        kept = gradient.to(self.dtype).to(gradient.dtype)
        if self.dtype == E4M3:  # it has no infinity, and torch would clip
            kept = torch.where(gradient.abs() > self.largest, math.inf, kept)
        return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How gradients are kept in training; None for float32."""

    form: Format | None
    scale: float = 1.0
    start: nets.Start = nets.default


MOST = 2.0**24  # where loss scaling begins; it is halved until nothing is too large
RECIPES = {
    "float32": Recipe(form=None),
    "bf16": Recipe(form=Format(dtype=BRAIN)),
    "fp16": Recipe(form=Format(dtype=HALF)),
    "fp16, loss scaled": Recipe(form=Format(dtype=HALF), scale=MOST),
    "fp8 E5M2, loss scaled": Recipe(form=Format(dtype=E5M2), scale=MOST),
    "fp8 E4M3, loss scaled": Recipe(form=Format(dtype=E4M3), scale=MOST),
    "fp8 E4M3, each tensor scaled": Recipe(form=Format(dtype=E4M3, each=True)),
    "fp16, start of He": Recipe(form=Format(dtype=HALF), start=nets.he),
}


def smallest(dtype: torch.dtype) -> float:
    """The smallest number that the format does not turn into zero, found by trying."""
    return min(2.0**-k for k in range(200) if float(torch.tensor(2.0**-k, dtype=torch.float64).to(dtype).double()) > 0)


def decades(dtype: torch.dtype) -> float:
    """From the largest number down to half the smallest: what is below it becomes zero."""
    return math.log10(torch.finfo(dtype).max) - math.log10(smallest(dtype) / 2)


def foretold(model: nn.Module, x: Tensor, y: Tensor) -> list[tuple[float, float]]:
    """The shares that fp16 and bf16 would flush with the best loss scale, by an exam in float32."""
    found = fadeout.read(model, (x, y), loss=F.cross_entropy).layers
    return [(layer.underflow.fp16, layer.underflow.bf16) for layer in found]


def gradients(model: nn.Sequential, x: Tensor, y: Tensor, *, dtype: torch.dtype, scale: float = 1.0) -> list[Tensor]:
    """Of the output of every layer, data side first, by a pass that runs in `dtype` from end to end.

    nan where a ReLU was off in this pass: rounding switches a few of them, which is no underflow.
    """
    twin = nn.Sequential(*(nn.Linear(p.in_features, p.out_features) if isinstance(p, nn.Linear) else p for p in model))
    twin.load_state_dict(model.state_dict())
    h, outputs = x.to(dtype), []
    for part in twin.to(dtype):
        h = part(h)
        if isinstance(part, nn.Linear):
            outputs.append(h)
    loss = F.cross_entropy(h if dtype == torch.float64 else h.float(), y)
    found = list(torch.autograd.grad(scale * loss, outputs))
    if any(isinstance(part, nn.ReLU) for part in model):
        found[:-1] = [g.where(h > 0, math.nan) for g, h in zip(found[:-1], outputs[:-1], strict=True)]
    return found


def flushed(kept: Tensor, exact: Tensor) -> float:
    """Share of the values that are not zero in float64 and are zero here; nan where there are none."""
    given = (exact != 0) & ~exact.isnan() & ~kept.isnan()
    return float(((kept == 0) & given).sum() / given.sum()) if bool(given.any()) else math.nan


def in_half(model: nn.Sequential, x: Tensor, y: Tensor, top: float) -> list[Tensor]:
    """A pass that runs in fp16, with the loss scale that puts the largest gradient just below the format's largest.

    Args:
        top: The largest gradient of the pass without a scale.
    """
    scale = 0.98 * torch.finfo(HALF).max / top
    while True:
        found = gradients(model, x, y, dtype=HALF, scale=scale)
        if not any(bool(torch.isinf(g).any()) for g in found):
            return found
        scale *= 0.9


def cast(exact: list[Tensor], kind: torch.dtype, top: float | None, *, power: bool = False) -> list[float]:
    """Shares that are zero once the largest value of the pass (of each tensor where None) is put at the format's.

    Args:
        power: Use the next smaller power of two as a scale, as loss scaling does.
    """
    most = torch.finfo(kind).max
    shares = []
    for gradient in exact:
        scale = most / (top or float(gradient.nan_to_num().abs().max()))
        scale = 2.0 ** math.floor(math.log2(scale)) if power else scale
        shares.append(flushed((gradient * scale).to(kind).double(), gradient))
    return shares


class _Round(torch.autograd.Function):
    """Passes its input on, and a rounded gradient back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, form: Format) -> Tensor:
        ctx.form = form
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.form.rounded(gradient), None


class Rounding(nn.Module):
    """A network whose gradients are rounded at the output of every layer on their way back."""

    def __init__(self, model: nn.Sequential, form: Format | None) -> None:
        super().__init__()
        self.model, self.form = model, form

    def forward(self, x: Tensor) -> Tensor:
        for part in self.model:
            x = part(x)
            if self.form is not None and isinstance(part, nn.Linear):
                x = _Round.apply(x, self.form)  # type: ignore[no-untyped-call]
        return x


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What came of training with rounded gradients.

    Attributes:
        skipped: Share of steps that were left out because a gradient was too large for the format.
    """

    accuracy: float
    skipped: float


def learn(model: nn.Sequential, form: Format | None, data: Data, *, scale: float, steps: int, seed: int) -> Learned:
    """Mixed precision by hand: loss times `scale`, gradients rounded, divided again in float32, weights in float32.

    A gradient that is too large for the format leaves the step out, and halves the scale.
    """
    rounding = Rounding(model, form)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3, eps=1e-12, fused=True)
    whole = torch.zeros(sum(p.numel() for p in model.parameters()))  # gradients of all weights, one behind another
    parts = torch.split(whole, [p.numel() for p in model.parameters()])
    for p, part in zip(model.parameters(), parts, strict=True):
        p.grad = part.view_as(p)
    skipped = 0
    for x, y in batches(data, rows=64, steps=steps, seed=seed):
        whole.zero_()
        (scale * F.cross_entropy(rounding(x), y)).backward()  # type: ignore[no-untyped-call]
        if form is not None:
            for gradient in parts if form.each else (whole,):
                gradient.copy_(form.rounded(gradient))
        if math.isfinite(float(whole.div_(scale).sum())):
            optimizer.step()
        else:
            skipped, scale = skipped + 1, scale / 2
    return Learned(accuracy=accuracy(rounding, data.x_test, data.y_test), skipped=skipped / steps)
