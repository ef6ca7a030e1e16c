"""Classic sequence nets: LSTM on the adding problem, Elman, GRU over digits, a temporal convolution, an echo reader."""

from collections.abc import Callable
from functools import partial

import torch
from benchmarks.strangers.record import SATURATES, Stranger, classify, elsewhere, healthy, regress, sick
from benchmarks.strangers.tasks import adding, copy_back, first_sign, shuffled, token_loss
from benchmarks.truth.data import row_digits
from torch import Tensor, nn


class Adder(nn.Module):
    """An LSTM cell in a loop, its forget gate biased, a head on the last state."""

    def __init__(self, forget: float, cut: int = 0, width: int = 20) -> None:
        super().__init__()
        self.cell, self.head, self.cut = nn.LSTMCell(2, width), nn.Linear(width, 1), cut
        with torch.no_grad():
            self.cell.bias_ih[width : 2 * width] = forget

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), self.cell.hidden_size)
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
            if self.cut and t % self.cut == 0:
                h, c = h.detach(), c.detach()
        y: Tensor = self.head(h)
        return y


class Tanh(nn.Module):
    """h = act(W x + g U h), U orthogonal."""

    def __init__(self, gain: float, act: Callable[[Tensor], Tensor] = torch.tanh, width: int = 24) -> None:
        super().__init__()
        self.enter, self.again = nn.Linear(2, width), nn.Linear(width, width, bias=False)
        self.head, self.act = nn.Linear(width, 4), act
        nn.init.orthogonal_(self.again.weight, gain)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x[:, 0])
        for t in range(1, x.shape[1]):
            h = self.act(self.enter(x[:, t]) + self.again(h))
        y: Tensor = self.head(h)
        return y


class Rows(nn.Module):
    """nn.GRU over the rows of a digit, each row several times."""

    def __init__(self, update: float, width: int = 24) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(8, width, batch_first=True), nn.Linear(width, 10)
        with torch.no_grad():
            self.rnn.get_parameter("bias_ih_l0")[width : 2 * width] = update

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.rnn(x)[0][:, -1])
        return y


class Dilated(nn.Module):
    """Causal convolutions with dilation 1, 2, 4, residual; a class for every position."""

    def __init__(self, act: Callable[[], nn.Module], skip: float, width: int = 24, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, width)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 2, dilation=2 ** (i % 3)) for i in range(depth))
        self.acts = nn.ModuleList(act() for _ in range(depth))
        self.head, self.skip = nn.Linear(width, 8), skip

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens).transpose(1, 2)
        for i, (conv, act) in enumerate(zip(self.convs, self.acts, strict=True)):
            x = self.skip * x + act(conv(nn.functional.pad(x, (2 ** (i % 3), 0))))
        y: Tensor = self.head(x.transpose(1, 2))
        return y


class Echo(nn.Module):
    """A leaky state with a fixed leak, h += leak (tanh(W x + U h) - h), trained through time."""

    def __init__(self, leak: float, width: int = 24) -> None:
        super().__init__()
        self.enter, self.again = nn.Linear(2, width), nn.Linear(width, width)
        self.head, self.leak = nn.Linear(width, 4), leak
        with torch.no_grad():
            self.again.weight.mul_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), self.again.in_features)
        for t in range(x.shape[1]):
            h = h + self.leak * (torch.tanh(self.enter(x[:, t]) * 4 + self.again(h)) - h)
        y: Tensor = self.head(h * 3)
        return y


def strangers() -> list[Stranger]:
    """Every reader as it is and with its faults."""
    return [*_adder(), *_simple(), *_rows(), *_wide(), *_echo()]


def _adder() -> list[Stranger]:
    sound = regress("lstm-adding", lambda: Adder(1.5), partial(adding, 16), lr=1e-2, steps=300)
    gates = ("gates", "slope", "weight")
    return [
        healthy(sound, "classic"),
        sick("forget-minus-6", sound, "classic", ("vanishing", "saturated"), "Bias the forget gate to 1 or more.",
             model=lambda: Adder(-8.0), where=("cell", ""), causes=gates, trap=True),
        sick("cut-each-step", sound, "classic", ("severed", "vanishing"), "Detach between sequences, not inside one.",
             model=lambda: Adder(1.5, 1), where=("cell", ""), causes=("truncation", "other")),
        elsewhere("shuffled", sound, "classic", "Pair sequences with their sums.",
             batches=lambda: shuffled(adding(16))),
    ]  # fmt: skip


def _simple() -> list[Stranger]:
    sound = classify("elman-orthogonal", lambda: Tanh(1.0), partial(first_sign, 32), lr=2e-3, steps=250)
    whole = ("", "again", "enter")
    return [
        healthy(sound, "classic"),
        sick("gain-0.3", sound, "classic", ("vanishing",), "Start the recurrent matrix orthogonal with gain 1.",
             model=lambda: Tanh(0.3), where=whole, causes=("weight", "slope")),
        sick("identity-gain-3", sound, "classic", ("exploding", "not_finite"),
             "Start the matrix with gain 1 and use tanh.",
             model=lambda: Tanh(20.0, lambda x: x), where=whole, causes=("weight",)),
        sick("sigmoid-state", sound, "classic", ("vanishing",), "Use tanh.",
             model=lambda: Tanh(1.0, torch.sigmoid), where=whole, causes=("slope", "weight")),
        sick("tanh-gain-12", sound, "classic", ("saturated", "exploding", "vanishing"), "Start the matrix with gain 1.",
             model=lambda: Tanh(12.0), where=whole, causes=("weight", "slope"), trap=True),
    ]  # fmt: skip


def _rows() -> list[Stranger]:
    sound = classify("gru-rows", lambda: Rows(2.0), partial(row_digits, 32, 16, 3), lr=1e-2, steps=120)
    return [
        healthy(sound, "classic"),
        elsewhere("shuffled", sound, "classic", "Pair images with labels.",
             batches=lambda: shuffled(row_digits(32, 16, 3))),
        sick("update-shut", sound, "classic", SATURATES,
             "Bias the update gate to 2 at most.",
             model=lambda: Rows(40.0), where=("rnn", ""), causes=("gates", "slope", "weight")),
    ]  # fmt: skip


def _wide() -> list[Stranger]:
    sound = classify("dilated", lambda: Dilated(nn.ReLU, 1.0), copy_back, loss=token_loss, lr=1e-2)
    where = ("embed", "convs.*", "acts.*", "")
    return [
        healthy(sound, "classic"),
        sick("sigmoid-12-no-skip", sound, "classic", ("vanishing",), "Bring back skips and ReLU.",
             model=lambda: Dilated(nn.Sigmoid, 0.0, depth=9), where=where, causes=("slope", "weight", "skip", "mix")),
    ]  # fmt: skip


def _echo() -> list[Stranger]:
    sound = classify("leaky", lambda: Echo(0.04), partial(first_sign, 30), lr=5e-3, steps=250)
    return [
        healthy(sound, "classic"),
        sick("leak-0.7", sound, "classic", ("vanishing",), "Leak no faster than the sequence is long.",
             model=lambda: Echo(0.7), where=("", "again", "enter"), causes=("weight", "slope", "mix", "gates", "skip")),
    ]  # fmt: skip
