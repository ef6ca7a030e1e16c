"""Networks that read step by step, and the problems they are asked: what `recurrent` trains and measures."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout.init import chrono_

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
Start = Callable[[int, int], nn.RNNBase]  # features, steps
UNITS = 64
LEARNED = 0.02  # mean squared error of the adding problem over 50 steps; always answering 1 costs 1/6


class Reader(nn.Module):
    """Reads a sequence and answers at its last positions.

    Args:
        encoder: (N, T, features) to (N, T, units), or a recurrent layer.
        answers: How many of the last positions answer; (N, outputs) where it is one, else (N, answers, outputs).
        steps: Cut rows (N, features of the data) into so many steps first; 0 where they come as sequences.
    """

    def __init__(self, encoder: nn.Module, outputs: int, *, units: int = UNITS, answers: int = 1, steps: int = 0):
        super().__init__()
        self.encoder, self.out = encoder, nn.Linear(units, outputs)
        self.answers, self.steps = answers, steps

    def forward(self, x: Tensor) -> Tensor:
        seen = self.encoder(x.view(len(x), self.steps, -1) if self.steps else x)
        states = seen[0] if isinstance(seen, tuple) else seen
        out: Tensor = self.out(states[:, -1] if self.answers == 1 else states[:, -self.answers :])
        return out


def tanh_rnn(features: int, steps: int) -> nn.RNNBase:
    return nn.RNN(features, UNITS, batch_first=True)


@torch.no_grad()
def irnn(features: int, steps: int) -> nn.RNNBase:
    """Le, Jaitly and Hinton 2015: ReLU, identity, zero biases, inputs of deviation 0.001."""
    layer = nn.RNN(features, UNITS, nonlinearity="relu", batch_first=True)
    nn.init.eye_(layer.weight_hh_l0)  # type: ignore[arg-type]
    nn.init.normal_(layer.weight_ih_l0, std=0.001)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias_ih_l0)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias_hh_l0)  # type: ignore[arg-type]
    return layer


def lstm(bias: float) -> Start:
    """An LSTM whose forget gates start with this bias; torch adds two, so the second becomes 0."""

    @torch.no_grad()
    def start(features: int, steps: int) -> nn.RNNBase:
        layer = nn.LSTM(features, UNITS, batch_first=True)
        layer.bias_ih_l0[UNITS : 2 * UNITS] = bias  # type: ignore[operator]
        layer.bias_hh_l0[UNITS : 2 * UNITS] = 0.0  # type: ignore[operator]
        return layer

    return start


def chrono(features: int, steps: int) -> nn.RNNBase:
    """Tallec and Ollivier 2018: forget biases drawn for the length, which it is told by that."""
    layer = nn.LSTM(features, UNITS, batch_first=True)
    with torch.no_grad():
        chrono_(layer, max(steps, 3), generator=torch.Generator().manual_seed(torch.initial_seed()))
    return layer


def gru(features: int, steps: int) -> nn.RNNBase:
    return nn.GRU(features, UNITS, batch_first=True)


def random_rnn(gain: float, steps: int) -> tuple[nn.RNNBase, Tensor]:
    """A tanh RNN with recurrent weights N(0, gain^2 / units), and noise that keeps its state small."""
    layer = _unbiased()
    nn.init.normal_(layer.weight_hh_l0, std=gain / math.sqrt(UNITS))  # type: ignore[arg-type]
    return layer, 0.1 * torch.randn(16, steps, layer.input_size)


@torch.no_grad()
def latch(gain: float, steps: int) -> tuple[nn.RNNBase, Tensor]:
    """A tanh RNN whose units read themselves alone; a push at the first step to one side or the other, then silence."""
    layer = _unbiased()
    nn.init.eye_(layer.weight_hh_l0).mul_(gain)  # type: ignore[arg-type]
    layer.weight_ih_l0.sign_()  # type: ignore[operator]
    x = torch.zeros(16, steps, layer.input_size)
    x[:, 0, 0] = 3 * torch.randn(16).sign()
    return layer, x


def _unbiased() -> nn.RNNBase:
    layer = nn.RNN(8, UNITS, batch_first=True)
    nn.init.zeros_(layer.bias_ih_l0)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias_hh_l0)  # type: ignore[arg-type]
    return layer


def held(gain: float) -> float:
    """Factor of a step of h = tanh(gain h) in its fixed point: gain (1 - h^2)."""
    h = 1.0
    for _ in range(1000):
        h = math.tanh(gain * h)
    return gain * (1 - h * h)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far a network's gradient reaches back from the last step.

    Attributes:
        curve: Decades at each number of steps back, 0 at none.
        horizon: Steps until one decade is lost; the whole sequence where that never happens.
    """

    curve: tuple[float, ...]
    horizon: float


