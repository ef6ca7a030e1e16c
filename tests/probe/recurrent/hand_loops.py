"""Recurrences written by hand, each with the states of every step, and loops that are none."""

import torch
import torch.nn.functional as F
from torch import nn

D = 6


class Loop(nn.Module):
    """Steps `step` over a sequence and keeps the states, as (h,) or (h, c)."""

    def __init__(self, seed=0, bias=0.0):
        super().__init__()
        torch.manual_seed(seed)
        self.bias = bias
        self.z, self.c, self.i, self.o = (nn.Linear(5, D) for _ in range(4))
        self.w, self.b, self.rate = nn.Linear(D, D), nn.Linear(5, 3), nn.Parameter(torch.rand(D) + 1.0 + bias)
        self.head = nn.LazyLinear(3)
        self.states = []

    def run(self, x):
        raise NotImplementedError

    def forward(self, x):
        self.states = []
        return self.head(self.run(x).flatten(1))


class MinGRU(Loop):
    def run(self, x):
        z, c = torch.sigmoid(self.z(x) - self.bias), self.c(x)
        h = torch.zeros(x.shape[0], D)
        for t in range(x.shape[1]):
            h = (1 - z[:, t]) * h + z[:, t] * c[:, t]
            self.states.append((h,))
        return h


class InTheLoop(Loop):
    def run(self, x):
        h = x.new_zeros(x.shape[0], D)
        for x_t in x.unbind(1):
            z = torch.sigmoid(self.z(x_t) - self.bias)
            h = torch.lerp(h, torch.tanh(self.c(x_t)), z)
            self.states.append((h,))
        return h


class MinLSTM(Loop):
    def run(self, x):
        h = x.new_zeros(x.shape[0], D)
        for t in range(x.shape[1]):
            f, i = torch.sigmoid(self.z(x[:, t]) + self.bias), torch.sigmoid(self.i(x[:, t]))
            kept = f / (f + i)
            new = i / (f + i) * self.c(x[:, t])
            h = kept * h + new
            self.states.append((h,))
        return h


class Selective(Loop):
    """State (B, D, N) with exp(dt A), as in Mamba."""

    def run(self, x):
        dt, a = F.softplus(self.z(x) - self.bias), -torch.arange(1, 4.0)
        state = x.new_zeros(x.shape[0], D, 3)
        for t in range(x.shape[1]):
            d_a = torch.exp(dt[:, t].unsqueeze(-1) * a)
            d_b = dt[:, t].unsqueeze(-1) * self.b(x[:, t]).unsqueeze(1)
            state = d_a * state + d_b * self.c(x[:, t]).unsqueeze(-1)
            self.states.append((state,))
        return (state * self.b(x[:, -1]).unsqueeze(1)).sum(-1)


class Decay(Loop):
    """RWKV-like: two sums with one learned decay."""

    def run(self, x):
        k, v, w = torch.exp(self.z(x)), self.c(x), torch.exp(-torch.exp(-self.rate))
        num = den = x.new_zeros(x.shape[0], D)
        for t in range(x.shape[1]):
            num = w * num + k[:, t] * v[:, t]
            den = w * den + k[:, t]
            self.states.append((num,))
        return num / (den + 1e-3)


class Memory(Loop):
    """mLSTM-like: a matrix, a forget gate a step, read by a query at every step."""

    def run(self, x):
        f = torch.sigmoid(self.z(x)[..., :1] + self.bias)
        m, outs = x.new_zeros(x.shape[0], D, D), []
        for t in range(x.shape[1]):
            m = f[:, t].unsqueeze(-1) * m + self.c(x[:, t]).unsqueeze(2) @ self.i(x[:, t]).unsqueeze(1)
            outs.append((m @ self.o(x[:, t]).unsqueeze(2)).squeeze(2))
            self.states.append((m,))
        return torch.stack(outs, 1)[:, -1]


class Leaky(Loop):
    def run(self, x):
        h, fed = x.new_zeros(x.shape[0], D), self.c(x)
        for t in range(x.shape[1]):
            h = 0.8 * h + 0.2 * fed[:, t]
            self.states.append((h,))
        return h


class TwoLines(Loop):
    """An LSTM of single lines, its gates made of h."""

    def run(self, x):
        h = c = x.new_zeros(x.shape[0], D)
        for t in range(x.shape[1]):
            f = torch.sigmoid(self.z(x[:, t]) + self.w(h) + self.bias)
            c = f * c + torch.sigmoid(self.i(x[:, t])) * torch.tanh(self.c(x[:, t]))
            h = torch.sigmoid(self.o(x[:, t]) + self.w(h)) * torch.tanh(c)
            self.states.append((h, c))
        return h


def _one(state, x_t, net):
    gate = torch.sigmoid(net.z(x_t) + net.bias)
    held = gate * state["h"]
    return {"h": held + (1 - gate) * net.c(x_t)}


class OwnCell(TwoLines):
    """The same with gates of the data alone: h is made of c, and c is all of the state."""

    def run(self, x):
        c = x.new_zeros(x.shape[0], D)
        for t in range(x.shape[1]):
            c = torch.sigmoid(self.z(x[:, t]) + self.bias) * c + torch.tanh(self.c(x[:, t]))
            h = torch.sigmoid(self.o(x[:, t])) * torch.tanh(c)
            self.states.append((c,))
        return h


class InADict(Loop):
    """A state in a dict, passed through a function and two lines."""

    def run(self, x):
        state = {"h": x.new_zeros(x.shape[0], D)}
        for x_t in x.transpose(0, 1):
            state = _one(state, x_t, self)
            self.states.append((state["h"],))
        return state["h"]


