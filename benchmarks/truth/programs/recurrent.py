"""Recurrent classifiers: nn.LSTM, nn.GRU, nn.RNN and cells written by hand, read over up to 50 steps."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from benchmarks.truth import data
from benchmarks.truth.program import OptimizerMaker, Program, adam
from benchmarks.truth.task import accuracy
from torch import Tensor, nn

Kind = Literal["lstm", "gru", "rnn"]


class Reader(nn.Module):
    """A torch recurrent layer over the sequence, a head on its last output."""

    def __init__(self, inputs: int, width: int, outputs: int, kind: Kind, layers: int) -> None:
        super().__init__()
        layer = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind]
        self.rnn = layer(inputs, width, num_layers=layers, batch_first=True)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(x)[0][:, -1])
        return y


class CellReader(nn.Module):
    """A loop over a torch cell; `truncate` detaches the state every so many steps."""

    def __init__(self, inputs: int, width: int, outputs: int, kind: Kind, truncate: int = 0) -> None:
        super().__init__()
        cell = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}[kind]
        self.width, self.kind, self.truncate = width, kind, truncate
        self.cell = cell(inputs, width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), self.width)
        c = h.clone()
        for t in range(x.shape[1]):
            if self.kind == "lstm":
                h, c = self.cell(x[:, t], (h, c))
            else:
                h = self.cell(x[:, t], h)
            if self.truncate and t % self.truncate == self.truncate - 1:
                h, c = h.detach(), c.detach()
        y: Tensor = self.head(h)
        return y


class Elman(nn.Module):
    """h = act(W x + U h), written by hand with two Linear layers."""

    def __init__(self, inputs: int, width: int, outputs: int, act: Callable[[], nn.Module], gain: float) -> None:
        super().__init__()
        self.width = width
        self.enter = nn.Linear(inputs, width)
        self.again = nn.Linear(width, width, bias=False)
        self.act = act()
        self.head = nn.Linear(width, outputs)
        nn.init.orthogonal_(self.again.weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), self.width)
        for t in range(x.shape[1]):
            h = self.act(self.enter(x[:, t]) + self.again(h))
        y: Tensor = self.head(h)
        return y


def open_gates(model: nn.Module, bias: float = 2.0) -> None:
    """Forget gates of every torch LSTM at `bias` (half in each of the two bias vectors)."""
    for m in model.modules():
        if isinstance(m, nn.LSTM | nn.LSTMCell):
            for name, p in m.named_parameters():
                if "bias" in name:
                    n = len(p) // 4
                    with torch.no_grad():
                        p[n : 2 * n] = bias / 2


def reader(
    kind: Kind = "lstm",
    length: int = 24,
    *,
    task: Literal["first", "rows"] = "first",
    layers: int = 1,
    width: int = 32,
    by_cell: bool = False,
    truncate: int = 0,
    forget: float | None = None,
    optimizer: OptimizerMaker | None = None,
    steps: int = 250,
    **others: Any,
) -> Program:
    """A torch recurrent layer; the task is the first token of the sequence, or a digit row by row."""
    first = task == "first"

    def batches() -> data.Pairs:
        return data.first_token(length) if first else data.row_digits(repeat=max(1, length // 8))

    def make() -> nn.Module:
        sizes = (4, width, 4) if first else (8, width, 10)
        model = CellReader(*sizes, kind, truncate) if by_cell else Reader(*sizes, kind, layers)
        if kind == "lstm" and forget is not None:
            open_gates(model, forget)
        if kind == "rnn":
            for name, p in model.named_parameters():
                if "weight_hh" in name:
                    nn.init.orthogonal_(p)
        return model

    path = "cell" if by_cell else "rnn"
    options: dict[str, Any] = {
        "name": f"{kind}{'cell' if by_cell else ''}-{task}-T{length}" + (f"-{layers}l" if layers > 1 else ""),
        "steps": steps,
        "model": make,
        "batches": batches,
        "loss": nn.functional.cross_entropy,
        "optimizer": optimizer or adam(1e-2),
        "skill": accuracy(batches),
        "places": (path,) * 5,
        "inputs": path,
    }
    return Program(**(options | others))


def elman(
    length: int = 24,
    act: Callable[[], nn.Module] = nn.Tanh,
    gain: float = 1.0,
    *,
    width: int = 24,
    optimizer: OptimizerMaker | None = None,
    steps: int = 250,
    **others: Any,
) -> Program:
    """A recurrent net by hand on the first-token task."""

    def batches() -> data.Pairs:
        return data.first_token(length)

    options: dict[str, Any] = {
        "name": f"elman-{act.__name__.lower()}-T{length}",
        "steps": steps,
        "model": lambda: Elman(4, width, 4, act, gain),
        "batches": batches,
        "loss": nn.functional.cross_entropy,
        "optimizer": optimizer or adam(2e-3),
        "skill": accuracy(batches),
        "places": ("again",) * 5,
        "inputs": "enter",
    }
    return Program(**(options | others))
