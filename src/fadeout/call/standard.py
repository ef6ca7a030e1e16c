"""Standard: what the best output that ignores the input achieves, and whether a loss reads its answers at all."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

IGNORED = -100  # torch's own ignore_index
ROUNDING = 1e-6  # up to which two losses are the same


@dataclass(slots=True)
class Standard:
    """What the best constant output achieves on the probes' rows.

    Attributes:
        constant: Its loss; nan where no constant can be judged.
        ignores_targets: The loss does not change when the answers are permuted.
        judge: (output, loss) -> 0 for the constant .. 1 for nothing left; nan where unknown.
    """

    constant: float
    ignores_targets: bool
    judge: Callable[[Any, float], float]


NOTHING = Standard(constant=math.nan, ignores_targets=False, judge=lambda output, value: math.nan)


@torch.no_grad()
def against_constants(output: Any, y: Any, loss: Callable[..., Tensor]) -> Standard:
    """The standard for one output and its answers: the best that loss gives to outputs that ignore the input.

    Raises:
        Exception: Whatever the loss raises on an output of the model's own.
    """
    if not isinstance(y, Tensor) or not isinstance(output, Tensor) or not output.is_floating_point():
        return NOTHING
    if _ignores(output, y, loss):
        return Standard(constant=math.nan, ignores_targets=True, judge=NOTHING.judge)
    values = [_value(loss, guess, y) for guess in _constants(output, y)]
    best = min((v for v in values if math.isfinite(v)), default=math.nan)
    return Standard(constant=best, ignores_targets=False, judge=_Judge(best, y))


class _Judge:
    """Progress by loss, by explained variance, by accuracy: the largest that can be judged."""

    def __init__(self, constant: float, y: Tensor) -> None:
        self.constant = constant
        self.y = y

    @torch.no_grad()
    def __call__(self, output: Any, value: float) -> float:
        found = [by_loss(self.constant, value)]
        y = self.y
        if isinstance(output, Tensor) and output.is_floating_point():
            if y.is_floating_point() and y.shape == output.shape and y.numel() > 1:
                spread = (y - y.mean(0)).double().square().sum()
                if float(spread) > 0:
                    found.append(1 - float((output - y).double().square().sum() / spread))
            elif not y.is_floating_point() and (axis := _classes(output, y)) is not None:
                found.append(_accuracy(output, y, axis))
        return max((v for v in found if math.isfinite(v)), default=math.nan)


def by_loss(constant: float, value: float) -> float:
    """nan where the constant's loss is not above 0: the zero of such a loss means nothing."""
    if not math.isfinite(constant) or not math.isfinite(value) or constant <= 0:
        return math.nan
    return min(1.0, (constant - value) / constant)


def _classes(output: Tensor, y: Tensor) -> int | None:
    """The axis of the classes: 1 as torch's losses want it, or the last, where the loss turns it itself."""
    if output.dim() != y.dim() + 1:
        return None
    for axis in (1, output.dim() - 1):
        if (*output.shape[:axis], *output.shape[axis + 1 :]) == tuple(y.shape):
            return axis
    return None


def _accuracy(output: Tensor, y: Tensor, axis: int) -> float:
    kept = y != IGNORED
    labels = y[kept]
    if not labels.numel() or bool((labels < 0).any()):
        return math.nan
    right = float((output.argmax(axis)[kept] == labels).double().mean())
    most = float(torch.bincount(labels.flatten()).max()) / labels.numel()
    return (right - most) / (1 - most) if most < 1 else math.nan


def _ignores(output: Tensor, y: Tensor, loss: Callable[..., Tensor]) -> bool:
    """Whether the loss is the same, but for rounding, when the answers go to other samples or are others."""
    if not y.dim() or len(y) < 2:
        return False
    noise = torch.randn(output.shape, generator=torch.Generator().manual_seed(0), device="cpu").to(output)
    apart = (output + noise * (output.abs().mean() + 1e-3)).double()  # the rows of an untrained output may be alike
    for others in _others(output, y):
        a, b = _value(loss, apart, y), _value(loss, apart, others)
        if not math.isfinite(a):  # a loss that wants float32
            a, b = _value(loss, apart.to(output.dtype), y), _value(loss, apart.to(output.dtype), others)
        if math.isfinite(a) and math.isfinite(b):
            return math.isclose(a, b, rel_tol=ROUNDING, abs_tol=1e-30)
    return False


def _others(output: Tensor, y: Tensor) -> list[Tensor]:
    """Answers that a loss which reads them tells from these: permuted; where all are alike, others.

    Never a class that there is none of: on a device that would end the process's use of it.
    """
    if bool((y != y[:1]).any()):
        return [y.roll(1, 0)]
    steps = torch.arange(len(y), device=y.device).reshape(-1, *[1] * (y.dim() - 1))
    if y.is_floating_point():
        return [y + 1 + steps.to(y.dtype) % 3]
    if y.dtype == torch.bool:
        return [y ^ (steps % 2 == 1)]
    axis = _classes(output, y)
    classes = output.shape[axis] if axis is not None else 0
    if classes >= 2 and not bool((y < 0).any()) and not bool((y >= classes).any()):
        return [(y + steps % 2) % classes]
    return [y + steps % 2, y - steps % 2] if y.device.type == "cpu" else []  # where a loss may refuse them


def _value(loss: Callable[..., Tensor], output: Tensor, y: Tensor) -> float:
    try:
        found = loss(output, y)
    except Exception:  # the user's loss on a constant: that constant is no candidate
        return math.nan
    return float(found) if isinstance(found, Tensor) and found.numel() == 1 else math.nan


def _constants(output: Tensor, y: Tensor) -> list[Tensor]:
    """Outputs that ignore the input: what the answers are on average, as any loss might want it."""
    rows = output.detach()
    guesses = [rows.mean(0, keepdim=True), torch.zeros_like(rows[:1])]
    if y.is_floating_point():
        answers = y.detach().to(rows.dtype)
        if answers.shape == rows.shape or answers.dim() == rows.dim():
            mean = answers.mean(0, keepdim=True)
            overall = answers.mean().expand_as(mean)
            guesses += [mean, overall, answers.median(0, keepdim=True).values]
        else:  # shapes that broadcast
            guesses += [answers.mean().expand_as(rows[:1]), answers.median().expand_as(rows[:1])]
        if answers.dim() == rows.dim() and float(answers.min()) >= 0 and float(answers.max()) <= 1:
            inside = mean.clamp(1e-4, 1 - 1e-4)
            guesses += [inside, inside.logit()]
    elif y.numel() and (axis := _classes(rows, y)) is not None:
        classes = rows.shape[axis]
        kept = y[(y >= 0) & (y < classes)]
        if kept.numel():
            share = torch.bincount(kept.flatten(), minlength=classes).to(rows.dtype)
            shape = [classes if d == axis else 1 for d in range(rows.dim())]
            share = ((share + 1e-3) / (share + 1e-3).sum()).view(shape)
            guesses += [share.log(), share]
    elif y.shape == rows.shape or rows.numel() == y.numel():
        mean = y.to(rows.dtype).mean(0, keepdim=True)
        guesses += [mean.reshape(rows[:1].shape)] if mean.numel() == rows[:1].numel() else []
    found = []
    for guess in guesses:
        try:
            found.append(guess.expand_as(rows).contiguous())
        except RuntimeError:
            continue
    return found