class Stacked(Loop):
    """Two layers stepped together, their states in a list."""

    def run(self, x):
        h = [x.new_zeros(x.shape[0], D), x.new_zeros(x.shape[0], D)]
        for t in range(x.shape[1]):
            z, new = torch.sigmoid(self.z(x[:, t]) - self.bias), self.c(x[:, t])
            for n in range(2):
                h[n] = (1 - z) * h[n] + z * new
                new = h[n]
            self.states.append((h[1], h[0]))
        return h[1]


class Rows(Loop):
    """States written into one tensor of all steps."""

    def run(self, x):
        z, c = torch.sigmoid(self.z(x) - self.bias), self.c(x)
        h = [x.new_zeros(x.shape[0], D)]
        for t in range(x.shape[1]):
            h.append((1 - z[:, t]) * h[t] + z[:, t] * c[:, t])
            self.states.append((h[-1],))
        return torch.stack(h, 1)[:, -1]


TIME = [MinGRU, InTheLoop, MinLSTM, Selective, Decay, Memory, Leaky, TwoLines, OwnCell, InADict, Stacked, Rows]


class Residual(Loop):
    def __init__(self, seed=0):
        super().__init__(seed)
        self.layers = nn.ModuleList(nn.Linear(D, D) for _ in range(12))

    def run(self, x):
        h = self.c(x[:, 0])
        for layer in self.layers:
            h = h + torch.tanh(layer(h))
        return h


class Styled(Residual):
    """A different layer at each depth, each with a part of one tensor of styles."""

    def run(self, x):
        h, styles = self.c(x[:, 0]), torch.sigmoid(self.z(x))
        for n, layer in enumerate(self.layers):
            h = h * styles[:, n] + torch.tanh(layer(h))
        return h


class Tied(Loop):
    def run(self, x):
        h = self.c(x[:, 0])
        for _ in range(12):
            h = F.layer_norm(h + torch.tanh(self.w(h)) * torch.sigmoid(self.w(h)), (D,))
        return h


class Euler(Loop):
    def run(self, x):
        h = self.c(x[:, 0])
        for _ in range(20):
            h = 0.9 * h + 0.1 * torch.tanh(self.w(h))
        return h


class Equilibrium(Loop):
    """The same input at each of its steps."""

    def run(self, x):
        h = x.new_zeros(x.shape[0], D)
        for _ in range(20):
            h = 0.5 * h + torch.tanh(self.w(h) + self.c(x[:, 0]))
        return h


class EquilibriumModule(Equilibrium):
    def __init__(self, seed=0):
        super().__init__(seed)

        class Step(nn.Module):
            def __init__(self):
                super().__init__()
                self.w, self.u = nn.Linear(D, D), nn.Linear(5, D)

            def forward(self, h, x):
                return torch.tanh(self.w(h) + self.u(x))

        self.step = Step()

    def run(self, x):
        h = x.new_zeros(x.shape[0], D)
        for _ in range(20):
            h = self.step(h, x[:, 0])
        return h


class StepEmbedding(Loop):
    """A tied layer that is told its own number."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.number = nn.Embedding(20, D)

    def run(self, x):
        h = self.c(x[:, 0])
        for n in range(20):
            h = torch.tanh(self.w(h) + self.number(torch.full((x.shape[0],), n)))
        return h


class OuterSum(Loop):
    """A sum of outputs, and one that is read on the way."""

    def run(self, x):
        total = x.new_zeros(x.shape[0], D)
        for t in range(x.shape[1]):
            total = total + torch.tanh(self.c(x[:, t]))
        return total


class RunningMean(Loop):
    def run(self, x):
        mean = x.new_zeros(x.shape[0], D)
        for t in range(x.shape[1]):
            mean = mean + (self.c(x[:, t]) - mean) / (t + 1)
        return mean


class Gathered(Loop):
    def run(self, x):
        outs = self.c(x[:, :1])
        for t in range(1, x.shape[1]):
            outs = torch.cat([outs, torch.tanh(self.c(x[:, t : t + 1]))], 1)
        return outs.mean(1)


class InnerLoss(Loop):
    """A penalty that decays over the steps."""

    def run(self, x):
        penalty = x.new_zeros(())
        for t in range(x.shape[1]):
            penalty = 0.9 * penalty + 0.1 * self.c(x[:, t]).square().mean()
        return self.c(x[:, 0]) + penalty


class Normed(Loop):
    """Batch norm keeps running statistics while one layer reads every frame."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.norm = nn.BatchNorm1d(D)

    def run(self, x):
        return torch.stack([self.norm(self.c(x[:, t])) for t in range(x.shape[1])], 1).mean(1)


class Unrolled(Loop):
    """Fast weights found by momentum on one batch."""

    def run(self, x):
        w, speed = self.w.weight, torch.zeros(D, D)
        inputs = self.c(x[:, 0])
        for _ in range(10):
            (g,) = torch.autograd.grad(F.linear(inputs, w).square().mean(), w, create_graph=True)
            speed = 0.9 * speed + g
            w = w - 0.1 * speed
        return F.linear(inputs, w)


class Parallel(Loop):
    """The closed form of a gated recurrence, with cumulative sums."""

    def run(self, x):
        logs = F.logsigmoid(self.z(x)).cumsum(1)
        return (torch.exp(logs) * (self.c(x) * torch.exp(-logs)).cumsum(1))[:, -1]


DEPTH = [
    Residual, Styled, Tied, Euler, Equilibrium, EquilibriumModule, StepEmbedding, OuterSum, RunningMean, Gathered,
    InnerLoss, Normed, Unrolled, Parallel,
]  # fmt: skip
