"""Recurrent layers in every combination, their inputs, and the slow twin of the time profile."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from fadeout.probe.recurrent.unrolled import Step, unroll

STEPS, BATCH, FEATURES, UNITS = 7, 4, 3, 5
LENGTHS = {"sorted": [7, 5, 4, 1], "unsorted": [4, 7, 1, 5]}


@dataclass(frozen=True)
class Case:
    kind: str
    layers: int
    bidirectional: bool
    layout: str  # steps first, batch first, sorted, unsorted, one sequence
    states: bool
    bias: bool = True

    def __str__(self) -> str:
        return "-".join(
            [
                self.kind,
                f"{self.layers} layers",
                "both ways" if self.bidirectional else "one way",
                self.layout,
            ]
            + (["states"] if self.states else [])
            + ([] if self.bias else ["no bias"])
        )

    def module(self, dtype: torch.dtype = torch.float64) -> nn.RNNBase:
        torch.manual_seed(3)
        options: dict[str, Any] = {
            "num_layers": self.layers,
            "bidirectional": self.bidirectional,
            "bias": self.bias,
            "dtype": dtype,
            "batch_first": self.layout in ("batch first", "unsorted"),
            "dropout": 0.3 if self.layers > 1 else 0.0,
        }
        if self.kind in ("tanh", "relu"):
            return nn.RNN(FEATURES, UNITS, nonlinearity=self.kind, **options)
        if self.kind == "gru":
            return nn.GRU(FEATURES, UNITS, **options)
        return nn.LSTM(FEATURES, UNITS, proj_size=2 if self.kind == "lstm projected" else 0, **options)

    def call(self, module: nn.RNNBase, dtype: torch.dtype = torch.float64) -> tuple[Any, Any]:
        draw = torch.Generator().manual_seed(5)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draw, dtype=dtype)

        x: Any = normal(STEPS, BATCH, FEATURES)
        if self.layout == "one sequence":
            x = x[:, 0]
        elif module.batch_first:
            x = x.transpose(0, 1).contiguous()
        if self.layout in LENGTHS:
            lengths = torch.tensor(LENGTHS[self.layout])
            x = pack_padded_sequence(x, lengths, module.batch_first, enforce_sorted=self.layout == "sorted")
        if not self.states:
            return x, None
        batch = () if self.layout == "one sequence" else (BATCH,)
        count = self.layers * (2 if self.bidirectional else 1)
        h, c = normal(count, *batch, module.proj_size or UNITS), normal(count, *batch, UNITS)
        return x, (h, c) if self.kind.startswith("lstm") else h

    @property
    def lengths(self) -> list[int]:
        """Longest first where packed."""
        return sorted(LENGTHS[self.layout], reverse=True) if self.layout in LENGTHS else [STEPS] * BATCH


KINDS = ("tanh", "relu", "lstm", "lstm projected", "gru")
LAYOUTS = ("steps first", "batch first", "sorted", "unsorted", "one sequence")


def cases() -> list[Case]:
    every = [
        Case(kind=k, layers=n, bidirectional=b, layout=x, states=s)
        for k, n, b, x, s in itertools.product(KINDS, (1, 2), (False, True), LAYOUTS, (False, True))
    ]
    return every + [
        Case(kind=k, layers=2, bidirectional=True, layout="unsorted", states=True, bias=False) for k in KINDS
    ]


def data(x: Tensor | PackedSequence) -> Tensor:
    return x.data if isinstance(x, PackedSequence) else x  # not Tensor.data, which would detach


def like(x: Tensor | PackedSequence, values: Tensor) -> Tensor | PackedSequence:
    if isinstance(x, PackedSequence):
        return PackedSequence(values, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
    return values


def parts(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def loss(output: Any, state: Any, *, states: bool = True) -> tuple[Tensor, Any, tuple[Tensor, ...]]:
    """A loss that reads everything, and its gradients at output and states."""
    draw = torch.Generator().manual_seed(11)
    flat = data(output)
    weight = torch.randn(flat.shape, generator=draw, dtype=flat.dtype)
    others = tuple(torch.randn(s.shape, generator=draw, dtype=s.dtype) for s in parts(state))
    total = (flat * weight).sum()
    if states:
        total = total + sum((s * w).sum() for s, w in zip(parts(state), others, strict=True))
    return total, like(output, weight), others


def slow_profile(
    module: nn.RNNBase, x: Any, hx: Any, lengths: list[int], read: Any
) -> Iterator[tuple[int, int, list[float], list[float]]]:
    """By autograd through the twin: squared (h, c) gradient at each lag, and at lag 0 of the same rows."""
    steps: list[Step] = []
    output, state = unroll(module, x, hx, watch=steps.append)
    total = read(output, state)
    wanted = [s.h for s in steps] + [s.c for s in steps if s.c is not None]
    grads = torch.autograd.grad(total, wanted, allow_unused=True)
    grads = [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, grads, strict=True)]
    squares: dict[tuple[int, int], Tensor] = {}
    for n, s in enumerate(steps):
        row = grads[n].square().sum(-1)
        if s.c is not None:
            row = row + grads[len(steps) + n].square().sum(-1)
        table = squares.setdefault((s.layer, s.direction), torch.zeros(max(lengths), len(lengths), dtype=row.dtype))
        for b in range(len(row)):
            table[s.t if s.direction else lengths[b] - 1 - s.t, b] = row[b]
    for (layer, way), table in squares.items():
        enough = torch.arange(len(table)).unsqueeze(1) < torch.tensor(lengths)[: table.shape[1]]
        start = torch.where(enough, table[0], 0.0).sum(1)
        yield layer, way, table.sum(1).tolist(), start.tolist()


def decades(square: float) -> float:
    return math.log10(square) / 2 if square else -math.inf
