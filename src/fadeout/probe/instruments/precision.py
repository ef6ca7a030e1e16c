"""Precision: which gradient values a narrower format would flush, and where non-finite values begin."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from fadeout.call.batch import tensors
from fadeout.probe.account.passes import Observer
from fadeout.probe.account.tape import Watcher
from fadeout.probe.graph.graph import Graph
from fadeout.probe.graph.lines import line_of
from fadeout.probe.graph.names import Names
from fadeout.probe.later import Answer, Later, tally
from fadeout.records import NotFinite, Origin, Underflow

ROWS = 8  # of a batch, that are named
_HIDES = frozenset("where masked_fill nan_to_num masked_scatter masked_select getitem __getitem__".split())
_FILLS = frozenset("masked_fill where full full_like new_full fill triu tril setitem masked_scatter".split())
# Half the smallest subnormal over the largest finite value: what rounding still turns to zero
# when the pass's largest gradient is scaled to the format's maximum.
_HALF_STEP = {
    "fp16": 2.0**-24 / 2 / 65504.0,
    "bf16": 2.0**-133 / 2 / 3.3895313892515355e38,
}


def ask_underflow(samples: dict[int, tuple[Tensor, Tensor]], groups: list[list[int]], later: Later) -> Answer | None:
    """Ask what share of each group's non-zero gradient values a format flushes under one scale for the pass.

    Args:
        samples: By operation: the largest |gradient|, and a sample of |gradient|.
        groups: Operations of each layer.
    """
    used = [[samples[i][1] for i in group if i in samples] for group in groups]
    if not any(used):
        return None
    maxima = torch.cat([largest.reshape(1) for largest, _ in samples.values()]).double()
    top = torch.nan_to_num(maxima, nan=0.0, posinf=0.0).amax()
    counts = [sum(part.numel() for part in parts) for parts in used]
    values = torch.cat([part for parts in used for part in parts]).double()
    given = values > 0
    return later.ask([tally([given, *((values <= top * step) & given for step in _HALF_STEP.values())], counts)])


def underflow(counts: Sequence[float]) -> Underflow:
    """Shares from (values that are not zero, flushed in fp16, flushed in bf16)."""
    given, *flushed = counts
    if not given > 0:
        return Underflow(fp16=math.nan, bf16=math.nan)
    return Underflow(fp16=flushed[0] / given, bf16=flushed[1] / given)


def _is_mask(function: str, args: tuple[Any, ...], out: Tensor) -> bool:
    """-inf that a mask put there on purpose, or carried on: softmax makes zeros of it."""
    values = out.detach()
    if not bool((torch.isfinite(values) | (values == -math.inf)).all()):
        return False
    given = [t.detach() for t in tensors(args) if t.is_floating_point() and t.layout == torch.strided]
    return function.strip("_") in _FILLS or any(bool((t == -math.inf).any()) for t in given)


def _rows(values: Tensor, samples: int) -> dict[str, Any]:
    """The rows of the batch at which a result is not finite, where it has one for each sample."""
    if samples < 2 or not values.dim() or len(values) != samples:
        return {}
    bad = (~torch.isfinite(values)).reshape(samples, -1).any(1).nonzero().flatten()
    return {"rows": tuple(int(n) for n in bad[:ROWS]), "of": samples}


class Hunt(Observer):
    """A pass that looks for the first non-finite value and counts them by module."""

    def __init__(self, parameters: list[tuple[str, nn.Parameter]], *, sound_batch: bool = False) -> None:
        """Args: sound_batch: the batch is finite, so that no operation gets what is not from there."""
        self._sound_batch = sound_batch
        self.origin: Origin | None = None
        self.activation: dict[str, Tensor] = {}
        self.gradient: dict[str, Tensor] = {}
        self.weight: dict[str, int] = {}
        self._names: Names | None = None
        self._graph: Graph | None = None
        for name, parameter in parameters:
            count = int((~torch.isfinite(parameter.detach())).sum())
            if count:
                path = name.rpartition(".")[0]
                self.weight[path] = self.weight.get(path, 0) + count
                if self.origin is None:
                    self.origin = Origin(path=path, op=name.rpartition(".")[2], line="", where="parameters")

    def forward(self, names: Names) -> None:
        self._names = names
        names.listen(self, calls=None, leaves=True)

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        """One function returned: are its results finite where its inputs were?"""
        if node is None or not out.is_floating_point() or out.layout != torch.strided or out.is_nested:
            return
        self._unmask(function, args, out)
        if self.origin is None and not bool(torch.isfinite(out.detach()).all()) and not _is_mask(function, args, out):
            names = self._names
            assert names is not None
            origin = names.of.get(node)
            dirty = any(t.is_floating_point() and not bool(torch.isfinite(t.detach()).all()) for t in tensors(args))
            self.origin = Origin(
                path=path,
                op=function.strip("_"),
                line=line_of(origin[3], origin[4]) if origin else "",
                where="input" if dirty and not self._sound_batch else ("forward" if names.stack else "loss"),
                **_rows(out.detach(), names.samples),
            )

    def _unmask(self, function: str, args: tuple[Any, ...], out: Tensor) -> None:
        """Notes where a mask leaves out again what the origin made."""
        if self.origin is None or self.origin.masked or function.strip("_") not in _HIDES:
            return
        given = [t.detach() for t in tensors(args) if t.is_floating_point() and t.layout == torch.strided]
        if any(not bool(torch.isfinite(t).all()) for t in given) and bool(torch.isfinite(out.detach()).all()):
            self.origin = replace(self.origin, masked=True)

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        first = next((t for t in tensors(out) if t.is_floating_point() and t.layout == torch.strided), None)
        if first is not None:
            self.activation[path] = (~torch.isfinite(first.detach())).sum()

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        self._graph = graph
        return {i: self._gradient for i in range(len(graph.nodes)) if i not in graph.leaves}

    def _gradient(self, i: int, gradients: Any) -> None:
        graph = self._graph
        assert graph is not None
        for gradient in gradients:
            if gradient is None or gradient.layout != torch.strided or gradient.is_nested:
                continue
            if graph.matrix[i]:
                count = (~torch.isfinite(gradient)).sum()
                path = graph.path[i]
                self.gradient[path] = self.gradient[path] + count if path in self.gradient else count
            if self.origin is None and not bool(torch.isfinite(gradient).all()):
                before = next((n for n, edges in enumerate(graph.edges) for _, j, _ in edges if j == i), i)
                self.origin = Origin(
                    path=graph.path[before],
                    op=graph.op[before],
                    line=line_of(*graph.line[before]),
                    where="backward",
                    **_rows(gradient, self._names.samples if self._names is not None else 0),
                )

    def counts(self, path: str) -> NotFinite:
        """What was counted in one module."""
        return NotFinite(
            activation=int(self.activation.get(path, 0)),
            gradient=int(self.gradient.get(path, 0)),
            weight=self.weight.get(path, 0),
        )
