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
        if module.weight is not None:
            gain = gain * module.weight.detach().double().abs()
        self._few[path] = values.shape[1], self._later.ask([gain.square().mean().sqrt(), gain.median()])

    def fields(self, seen: Observed) -> dict[str, Any]:
        return {"norms": _norms(seen), "few_values": tuple(_few(*item) for item in self._few.items())}


def _few(path: str, known: tuple[int, Answer]) -> FewValues:
    """What a norm's gain owes to the channels whose few values happen to lie close together."""
    count, answer = known
    mean, middle = answer.values
    excess = math.log10(mean / middle) if mean > 0 and middle > 0 else 0.0
    return FewValues(path=path, values=count, excess=excess)


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