def reach(model: nn.Module, batch: Batch, loss: Loss) -> Reach:
    row = fadeout.examine(model, batch, loss=loss).time[-1]
    return Reach(curve=row.log_gain, horizon=min(row.horizon, float(row.steps)))


def adding(rows: int, steps: int, draw: torch.Generator) -> Batch:
    """Hochreiter and Schmidhuber 1997: random numbers, two of them marked, one in each half; their sum."""
    value, mark = torch.rand(rows, steps, generator=draw), torch.zeros(rows, steps)
    first = torch.randint(0, steps // 2, (rows,), generator=draw)
    second = torch.randint(steps // 2, steps, (rows,), generator=draw)
    each = torch.arange(rows)
    mark[each, first] = mark[each, second] = 1.0
    return torch.stack([value, mark], -1), value[each, first] + value[each, second]


def copying(rows: int, blanks: int, draw: torch.Generator) -> Batch:
    """Arjovsky et al. 2016: ten symbols of eight kinds, blanks, a sign, and then the ten again; one-hot."""
    word = torch.randint(1, 9, (rows, 10), generator=draw)
    x = torch.zeros(rows, blanks + 20, dtype=torch.int64)
    x[:, :10], x[:, blanks + 9] = word, 9
    return F.one_hot(x, 10).float(), word


def squared(out: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(out[:, 0], y)


def recalled(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out.flatten(0, 1), y.flatten())


def practise(
    model: nn.Module, draw: Callable[[], Batch], loss: Loss, *, steps: int, rate: float, enough: float = -math.inf
) -> tuple[int, bool]:
    """Adam, gradients clipped at norm 1, fresh sequences at every step.

    Returns:
        Steps taken, and whether the mean loss of the last 50 fell below `enough`, which ends it.
    """
    optimizer = torch.optim.Adam(model.parameters(), rate)
    losses: list[float] = []
    for step in range(1, steps + 1):
        x, y = draw()
        value = loss(model(x), y)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses = [*losses[-49:], float(value.detach())]
        if len(losses) == 50 and statistics.fmean(losses) < enough:
            return step, True
    return steps, False


def by_hand(layer: nn.RNNBase, out: nn.Linear, batch: Batch) -> tuple[float, ...]:
    """Decades at each number of steps back by plain autograd in float64, without any of our instruments.

    Of an LSTM it is the joint gradient of h and c, that of c with what reaches it through h of the same step.
    """
    cells = {"RNN_TANH": nn.RNNCell, "RNN_RELU": nn.RNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}
    kind = cells[layer.mode]
    cell = kind(layer.input_size, layer.hidden_size)
    if isinstance(cell, nn.RNNCell):
        cell.nonlinearity = "relu" if layer.mode == "RNN_RELU" else "tanh"
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    cell, head = cell.double(), nn.Linear(out.in_features, out.out_features)
    head.load_state_dict(out.state_dict())
    x, y = batch[0].double(), batch[1].double()
    parts = 2 if isinstance(cell, nn.LSTMCell) else 1
    state = [x.new_zeros(len(x), layer.hidden_size) for _ in range(parts)]
    kept: list[list[Tensor]] = []
    for step in range(x.shape[1]):
        found = cell(x[:, step], tuple(state) if parts == 2 else state[0])
        state = list(found) if parts == 2 else [found]
        for t in state:
            t.retain_grad()
        kept.append(state)
    squared(head.double()(state[0]), y).backward()  # type: ignore[no-untyped-call]
    sizes = [math.sqrt(sum(float(t.grad.square().sum()) for t in s if t.grad is not None)) for s in reversed(kept)]
    return tuple(math.log10(size / sizes[0]) for size in sizes)


def ranks(values: Sequence[float]) -> list[float]:
    """1 for the smallest; equals share the mean of their places."""
    order = sorted(values)
    return [statistics.fmean(n for n, v in enumerate(order, 1) if v == value) for value in values]


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation; 0 where one side is constant and ranks nothing."""
    first, second = ranks(a), ranks(b)
    return statistics.correlation(first, second) if min(len(set(first)), len(set(second))) > 1 else 0.0
