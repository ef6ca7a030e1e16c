"""Skill: what a trained model is worth on its task, 0 for the best constant output and 1 for perfect.

Measured on the training data, since the question is whether the program learned, not whether it generalises;
the better of evaluation and training mode, so that running statistics that lag don't decide.
"""

from collections.abc import Callable
from typing import Any

import torch
from benchmarks.truth.data import Pairs
from torch import Tensor, nn

Skill = Callable[[nn.Module], float]
NO_SKILL = -1.0  # what a model is worth whose output is not finite


def plain(model: nn.Module, x: Any) -> Tensor:
    """The usual way to ask a model for its output."""
    out = model(x)
    return out[0] if isinstance(out, tuple) else out


def in_both_modes(measure: Callable[[nn.Module], float]) -> Skill:
    """The better of evaluation and training mode; the mode is put back."""

    def skill(model: nn.Module) -> float:
        before = model.training
        values = []
        for mode in (False, True):
            model.train(mode)
            with torch.no_grad():
                values.append(measure(model))
        model.train(before)
        good = [v for v in values if v == v]
        return max(good) if good else NO_SKILL

    return skill


def accuracy(batches: Callable[[], Pairs], ask: Callable[[nn.Module, Any], Tensor] = plain) -> Skill:
    """(accuracy - majority) / (1 - majority); classes in the last dimension of the output."""

    def measure(model: nn.Module) -> float:
        outs, ys = zip(*((ask(model, x), y) for x, y in batches()), strict=True)
        out, y = torch.cat(outs).flatten(0, -2), torch.cat(ys).flatten()
        if not out.isfinite().all():
            return NO_SKILL
        kept = y >= 0
        right = (out.argmax(-1) == y)[kept].double().mean().item()
        most = y[kept].bincount().max().item() / int(kept.sum())
        return (right - most) / (1 - most)

    return in_both_modes(measure)


def explained(batches: Callable[[], Pairs], ask: Callable[[nn.Module, Any], Tensor] = plain) -> Skill:
    """Share of the target's variance explained; each output has its own best constant."""

    def measure(model: nn.Module) -> float:
        outs, ys = zip(*((ask(model, x), y) for x, y in batches()), strict=True)
        out, y = torch.cat(outs), torch.cat(ys)
        if not out.isfinite().all():
            return NO_SKILL
        rest = (out.double() - y.double()).square().mean()
        return max(NO_SKILL, 1 - (rest / (y - y.mean(0)).double().square().mean()).item())

    return in_both_modes(measure)


def bits(batches: Callable[[], Pairs], ask: Callable[[nn.Module, Any], Tensor] = plain) -> Skill:
    """1 - cross entropy over the entropy of the marginal distribution of classes."""

    def measure(model: nn.Module) -> float:
        outs, ys = zip(*((ask(model, x), y) for x, y in batches()), strict=True)
        out, y = torch.cat(outs).flatten(0, -2), torch.cat(ys).flatten()
        if not out.isfinite().all():
            return NO_SKILL
        share = y.bincount(minlength=out.shape[-1]).double() / len(y)
        entropy = -(share * share.clamp_min(1e-12).log()).sum()
        return max(NO_SKILL, 1 - (nn.functional.cross_entropy(out.double(), y) / entropy).item())

    return in_both_modes(measure)
