"""Rows: which samples of the batch send a gradient, and which are wrong and send next to none."""

import math
from typing import Any

import torch
from torch import Tensor

from fadeout.call.batch import is_pair
from fadeout.call.question import Question
from fadeout.probe.account.tape import Watcher
from fadeout.probe.graph.graph import Graph
from fadeout.probe.graph.names import Names
from fadeout.probe.instruments.instrument import Held, How, Instrument, Observed
from fadeout.probe.instruments.units import Units

SILENT = 1e-3  # of the largest row's gradient, below which a row sends next to nothing
WRONG = 0.5  # of the answers' spread, from which a number is wrong


class Rows(Instrument):
    """Watches the gradient at the last weight operation, row by row."""

    def __init__(self, question: Question, how: How) -> None:
        super().__init__(question, how)
        self._samples = 0
        self._last: int | None = None
        self._sent: Tensor | None = None  # norm of each row's gradient
        self._share = math.nan

    def forward(self, names: Names) -> None:
        self._samples, self._sent = names.samples, None

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        self._last = next((i for i, is_matrix in enumerate(graph.matrix) if is_matrix), None)  # the loss side first
        return {} if self._last is None or self._samples < 2 else {self._last: self._arrived}

    def _arrived(self, i: int, gradients: Any) -> None:
        first = next((g for g in gradients if isinstance(g, Tensor)), None)
        if first is None or first.layout != torch.strided or first.dim() < 2 or first.is_complex():
            return
        rows = first.detach().float()
        if len(rows) == self._samples:
            self._sent = rows.flatten(1).norm(dim=1)

    def measure(self, held: Held) -> None:
        output, sent = held.of(Units).returned, self._sent
        if output is None or sent is None or not is_pair(held.question.batch):
            return
        answers = held.question.batch[1]
        if not isinstance(answers, Tensor) or not output.dim() or not answers.dim():
            return
        if not len(output) == len(answers) == len(sent):
            return
        wrong = _wrong(output, answers)
        if wrong is not None and float(sent.max()) > 0:
            silent = sent < SILENT * sent.max()
            self._share = float((wrong & silent).double().mean())

    def fields(self, seen: Observed) -> dict[str, Any]:
        return {"silent_rows": self._share}


def _wrong(output: Tensor, answers: Tensor) -> Tensor | None:
    """Which rows are wrong: another class is the likeliest, or a number is off by half of the answers' spread."""
    if not answers.is_floating_point():
        if output.dim() == 2 and answers.dim() == 1 and output.shape[1] > 1:
            return output.argmax(1) != answers
        return None
    if output.shape != answers.shape:
        return None
    spread = answers.double().std()
    off = (output - answers).flatten(1).abs().amax(1) if output.dim() > 1 else (output - answers).abs()
    return off > WRONG * spread if float(spread) > 0 else None
