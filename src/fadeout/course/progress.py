"""Progress: how far a network's output is better than the best output that ignores the input."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.batch import Closure, closure, fresh, is_pair
from fadeout.call.guard import Guard
from fadeout.call.modes import under_autocast, without_dropout

IGNORED = -100  # torch's own ignore_index


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


@torch.no_grad()
def standard(model: nn.Module, batch: Any, loss: Callable[..., Tensor] | None, run: Closure) -> Standard:
    """The standard for one set of rows; the model runs once, in the mode it is in."""
    nothing = Standard(constant=math.nan, ignores_targets=False, judge=lambda output, value: math.nan)
    try:
        if isinstance(batch, Mapping) and loss is None:
            return _own_labels(batch) or nothing
        if loss is None or not (is_pair(batch)):
            return nothing
        output, _ = output_of_closure(model, run)
        return against_constants(output, batch[1], loss)
    except Exception:  # the user's loss on outputs it was not written for: no standard, and it is said so
        return nothing


@torch.no_grad()
def against_constants(output: Any, y: Any, loss: Callable[..., Tensor]) -> Standard:
    """The standard for one output and its answers: the best that loss gives to outputs that ignore the input.

    Raises:
        Exception: Whatever the loss raises on an output of the model's own.
    """
    nothing = Standard(constant=math.nan, ignores_targets=False, judge=lambda output, value: math.nan)
    if not isinstance(y, Tensor) or not isinstance(output, Tensor) or not output.is_floating_point():
        return nothing
    if y.dim() and len(y) > 1 and bool((y != y[:1]).any()) and _ignores(output, y, loss):
        return Standard(constant=math.nan, ignores_targets=True, judge=nothing.judge)
    values = [_value(loss, guess, y) for guess in _constants(output, y)]
    best = min((v for v in values if math.isfinite(v)), default=math.nan)
    return Standard(constant=best, ignores_targets=False, judge=_Judge(best, y))


def output_of_closure(model: nn.Module, run: Closure) -> tuple[Any, float]:
    """What the model returned while the closure ran, and the scalar."""
    seen: list[Any] = []
    handle = model.register_forward_hook(lambda module, args, out: seen.append(out))
    try:
        value = run.run(model)
    finally:
        handle.remove()
    return (seen[-1] if seen else None), float(value)


class _Judge:
    """Progress by loss, by explained variance, by accuracy: the largest that can be judged."""

    def __init__(self, constant: float, y: Tensor) -> None:
        self.constant = constant
        self.y = y

    @torch.no_grad()
    def __call__(self, output: Any, value: float) -> float:
        found = [_by_loss(self.constant, value)]
        y = self.y
        if isinstance(output, Tensor) and output.is_floating_point():
            if y.is_floating_point() and y.shape == output.shape and y.numel() > 1:
                spread = (y - y.mean(0)).double().square().sum()
                if float(spread) > 0:
                    found.append(1 - float((output - y).double().square().sum() / spread))
            elif not y.is_floating_point() and (axis := _classes(output, y)) is not None:
                found.append(_accuracy(output, y, axis))
        return max((v for v in found if math.isfinite(v)), default=math.nan)


def _by_loss(constant: float, value: float) -> float:
    if not math.isfinite(constant) or not math.isfinite(value) or constant == 0:
        return math.nan
    return (constant - value) / abs(constant)


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
    noise = torch.randn(output.shape, generator=torch.Generator().manual_seed(0)).to(output)
    apart = output + noise * (output.abs().mean() + 1e-3)  # the rows of an untrained output may be all alike
    a, b = _value(loss, apart, y), _value(loss, apart, y.roll(1, 0))
    return math.isfinite(a) and a == b


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


def _own_labels(batch: Mapping[str, Any]) -> Standard | None:
    """A model that carries its own loss: the entropy of its labels, where they are classes."""
    labels = batch.get("labels")
    if not isinstance(labels, Tensor) or labels.is_floating_point():
        return None
    kept = labels[labels != IGNORED]
    if not kept.numel() or bool((kept < 0).any()):
        return None
    share = torch.bincount(kept.flatten()).double() / kept.numel()
    share = share[share > 0]
    constant = float(-(share * share.log()).sum())
    return Standard(constant=constant, ignores_targets=False, judge=lambda output, value: _by_loss(constant, value))


def fall(first: float, now: float) -> float:
    """Relative fall of a loss that no constant can be held against."""
    if not (math.isfinite(first) and math.isfinite(now)) or first <= 0 or now < 0:
        return math.nan  # a likelihood, a reward: its zero means nothing
    return (first - now) / first


@dataclass(slots=True)
class Judged:
    """Progress of the copy on the probes' rows."""

    standard: Standard
    output: Callable[[], tuple[Any, float]]
    first: float = math.nan

    def at(self, loss: float) -> float:
        """Against the best constant; by the fall of the loss where none can be judged."""
        if math.isnan(self.first):
            self.first = loss
        if math.isnan(self.standard.constant):
            return fall(self.first, loss)
        try:
            return self.standard.judge(*self.output())
        except Exception:  # the user's model on rows that it now refuses; the probe says so
            return math.nan


def unjudged() -> Judged:
    """Progress by the fall of the loss alone: what the step's answers are is not known."""
    none = Standard(constant=math.nan, ignores_targets=False, judge=lambda output, value: math.nan)
    return Judged(none, lambda: (None, math.nan))


def judge(
    model: nn.Module,
    batch: Any,
    loss: Callable[..., Tensor] | None,
    autocast: torch.dtype | bool | None,
    verb: str,
) -> Judged:
    """Progress on one set of rows; the model runs once each time it is asked, without dropout."""

    def call() -> Closure:
        return closure(model, fresh(batch), loss=loss, step=None, verb=verb)  # whose forward may write into it

    @torch.no_grad()
    def output() -> tuple[Any, float]:
        with Guard(model.modules()), without_dropout(model), under_autocast(model, autocast):
            return output_of_closure(model, call())

    with Guard(model.modules()), without_dropout(model), under_autocast(model, autocast):
        found = standard(model, batch, loss, call())
    return Judged(found, output)
