"""Today's recurrences as Python loops: minGRU, selective state spaces, RWKV, RetNet, mLSTM, LRU, the delta rule."""

from collections.abc import Callable
from functools import partial

import torch
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, sick
from benchmarks.strangers.tasks import first_sign, shuffled
from benchmarks.truth.program import Program, adam
from torch import Tensor, nn
from torch.nn import functional as F


class Last(nn.Module):
    """A recurrent layer between an entrance and a head that reads its last step."""

    def __init__(self, layer: nn.Module, width: int, inputs: int = 2, outputs: int = 4) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.layer = layer
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.layer(self.enter(x))[:, -1])
        return y


class MinGRU(nn.Module):
    """h = (1 - z) h + z W x with z from the input alone."""

    def __init__(self, width: int, keep: float) -> None:
        super().__init__()
        self.gate, self.hidden = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -keep)

    def forward(self, x: Tensor) -> Tensor:
        z, new = torch.sigmoid(self.gate(x)), self.hidden(x)
        h = torch.zeros_like(new[:, 0])
        states = []
        for t in range(x.shape[1]):
            h = self.step(h, z[:, t], new[:, t])
            states.append(h)
        return torch.stack(states, 1)

    def step(self, h: Tensor, z: Tensor, new: Tensor) -> Tensor:
        return (1 - z) * h + z * new


class MinGRUSaving(MinGRU):
    """Frees memory: the state leaves the graph at each step."""

    def step(self, h: Tensor, z: Tensor, new: Tensor) -> Tensor:
        return (1 - z) * h.detach() + z * new


class MinGRUChunked(MinGRU):
    """Truncated backpropagation in chunks of eight."""

    def forward(self, x: Tensor) -> Tensor:
        z, new = torch.sigmoid(self.gate(x)), self.hidden(x)
        h = torch.zeros_like(new[:, 0])
        states = []
        for t in range(x.shape[1]):
            if t % 8 == 0:
                h = h.detach()
            h = self.step(h, z[:, t], new[:, t])
            states.append(h)
        return torch.stack(states, 1)


class Selective(nn.Module):
    """A selective state space: h = exp(dt A) h + dt B x, y = C h + D x, gated by silu."""

    def __init__(self, width: int, states: int, dt_bias: Callable[[int], Tensor]) -> None:
        super().__init__()
        self.states = states
        self.into = nn.Linear(width, 2 * width)
        self.select = nn.Linear(width, 2 * states)
        self.dt = nn.Linear(width, width)
        with torch.no_grad():
            self.dt.weight.mul_(0.1)
            self.dt.bias.copy_(dt_bias(width))
        self.a_log = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(width, 1))
        self.d = nn.Parameter(torch.ones(width))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.into(x).chunk(2, -1)
        b, c = self.select(u).chunk(2, -1)
        dt = F.softplus(self.dt(u))
        decay = torch.exp(-dt.unsqueeze(-1) * self.a_log.exp())
        drive = (dt * u).unsqueeze(-1) * b.unsqueeze(2)
        h = torch.zeros_like(drive[:, 0])
        ys = []
        for t in range(x.shape[1]):
            h = decay[:, t] * h + drive[:, t]
            ys.append((h * c[:, t].unsqueeze(1)).sum(-1))
        y: Tensor = self.out((torch.stack(ys, 1) + self.d * u) * F.silu(gate))
        return y


def slow_dt(width: int) -> Tensor:
    """Steps drawn evenly in the logarithm from 0.001 to 0.1, as biases of softplus."""
    dt = torch.exp(torch.rand(width) * 4.6 - 6.9)
    return dt + torch.log(-torch.expm1(-dt))


class RwkvMix(nn.Module):
    """Time mixing with a decay a channel: sums of exp(k) v over sums of exp(k), times a receptance."""

    def __init__(self, width: int, decay: float) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.linspace(decay - 1, decay, width))
        self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.receive, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        k, v, r = self.key(x).exp(), self.value(x), torch.sigmoid(self.receive(x))
        keep = torch.exp(-torch.exp(self.decay))
        top = torch.zeros_like(v[:, 0])
        bottom = torch.zeros_like(top)
        ys = []
        for t in range(x.shape[1]):
            top = keep * top + k[:, t] * v[:, t]
            bottom = keep * bottom + k[:, t]
            ys.append(r[:, t] * top / (bottom + 1e-6))
        y: Tensor = x + self.out(torch.stack(ys, 1) * 4)
        return y


