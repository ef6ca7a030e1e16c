"""Physics and fields: a PINN, a Hamiltonian, operators, Fourier features, rays, grids, a soft sort, automata."""

from typing import Any

import torch
from benchmarks.strangers.record import Stranger, elsewhere, healthy, regress, sick
from benchmarks.strangers.second.parts import elsewhere_optimizer, mlp, piling_step, same_batch, step_on
from benchmarks.strangers.spoil import zeroed
from benchmarks.strangers.step import finish
from benchmarks.truth.data import Pairs, cut, seeded
from benchmarks.truth.program import Program, adam, sgd
from benchmarks.truth.task import NO_SKILL, explained
from torch import Tensor, nn
from torch.nn import functional as F


def collocation() -> Pairs:
    """Points of 0..2 and the solution of u'' = -4 u, u(0) = 0, u'(0) = 2, for the skill alone."""
    x = torch.rand(1024, 1, generator=seeded(141)) * 2
    return cut(x, torch.sin(2 * x), 64, 16)


class Solution(nn.Module):
    """u(x) = x (2 + x N(x)): both conditions at 0 hold by construction."""

    def __init__(self, act: type[nn.Module] = nn.Tanh, gain: float = 1.0) -> None:
        super().__init__()
        self.net = mlp(1, 24, 24, 1, act=act)
        with torch.no_grad():
            self.net[0].weight.mul_(gain)  # type: ignore[operator, union-attr]
            self.net[0].bias.mul_(gain)  # type: ignore[operator, union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return x * (2 + x * self.net(x))


def _residual(model: nn.Module, x: Tensor, keep: bool = True) -> Tensor:
    x = x.clone().requires_grad_()
    u = model(x)
    first = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), x, create_graph=keep)[0]
    return second + 4 * (u if keep else u.detach())


