"""More of today's recurrences: gated linear attention, RG-LRU, HGRN, sLSTM, minLSTM and a memory with keys."""

from collections.abc import Callable
from functools import partial

import torch
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, sick
from benchmarks.strangers.recurrences import Last
from benchmarks.strangers.spoil import zeroed
from benchmarks.strangers.tasks import first_sign, needle, shuffled
from benchmarks.truth.program import Program, adam
from torch import Tensor, nn
from torch.nn import functional as F


class GatedLinear(nn.Module):
    """S = a S + k v' with a = sigmoid(W x)^(1/tau) a key channel."""

    def __init__(self, width: int, tau: float) -> None:
        super().__init__()
        self.qkv, self.gate = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, width)
        self.tau = tau

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        keep = torch.sigmoid(self.gate(x)) ** (1 / self.tau)
        state = x.new_zeros(len(x), x.shape[-1], x.shape[-1])
        ys = []
        for t in range(x.shape[1]):
            state = keep[:, t].unsqueeze(-1) * state + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
            ys.append((q[:, t].unsqueeze(-2) @ state).squeeze(-2))
        y: Tensor = self.out(self.norm(torch.stack(ys, 1)))
        return y


class GriffinUnit(nn.Module):
    """RG-LRU: h = a h + sqrt(1 - a^2) i x with a = exp(-c softplus(lambda) r)."""

    def __init__(self, width: int, low: float, high: float, guard: float = 1e-6) -> None:
        super().__init__()
        self.recur, self.input = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        target = -torch.log(torch.rand(width) * (high - low) + low) / 8
        self.decay = nn.Parameter(torch.log(torch.expm1(target)))
        self.guard = guard

    def forward(self, x: Tensor) -> Tensor:
        r, i = torch.sigmoid(self.recur(x)), torch.sigmoid(self.input(x))
        a = torch.exp(-8 * F.softplus(self.decay) * r)
        drive = torch.sqrt(1 - a.square() + self.guard) * i * self.value(x)
        h = torch.zeros_like(drive[:, 0])
        ys = []
        for t in range(x.shape[1]):
            h = a[:, t] * h + drive[:, t]
            ys.append(h)
        y: Tensor = self.out(torch.stack(ys, 1) * 3)
        return y


class LowerBound(nn.Module):
    """HGRN: the forget gate never falls below `floor`."""

    def __init__(self, width: int, floor: float, bias: float) -> None:
        super().__init__()
        self.forget, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        nn.init.constant_(self.forget.bias, bias)
        self.floor = floor

    def forward(self, x: Tensor) -> Tensor:
        f = self.floor + (1 - self.floor) * torch.sigmoid(self.forget(x))
        c = F.silu(self.value(x))
        h = torch.zeros_like(c[:, 0])
        ys = []
        for t in range(x.shape[1]):
            h = f[:, t] * h + (1 - f[:, t]) * c[:, t]
            ys.append(h)
        y: Tensor = self.out(torch.stack(ys, 1) * 4)
        return y


class ScalarLSTM(nn.Module):
    """sLSTM: exponential input gate with stabiliser, sigmoid forget gate, the state fed back."""

    def __init__(self, width: int, forget: float, stable: bool = True) -> None:
        super().__init__()
        self.into, self.again = nn.Linear(width, 4 * width), nn.Linear(width, 4 * width, bias=False)
        self.width, self.stable = width, stable
        with torch.no_grad():
            self.again.weight.mul_(0.3)
            self.into.bias[2 * width : 3 * width] = forget

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), self.width)
        n, m = torch.ones_like(h), torch.zeros_like(h)
        ys = []
        for t in range(x.shape[1]):
            z, i, f, o = (self.into(x[:, t]) + self.again(h)).chunk(4, -1)
            f = F.logsigmoid(f)
            new = torch.maximum(f + m, i)
            i, f, m = torch.exp(i - new), torch.exp(f + m - new), new
            c, n = f * c + i * torch.tanh(z), f * n + i
            h = torch.sigmoid(o) * c / n
            ys.append(h)
        return torch.stack(ys, 1) * 3


class MinLSTM(nn.Module):
    """Forget and input gate from the input, normalised to add to 1."""

    def __init__(self, width: int, forget: float, parallel: bool = True) -> None:
        super().__init__()
        self.gates, self.value = nn.Linear(width, 2 * width), nn.Linear(width, width)
        with torch.no_grad():
            self.gates.bias[:width] = forget
            self.gates.bias[width:] = -forget
        self.parallel = parallel

    def forward(self, x: Tensor) -> Tensor:
        f, i = torch.sigmoid(self.gates(x)).chunk(2, -1)
        f, i = f / (f + i), i / (f + i)
        drive = i * self.value(x)
        h = torch.zeros_like(drive[:, 0])
        ys = []
        for t in range(x.shape[1]):
            h = f[:, t] * h + drive[:, t]
            ys.append(h)
        return torch.stack(ys, 1) * 4


class MinLSTMStored(MinLSTM):
    """The states go through a preallocated buffer of numbers."""

    def forward(self, x: Tensor) -> Tensor:
        states = super().forward(x)
        buffer = torch.zeros(states.shape)
        for t in range(states.shape[1]):
            buffer[:, t] = torch.as_tensor(states[:, t].detach().numpy())
        return buffer