class Retention(nn.Module):
    """S = gamma S + k v', y = q S, with a fixed gamma a head."""

    gamma: Tensor

    def __init__(self, width: int, heads: int, slowest: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm = nn.GroupNorm(heads, width)
        self.register_buffer("gamma", slowest ** torch.arange(1.0, heads + 1))

    def forward(self, x: Tensor) -> Tensor:
        n, steps, d = x.shape
        q, k, v = (p.view(n, steps, self.heads, -1) for p in self.qkv(x).chunk(3, -1))
        state = x.new_zeros(n, self.heads, d // self.heads, d // self.heads)
        ys = []
        for t in range(steps):
            state = self.gamma.view(1, -1, 1, 1) * state + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
            ys.append((q[:, t].unsqueeze(-2) @ state).flatten(1))
        y = torch.stack(ys, 1)
        out: Tensor = x + self.out(self.norm(y.flatten(0, 1)).view(n, steps, d))
        return out


class MatrixLSTM(nn.Module):
    """mLSTM: exponential input gate, matrix memory, the stabiliser m kept in the logarithm."""

    def __init__(self, width: int, forget: float) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.gates = nn.Linear(width, 2)
        with torch.no_grad():
            self.gates.bias.copy_(torch.tensor([0.0, forget]))

    def forward(self, x: Tensor) -> Tensor:
        n, steps, d = x.shape
        q, k, v = self.qkv(x).chunk(3, -1)
        i_log, f_log = self.gates(x).unbind(-1)
        f_log = self.forget(f_log)
        c, norm, m = x.new_zeros(n, d, d), x.new_zeros(n, d), x.new_zeros(n)
        ys = []
        for t in range(steps):
            m, i, f = self.stabilise(m, i_log[:, t], f_log[:, t])
            c = f.view(-1, 1, 1) * c + i.view(-1, 1, 1) * (v[:, t].unsqueeze(-1) * k[:, t].unsqueeze(-2)) / d**0.5
            norm = f.view(-1, 1) * norm + i.view(-1, 1) * k[:, t] / d**0.5
            below = (norm * q[:, t]).sum(-1, keepdim=True).abs().clamp_min(1)
            ys.append((c @ q[:, t].unsqueeze(-1)).squeeze(-1) / below)
        y: Tensor = x + self.out(torch.stack(ys, 1))
        return y

    def forget(self, f: Tensor) -> Tensor:
        return F.logsigmoid(f)

    def stabilise(self, m: Tensor, i_log: Tensor, f_log: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        new = torch.maximum(f_log + m, i_log)
        return new, torch.exp(i_log - new), torch.exp(f_log + m - new)


class BareLSTM(MatrixLSTM):
    """Exponential gates both, and the stabiliser left out."""

    def forget(self, f: Tensor) -> Tensor:
        return f

    def stabilise(self, m: Tensor, i_log: Tensor, f_log: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return m, torch.exp(i_log), torch.exp(f_log)


class LRU(nn.Module):
    """A linear recurrence with complex eigenvalues between two radii, as pairs of reals."""

    def __init__(self, width: int, low: float, high: float) -> None:
        super().__init__()
        radius = torch.rand(width) * (high - low) + low
        self.log_radius = nn.Parameter(radius.log())
        self.angle = nn.Parameter(torch.rand(width) * 0.3)
        self.into, self.out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        real, imag = self.into(x).chunk(2, -1)
        radius = self.log_radius.exp()
        a, b = radius * self.angle.cos(), radius * self.angle.sin()
        scale = torch.sqrt((1 - radius.square()).clamp_min(1e-3)).detach()
        u, v = torch.zeros_like(real[:, 0]), torch.zeros_like(imag[:, 0])
        ys = []
        for t in range(x.shape[1]):
            u, v = a * u - b * v + scale * real[:, t], b * u + a * v + scale * imag[:, t]
            ys.append(torch.cat([u, v], -1))
        y: Tensor = self.out(torch.stack(ys, 1))
        return y


class DeltaNet(nn.Module):
    """The gated delta rule: S = a S (1 - b k k') + b v k', keys of length 1."""

    def __init__(self, width: int, a_high: float, dt: Callable[[int], Tensor], heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.beta, self.dt = nn.Linear(width, heads), nn.Linear(width, heads, bias=False)
        self.dt_bias = nn.Parameter(dt(heads))
        self.a_log = nn.Parameter(torch.log(torch.rand(heads) * (a_high - 1) + 1))

    def forward(self, x: Tensor) -> Tensor:
        n, steps, d = x.shape
        q, k, v = (p.view(n, steps, self.heads, -1) for p in self.qkv(x).chunk(3, -1))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        keep = torch.exp(-self.a_log.exp() * F.softplus(self.dt(x) + self.dt_bias))
        beta = torch.sigmoid(self.beta(x))
        state = x.new_zeros(n, self.heads, d // self.heads, d // self.heads)
        ys = []
        for t in range(steps):
            state = state * keep[:, t, :, None, None]
            key = k[:, t].unsqueeze(-1)
            fresh = v[:, t] - (state @ key).squeeze(-1)
            state = state + (beta[:, t].unsqueeze(-1) * fresh).unsqueeze(-1) * key.transpose(-1, -2)
            ys.append((state @ q[:, t].unsqueeze(-1)).flatten(1))
        y: Tensor = x + self.out(torch.stack(ys, 1))
        return y


def _program(
    name: str, layer: Callable[[], nn.Module], length: int, width: int = 16, lr: float = 5e-3, steps: int = 120
) -> Program:
    return classify(name, _model(layer, width), partial(first_sign, length, 24), lr=lr, steps=steps)


def _model(layer: Callable[[], nn.Module], width: int = 16) -> Callable[[], nn.Module]:
    return lambda: Last(layer(), width)


def strangers() -> list[Stranger]:
    """Every recurrence as it is and with its faults."""
    return [*_gated(), *_state_spaces(), *_matrices(), *_linear()]


def _gated() -> list[Stranger]:
    gru = _program("mingru", lambda: MinGRU(16, 4.0), 40)
    noise = shuffled(first_sign(40, 24))
    time = ("layer",)
    return [
        healthy(gru, "today"),
        sick(
            "half-kept", gru, "today", ("vanishing",), "Bias the gate towards keeping the state.",
            model=_model(lambda: MinGRU(16, 0.0)), causes=("gates", "slope", "mix", "weight"), where=time,
        ),
        sick(
            "wide-open", gru, "today", ("vanishing", "saturated"), "Bias the gate towards keeping the state.",
            model=_model(lambda: MinGRU(16, -6.0)), causes=("gates", "slope", "mix", "weight"), where=time,
        ),
        sick(
            "state-detached", gru, "today", ("severed", "vanishing"), "Keep the state in the graph.",
            model=_model(lambda: MinGRUSaving(16, 4.0)), causes=("truncation", "other"), where=time,
        ),
        sick(
            "chunks", gru, "today", ("severed", "vanishing"), "Backpropagate through the whole sequence.",
            model=_model(lambda: MinGRUChunked(16, 4.0)), causes=("truncation", "other"), where=time,
        ),
        elsewhere("shuffled", gru, "today", "Pair the inputs with their own targets.", batches=lambda: noise),
    ]  # fmt: skip


def _state_spaces() -> list[Stranger]:
    ssm = _program("selective", lambda: Selective(16, 4, slow_dt), 32, lr=1e-2)
    rwkv = _program("rwkv", lambda: RwkvMix(16, -3.0), 32)
    return [
        healthy(ssm, "today"),
        sick(
            "dt-of-one", ssm, "today", ("vanishing",), "Draw the time steps between 0.001 and 0.1.",
            model=_model(lambda: Selective(16, 4, lambda n: torch.ones(n) * 2)),
            where=("layer", "layer.dt"), causes=("gates", "weight", "slope", "mix"),
        ),
        elsewhere(
            "tiny-rate", ssm, "today", "Raise the learning rate to 1e-2.", optimizer=adam(1e-7)
        ),
        healthy(rwkv, "today"),
        sick(
            "decay-fast", rwkv, "today", ("vanishing",), "Start the decay near 0.05 a step.",
            model=_model(lambda: RwkvMix(16, 1.5)), where=("layer",), causes=("gates", "weight", "slope", "mix"),
        ),
    ]  # fmt: skip


def _matrices() -> list[Stranger]:
    ret = _program("retention", lambda: Retention(16, 2, 0.98), 20, lr=1e-2, steps=250)
    mlstm = _program("mlstm", lambda: MatrixLSTM(16, 5.0), 24, lr=1e-2)
    delta = _program("delta-rule", lambda: DeltaNet(16, 16.0, slow_dt), 24, lr=1e-2)
    return [
        healthy(ret, "today"),
        sick(
            "gamma-low", ret, "today", ("vanishing",), "Take gamma above 0.95.",
            model=_model(lambda: Retention(16, 2, 0.3)), where=("layer",), causes=("gates", "weight", "mix", "slope"),
        ),
        healthy(mlstm, "today"),
        sick(
            "forget-all", mlstm, "today", ("vanishing", "saturated"), "Start the forget gate's bias between 3 and 6.",
            model=_model(lambda: MatrixLSTM(16, -5.0)), where=("layer", "layer.gates"),
            causes=("gates", "slope", "weight", "mix"),
        ),
        sick(
            "no-stabiliser", mlstm, "today", ("not_finite", "exploding"), "Keep the running maximum of the gates.",
            model=_model(lambda: BareLSTM(16, 4.0)), where=("layer", "layer.gates", "layer.qkv"),
        ),
        healthy(delta, "today"),
        sick(
            "dt-as-shipped", delta, "today", ("vanishing",), "Draw dt_bias so that steps lie between 0.001 and 0.1.",
            model=_model(lambda: DeltaNet(16, 16.0, torch.ones)), where=("layer", "layer.dt"),
            causes=("gates", "weight", "slope", "mix"),
        ),
    ]  # fmt: skip


def _linear() -> list[Stranger]:
    lru = _program("lru", lambda: LRU(16, 0.9, 0.999), 48)
    return [
        healthy(lru, "today"),
        sick(
            "ring-inside", lru, "today", ("vanishing",), "Draw the radii between 0.9 and 0.999.",
            model=_model(lambda: LRU(16, 0.1, 0.6)), where=("layer",), causes=("weight", "gates", "mix"),
        ),
        sick(
            "ring-outside", lru, "today", ("exploding", "not_finite"), "Keep the radii below 1.",
            model=_model(lambda: LRU(16, 1.5, 2.5)), where=("layer",), causes=("weight", "gates", "mix"),
        ),
    ]  # fmt: skip