def solve(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The square of the equation's residual, no data."""
    return finish(_residual(model, batch[0]).square().mean(), optimizer)


def solve_without_graph(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The last derivative is taken without a graph and u is a number: only a small decay of the weights is left."""
    decay = sum((p.square().sum() for p in model.parameters()), torch.zeros(()))
    return finish(_residual(model, batch[0], keep=False).square().mean() + 1e-4 * decay, optimizer)


def solve_other_sign(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """u'' = 4 u: a sign was lost on the way from paper."""
    x = batch[0].clone().requires_grad_()
    u = model(x)
    first = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), x, create_graph=True)[0]
    return finish((second - 4 * u).square().mean(), optimizer)


class Hamiltonian(nn.Module):
    """A net of energy; the motion is its turned gradient."""

    def __init__(self, graph: bool = True) -> None:
        super().__init__()
        self.energy, self.graph = mlp(2, 32, 32, 1, act=nn.Tanh), graph
        self.friction = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            slope = torch.autograd.grad(self.energy(x).sum(), x, create_graph=self.graph)[0]
        y: Tensor = torch.stack([slope[:, 1], -slope[:, 0]], 1) - self.friction * x
        return y


def pendulum() -> Pairs:
    """Angles and speeds of a pendulum and their changes."""
    x = (torch.rand(1024, 2, generator=seeded(142)) * 2 - 1) * torch.tensor([3.0, 2.0])
    return cut(x, torch.stack([x[:, 1], -1.5 * torch.sin(x[:, 0])], 1), 64, 16)


class Operator(nn.Module):
    """DeepONet: a net of the input function times a net of the place."""

    def __init__(self, frozen_branch: bool = False) -> None:
        super().__init__()
        self.branch, self.trunk, self.bias = mlp(16, 32, 6), mlp(1, 32, 6), nn.Parameter(torch.zeros(1))
        self.cut = frozen_branch

    def forward(self, both: Tensor) -> Tensor:
        coefficients = self.branch(both[:, :16])
        if self.cut:
            coefficients = torch.stack([torch.tensor([c.item() for c in row]) for row in coefficients])
        y: Tensor = (coefficients * self.trunk(both[:, 16:])).sum(1, keepdim=True) + self.bias
        return y


def products_of_waves() -> Pairs:
    """A random function at 16 places with one more place (N, 17); the target is made of products of its waves there."""
    g = seeded(143)
    at = torch.linspace(0, 1, 16)
    a = torch.randn(2048, 3, generator=g)
    f = sum((a[:, i : i + 1] * torch.cos(torch.pi * i * at) for i in range(3)), torch.zeros(2048, 16))
    x = torch.rand(2048, 1, generator=g)
    total = a[:, :1] * a[:, 1:2] * torch.sin(torch.pi * x) + a[:, 1:2] * a[:, 2:] * torch.cos(2 * torch.pi * x)
    return cut(torch.cat([f, x], 1), total / total.std(), 64, 32)


class Spectral(nn.Module):
    """FNO: two layers that multiply the lowest waves by learnt complex numbers, a pointwise path beside."""

    def __init__(self, gain: float = 1.0, depth: int = 2, width: int = 12) -> None:
        super().__init__()
        self.enter, self.head = nn.Linear(1, width), nn.Linear(width, 1)
        self.waves = nn.ParameterList(
            nn.Parameter(gain * torch.randn(6, width, width, 2) / width) for _ in range(depth)
        )
        self.points = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x.unsqueeze(-1))
        for wave, point in zip(self.waves, self.points, strict=True):
            low = torch.fft.rfft(h, dim=1)[:, :6]
            mixed = torch.einsum("nki,kio->nko", low, torch.view_as_complex(wave))
            h = F.gelu(torch.fft.irfft(mixed, 32, dim=1) + point(h))
        y: Tensor = self.head(h).squeeze(-1)
        return y


def diffusions() -> Pairs:
    """A periodic function at 32 places and what diffusion and a shift make of its square."""
    g = seeded(144)
    at = torch.arange(32) / 32 * 2 * torch.pi
    a = torch.randn(1024, 4, generator=g)
    x = sum((a[:, i : i + 1] * torch.sin((i % 2 + 1) * at + i) for i in range(4)), torch.zeros(1024, 32)) / 2
    y = torch.fft.irfft(torch.fft.rfft(x.square() + x) * torch.exp(-0.1 * torch.arange(17) ** 2), 32).roll(3, 1)
    return cut(x, (y - y.mean()) / y.std(), 32, 32)


class Waves(nn.Module):
    """Fixed random Fourier features of a point, then an mlp."""

    table: Tensor

    def __init__(self, scale: float = 3.0, depth: int = 2, act: type[nn.Module] = nn.GELU, gain: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("table", scale * torch.randn(2, 24))
        self.net = mlp(48, *([32] * depth), 1, act=act)
        with torch.no_grad():
            for p in self.net.parameters():
                p.mul_(gain)

    def forward(self, x: Tensor) -> Tensor:
        at = x @ self.table
        y: Tensor = self.net(torch.cat([at.sin(), at.cos()], 1))
        return y


def picture() -> Pairs:
    """Points of a square and the grey of a picture with edges there."""
    x = torch.rand(2048, 2, generator=seeded(145)) * 2 - 1
    y = torch.sin(6 * x[:, :1]) * torch.cos(5 * x[:, 1:]) + (x.norm(dim=1, keepdim=True) < 0.6) * 1.0
    return cut(x, (y - y.mean()) / y.std(), 128, 16)


class Grid(nn.Module):
    """Learnt features on grids of three finenesses, interpolated, then an mlp; most cells are met rarely."""

    def __init__(self, nearest: bool = False) -> None:
        super().__init__()
        self.grids = nn.ParameterList(nn.Parameter(1e-4 * torch.randn(1, 4, n, n)) for n in (4, 8, 16))
        self.net, self.nearest = mlp(12, 24, 1), nearest

    def forward(self, x: Tensor) -> Tensor:
        at = x.round() if self.nearest else x
        found = [F.grid_sample(g, at.view(1, -1, 1, 2), align_corners=True)[0, :, :, 0].T for g in self.grids]
        y: Tensor = self.net(torch.cat(found, 1))
        return y


class Rays(nn.Module):
    """Volume rendering along a ray of 16 samples: density and colour by a net, light that is left by exp(-sum)."""

    def __init__(self, dense: float = 0.0, act: str = "softplus") -> None:
        super().__init__()
        self.net, self.act = mlp(4, 32, 32, 2), act
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.bias[0] = dense

    def forward(self, x: Tensor) -> Tensor:
        at = torch.linspace(0, 1, 16).view(1, 16, 1).expand(len(x), -1, -1)
        density, colour = self.net(torch.cat([x.unsqueeze(1).expand(-1, 16, -1), at], 2)).unbind(-1)
        density = F.softplus(density) if self.act == "softplus" else F.relu(density)
        absorbed = 1 - torch.exp(-density * 0.4)
        left = torch.exp(-0.4 * (density.cumsum(1) - density))
        return (left * absorbed * colour).sum(1, keepdim=True)


def rays() -> Pairs:
    """Rays (N, 3) and the colour of the first thing they meet."""
    x = torch.rand(1024, 3, generator=seeded(146)) * 2 - 1
    y = torch.where(x[:, :1] * x[:, 1:2] > 0, torch.sin(3 * x[:, 2:]), torch.cos(2 * x[:, :1]) - 0.5)
    return cut(x, y / y.std(), 64, 16)


class Sorter(nn.Module):
    """Scores five noisy pictures of numbers; the soft ranks are Sinkhorn's of the scores."""

    def __init__(self, heat: float = 0.2, hard: bool = False) -> None:
        super().__init__()
        self.score, self.heat, self.hard = mlp(6, 32, 1), heat, hard
        self.shift = nn.Parameter(torch.zeros(5))

    def forward(self, x: Tensor) -> Tensor:
        s = self.score(x).squeeze(-1)
        if self.hard:
            return s.argsort(1).argsort(1).float() / 2 - 1 + self.shift
        s = (s - s.mean(1, keepdim=True)) / (s.std(1, keepdim=True) + 1e-3)
        log = -(s.unsqueeze(2) - torch.linspace(-1.3, 1.3, 5)).square() / self.heat
        for _ in range(8):
            log = log - log.logsumexp(1, keepdim=True)
            log = log - log.logsumexp(2, keepdim=True)
        return log.exp() @ torch.arange(5.0) / 2 - 1 + self.shift


def numbers() -> Pairs:
    """Five numbers, each as six noisy features (N, 5, 6); the targets are their ranks, from -1 to 1."""
    g = seeded(147)
    v = torch.rand(1024, 5, 1, generator=g) * 2 - 1
    x = torch.sin(v * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) + 1) + 0.02 * torch.randn(1024, 5, 6, generator=g)
    return cut(x, v.squeeze(-1).argsort(1).argsort(1).float() / 2 - 1, 64, 16)


class Automaton(nn.Module):
    """A cellular automaton on a ring: the same small net of three cells moves each cell, eight times."""

    def __init__(self, pull: float = 0.1, cells: int = 16, state: int = 8) -> None:
        super().__init__()
        self.rule = mlp(3 * state, 32, state)
        self.pull, self.state = pull, state
        self.read = nn.Linear(state, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.pad(x.unsqueeze(-1), (0, self.state - 1))
        for _ in range(8):
            h = h + self.pull * self.rule(torch.cat([h.roll(1, 1), h, h.roll(-1, 1)], -1))
        y: Tensor = self.read(h).squeeze(-1)
        return y


def rings() -> Pairs:
    """Sixteen cells and the product of each with its left neighbour."""
    x = torch.randn(512, 16, generator=seeded(148))
    return cut(x, x * x.roll(1, 1), 32, 16)


def learn_from_energy(model: nn.Module) -> float:
    """Share of the motion's variance explained."""
    out = torch.cat([model(x) for x, _ in pendulum()]).detach()
    y = torch.cat([y for _, y in pendulum()])
    if not out.isfinite().all():
        return NO_SKILL
    return max(NO_SKILL, 1 - ((out - y).square().mean() / (y - y.mean(0)).square().mean()).item())


def strangers() -> list[Stranger]:
    """Every field as it is and with its faults."""
    return [*_equations(), *_operators(), *_pictures(), *_others()]


def _equations() -> list[Stranger]:
    pinn = Program(name="pinn", steps=300, model=Solution, batches=collocation, loss=None, train_step=solve,
                   optimizer=adam(1e-2), skill=explained(collocation), places=())  # fmt: skip
    motion = regress("hamiltonian", Hamiltonian, pendulum, lr=5e-3, steps=300, skill=learn_from_energy)
    net = ("", "net", "net.0", "net.2", "net.4")
    energy = ("", "energy", "energy.0", "energy.2", "energy.4")
    return [
        healthy(pinn, "today"),
        sick("residual-without-graph", pinn, "today", ("severed",), "Make the graph of every derivative.",
             train_step=solve_without_graph, where=net, causes=("loss", "other")),
        sick("entrance-times-1e4", pinn, "today", ("saturated", "vanishing", "bad_init", "exploding"),
             "Start the entrance with its usual size.", model=lambda: Solution(gain=1e4), where=net,
             causes=("slope", "weight")),
        elsewhere("sign-of-the-equation", pinn, "today", "Write u'' = -4 u.", train_step=solve_other_sign),
        healthy(motion, "today"),
        sick("motion-without-graph", motion, "today", ("severed",), "Make the graph of the energy's gradient.",
             model=lambda: Hamiltonian(False), where=energy, causes=("other",)),
        elsewhere("turned-the-other-way", motion, "today", "Turn the targets as the gradient is turned.",
                  train_step=step_on(F.mse_loss, lambda x, y: (x, y.flip(1)))),
    ]  # fmt: skip


def _operators() -> list[Stranger]:
    deep = regress("branch-and-trunk", Operator, products_of_waves, lr=5e-3, steps=250)
    fno = regress("spectral-operator", Spectral, diffusions, lr=5e-3, steps=200)
    return [
        healthy(deep, "today"),
        sick("branch-by-item", deep, "today", ("severed",), "Multiply by the branch's output itself.",
             model=lambda: Operator(True), where=("", "branch", "branch.0", "branch.2"), causes=("other",)),
        sick("both-nets-zero", deep, "today", ("bad_init", "dead", "severed", "vanishing"), "Draw the weights.",
             model=lambda: zeroed(Operator()), where=("", "branch", "trunk", "branch.*", "trunk.*")),
        elsewhere("column-against-row", deep, "today", "Let targets and outputs have one shape.",
                  loss=lambda out, y: F.mse_loss(out, y.squeeze(1).expand(len(y), -1))),
        healthy(fno, "today"),
        sick("waves-times-1e4", fno, "today", ("exploding", "bad_init"), "Divide the waves' start by the width.",
             model=lambda: Spectral(1e4), where=("", "waves", "enter", "points.0", "points.1", "head")),
        elsewhere("one-example", fno, "today", "Draw other examples.", batches=same_batch(diffusions)),
    ]  # fmt: skip


def _pictures() -> list[Stranger]:
    waves = regress("fourier-features", Waves, picture, lr=5e-3, steps=250)
    grid = regress("feature-grids", Grid, picture, lr=2e-2, steps=250)
    beams = regress("rays", Rays, rays, lr=1e-2, steps=250)
    net = ("", "net", "net.*")
    return [
        healthy(waves, "today"),
        sick("deep-sigmoids", waves, "today", ("vanishing",), "Use two layers of GELU.",
             model=lambda: Waves(depth=8, act=nn.Sigmoid), optimizer=sgd(0.05), where=net, causes=("slope", "weight")),
        elsewhere("features-too-coarse", waves, "today", "Start with frequencies of about 3.",
                  model=lambda: Waves(scale=0.001)),
        healthy(grid, "today"),
        elsewhere("places-rounded", grid, "today", "Interpolate at the points themselves.", model=lambda: Grid(True)),
        elsewhere("optimizer-of-a-copy", grid, "today", "Make the optimizer for this model.",
                  optimizer=elsewhere_optimizer(2e-2)),
        healthy(beams, "today"),
        sick("density-shut", beams, "today", ("dead",), "Start with some density, or use softplus.",
             model=lambda: Rays(-20.0, "relu"), where=net, causes=("slope", "weight")),
    ]  # fmt: skip


def _others() -> list[Stranger]:
    sorter = regress("soft-ranks", Sorter, numbers, lr=5e-3, steps=200)
    cells = regress("cell-rule", Automaton, rings, lr=5e-3, steps=300)
    return [
        healthy(sorter, "today"),
        sick("hard-ranks", sorter, "today", ("severed",), "Rank softly.", model=lambda: Sorter(hard=True),
             where=("", "score", "score.0", "score.2"), causes=("other",)),
        elsewhere("order-turned", sorter, "today", "Let the largest have the last rank.",
                  train_step=step_on(F.mse_loss, lambda x, y: (x, -y))),
        healthy(cells, "today"),
        sick("pull-of-30", cells, "today", ("exploding", "not_finite"), "Move the cells by a tenth.",
             model=lambda: Automaton(60.0), where=("", "rule", "rule.0", "rule.2", "read"),
             causes=("skip", "weight", "other", "mix")),
        elsewhere("gradients-pile-up", cells, "today", "Set the gradients to zero each step.",
                  train_step=piling_step(F.mse_loss)),
        elsewhere("targets-rolled", cells, "today", "Multiply by the left neighbour.",
                  train_step=step_on(F.mse_loss, lambda x, y: (x, y.roll(5, 1)))),
    ]  # fmt: skip