class KeyMemory(nn.Module):
    """Writes each step into a slot chosen by softmax, then reads by a learnt key."""

    def __init__(self, width: int, sharp: float, slots: int = 6) -> None:
        super().__init__()
        self.write, self.value = (
            nn.Linear(width, slots),
            nn.Sequential(nn.Linear(width, 24), nn.SiLU(), nn.Linear(24, width)),
        )
        self.read, self.sharp = nn.Parameter(torch.randn(slots)), sharp

    def forward(self, x: Tensor) -> Tensor:
        where = torch.softmax(self.sharp * self.write(x), -1)
        memory = x.new_zeros(len(x), where.shape[-1], x.shape[-1])
        value = self.value(x)
        for t in range(x.shape[1]):
            w = where[:, t].unsqueeze(-1)
            memory = memory + w * value[:, t].unsqueeze(1)
        return (torch.softmax(self.sharp * self.read, 0).unsqueeze(-1) * memory).sum(1, keepdim=True)


def _program(name: str, layer: Callable[[], nn.Module], length: int = 30) -> Program:
    return classify(name, _model(layer), partial(first_sign, length, 24), lr=1e-2, steps=120)


def _model(layer: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: Last(layer(), 16)


def strangers() -> list[Stranger]:
    """Every gate as it is and with its faults."""
    return [*_linear(), *_bounded(), *_cells(), *_memory()]


def _linear() -> list[Stranger]:
    gla = _program("gated-linear", lambda: GatedLinear(16, 16.0), 24)
    griffin = _program("rg-lru", lambda: GriffinUnit(16, 0.9, 0.999), 40)
    causes = ("gates", "slope", "mix", "weight")
    return [
        healthy(gla, "today"),
        sick("root-left-out", gla, "today", ("vanishing",), "Take the sixteenth root of the gate.",
             model=_model(lambda: GatedLinear(16, 0.5)), where=("layer", "layer.gate"), causes=causes),
        healthy(griffin, "today"),
        sick("lambda-low", griffin, "today", ("vanishing",), "Draw the decays between 0.9 and 0.999.",
             model=_model(lambda: GriffinUnit(16, 0.0001, 0.05)), where=("layer", "layer.recur"), causes=causes),
        sick("root-unguarded", griffin, "today", ("not_finite",), "Add a little under the root.",
             model=_model(lambda: GriffinUnit(16, 0.99999999, 1.0, 0.0)), where=("layer", ""), causes=("other",
             "gates")),
        elsewhere("rate-tiny", griffin, "today", "Raise the learning rate.", optimizer=adam(1e-7)),
    ]  # fmt: skip


def _bounded() -> list[Stranger]:
    sound = _program("hgrn", lambda: LowerBound(16, 0.9, 1.0))
    return [
        healthy(sound, "today"),
        sick("no-bound-shut", sound, "today", ("vanishing", "saturated"), "Bound the forget gate from below.",
             model=_model(lambda: LowerBound(16, 0.0, -3.0)), where=("layer", "layer.forget"),
             causes=("gates", "slope", "mix", "weight")),
        elsewhere("shuffled", sound, "today", "Pair sequences with their targets.",
                  batches=lambda: shuffled(first_sign(30, 24))),
    ]  # fmt: skip


def _cells() -> list[Stranger]:
    scalar = _program("slstm", lambda: ScalarLSTM(16, 4.0))
    least = _program("minlstm", lambda: MinLSTM(16, 2.0))
    causes = ("gates", "slope", "mix", "weight")
    return [
        healthy(scalar, "today"),
        sick("forget-low", scalar, "today", ("vanishing", "saturated"), "Bias the forget gate between 3 and 6.",
             model=_model(lambda: ScalarLSTM(16, -6.0)), where=("layer", "layer.into"), causes=causes),
        healthy(least, "today"),
        sick("forgets-half", least, "today", ("vanishing",), "Bias the forget gate up and the input gate down.",
             model=_model(lambda: MinLSTM(16, 0.0)), where=("layer", "layer.gates"), causes=causes),
        sick("all-zero", least, "today", ("bad_init", "severed", "dead", "vanishing"), "Draw the weights at random.",
             model=lambda: zeroed(_model(lambda: MinLSTM(16, 2.0))()), where=("", "enter", "layer", "head", "layer.*")),
        sick("states-stored", least, "today", ("severed",), "Stack the states with torch.",
             model=_model(lambda: MinLSTMStored(16, 2.0)), where=("layer", "", "enter", "layer.gates", "layer.value"),
             causes=("other",)),
    ]  # fmt: skip


def _memory() -> list[Stranger]:
    sound = classify(
        "key-memory", lambda: Last(KeyMemory(12, 1.0), 12, 4, 2), partial(needle, 6, 48), lr=1e-2, steps=200
    )
    return [
        healthy(sound, "today"),
        sick("sharp", sound, "today", ("saturated", "vanishing"), "Choose slots softly at the start.", trap=True,
             model=lambda: Last(KeyMemory(12, 1e4), 12, 4, 2), where=("layer", "layer.write"), causes=("slope",)),
    ]  # fmt: skip
