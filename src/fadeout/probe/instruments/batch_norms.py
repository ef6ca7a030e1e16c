"""Batch norms: those whose statistics mean nothing, and what those of a few values make of the gradient."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from fadeout.call import privates
from fadeout.call.question import Question
from fadeout.probe.graph.names import Names
from fadeout.probe.graph.paths import readable_path
from fadeout.probe.instruments.instrument import How, Instrument, Observed
from fadeout.probe.later import Answer, Later
from fadeout.records import FewValues

FEW = 8  # values a channel: below, a variance is off by half its size and more


class BatchNorms(Instrument):
    """Normalising one row by itself, by a few values, or by statistics that were never taken."""

    def __init__(self, question: Question, how: How) -> None:
        super().__init__(question, how)
        self._few: dict[str, tuple[int, Answer]] = {}
        self._later = Later()

    def forward(self, names: Names) -> None:
        self._few, self._later = {}, names.later
        names.listen(self, leaves=True)

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        """Functions say nothing that modules do not."""

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """A batch norm has run: how much do its channels' deviations differ by chance?"""
        if not isinstance(module, privates.BatchNorm) or not module.training or not args:
            return
        x = args[0]
        if not isinstance(x, Tensor) or x.dim() < 2 or not 1 < x.numel() // x.shape[1] <= FEW:
            return
        values = x.detach().double().transpose(0, 1).flatten(1)
        gain = torch.rsqrt(values.var(1, unbiased=False) + module.eps)
        self._few[path] = values.shape[1], self._later.ask([gain.square().mean().sqrt(), gain.median()])

    def fields(self, seen: Observed) -> dict[str, Any]:
        return {"norms": _norms(seen), "few_values": tuple(_few(*item) for item in self._few.items())}


def _few(path: str, known: tuple[int, Answer]) -> FewValues:
    """What a norm's gain owes to the channels whose few values happen to lie close together.

    With many values the gain of each channel would be that of its true deviation, for which the median channel
    speaks: n times its variance lies at the median of chi-squared, here by Wilson and Hilferty (PNAS 1931).  What
    n values share with mean and deviation, 2 parts of n, is taken from the gradient.
    """
    count, answer = known
    mean, middle = answer.values
    if not (mean > 0 and middle > 0 and count > 2):
        return FewValues(path=path, values=count, excess=0.0)
    freedom = count - 1
    true = middle * math.sqrt(freedom * (1 - 2 / (9 * freedom)) ** 3 / count)
    excess = math.log10(mean * math.sqrt(1 - 2 / count) / true)
    return FewValues(path=path, values=count, excess=max(excess, 0.0))


def _norms(seen: Observed) -> tuple[tuple[str, str], ...]:
    """Batch norms whose statistics mean nothing."""
    found = []
    for path, module in seen.subject.modules:
        if not isinstance(module, privates.BatchNorm) or id(module) not in seen.first.names.ran:
            continue
        counted = module.num_batches_tracked
        if module.training and seen.closure.samples == 1:
            found.append((readable_path(path), "normalises a batch of one by itself"))
        elif not module.training and counted is not None and int(counted) == 0:
            found.append((readable_path(path), "evaluates with running statistics that were never taken"))
    return tuple(found)
