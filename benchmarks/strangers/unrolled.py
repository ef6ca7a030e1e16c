"""Programs that unroll: a meta-learner, an equilibrium, a controller in a simulator; sums over graphs, densities."""

from collections.abc import Callable
from functools import partial

import torch
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, regress, sick
from benchmarks.strangers.recurrences import LRU, Last
from benchmarks.strangers.spoil import scaled
from benchmarks.strangers.tasks import adding, needle, product, shuffled
from benchmarks.strangers.vision import graph
from benchmarks.truth.data import Pairs, cut, parity, seeded
from benchmarks.truth.program import Program, adam
from benchmarks.truth.task import explained
from torch import Tensor, nn
from torch.nn import functional as F


class Meta(nn.Module):
    """A start of weights for ten features, adapted to each task by a few inner steps on its support set."""

    def __init__(self, inner: float, steps: int = 10, width: int = 24) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.start = nn.Parameter(torch.zeros(width))
        self.inner, self.steps = inner, steps

    def forward(self, x: Tensor) -> Tensor:
        support, known, query = x[:, :10, None], x[:, 10:20], x[:, 20:, None]
        f, w = self.features(support), self.start.expand(len(x), -1)
        for _ in range(self.steps):
            w = self.adapt(w, f, known)
        return torch.einsum("nqf,nf->nq", self.features(query), w)

    def adapt(self, w: Tensor, f: Tensor, known: Tensor) -> Tensor:
        gap = torch.einsum("nsf,nf->ns", f, w) - known
        return w - self.inner * torch.einsum("nsf,ns->nf", f, gap) / f.shape[1]


class MetaCopied(Meta):
    """Adapts copies of weights and features, as a first sketch with deepcopy did."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            support, known, query = x[:, :10, None], x[:, 10:20], x[:, 20:, None]
            f, w = self.features(support), self.start.expand(len(x), -1)
            for _ in range(self.steps):
                w = self.adapt(w, f, known)
            seen = self.features(query)
        return torch.einsum("nqf,nf->nq", seen, w + 0 * self.start)


def sines() -> Pairs:
    """Tasks: ten points of a sine of some phase and amplitude, ten places; the target is the sine there."""
    g = seeded(91)
    n = 64 * 16
    phase, size = torch.rand(n, 1, generator=g) * 3, torch.rand(n, 1, generator=g) + 0.5
    a, b = (torch.rand(n, 10, generator=g) * 4 - 2 for _ in range(2))
    return cut(torch.cat([a, size * torch.sin(a * 1.5 + phase), b], 1), size * torch.sin(b * 1.5 + phase), 64, 16)


class Equilibrium(nn.Module):
    """A fixed point found without a graph and one last step with it, as deep equilibria are often trained."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.enter, self.again = nn.Linear(8, width), nn.Linear(width, width, bias=False)
        self.head = nn.Linear(width, 2)
        nn.init.orthogonal_(self.again.weight, 0.7)

    def forward(self, x: Tensor) -> Tensor:
        drive = self.enter(x)
        with torch.no_grad():
            z = torch.zeros_like(drive)
            for _ in range(15):
                z = torch.tanh(drive + self.again(z))
        y: Tensor = self.head(self.finish(drive, z))
        return y

    def finish(self, drive: Tensor, z: Tensor) -> Tensor:
        return torch.tanh(drive + self.again(z))


class EquilibriumCut(Equilibrium):
    """The last step is missing too."""

    def finish(self, drive: Tensor, z: Tensor) -> Tensor:
        return z


class Controller(nn.Module):
    """A policy steers a mass on a spring for some steps; the output is where the mass ends."""

    def __init__(self, stiffness: float, steps: int = 16) -> None:
        super().__init__()
        self.policy = nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 1))
        self.stiffness, self.steps = stiffness, steps

    def forward(self, x: Tensor) -> Tensor:
        place, speed, goal = x[:, :1], x[:, 1:2], x[:, 2:3]
        for t in range(self.steps):
            clock = torch.full_like(place, t / self.steps)
            push = self.policy(torch.cat([place, speed, goal, clock], 1))
            speed = speed + 0.25 * (push - self.stiffness * place)
            place = place + 0.25 * speed
        return place


class ControllerNumpy(Controller):
    """The simulator is another library, which takes numbers."""

    def forward(self, x: Tensor) -> Tensor:
        place, speed, goal = x[:, :1], x[:, 1:2], x[:, 2:3]
        for t in range(self.steps):
            clock = torch.full_like(place, t / self.steps)
            push = self.policy(torch.cat([place, speed, goal, clock], 1))
            force = torch.from_numpy(push.detach().numpy())
            speed = speed + 0.25 * (force - self.stiffness * place)
            place = place + 0.25 * speed
        y: Tensor = place + 0 * push
        return y


def goals() -> Pairs:
    """A place, a speed and a goal (N, 3); the target is the goal."""
    x = torch.randn(64 * 16, 3, generator=seeded(92))
    return cut(x, x[:, 2:3].clone(), 64, 16)


class Summing(nn.Module):
    """Rounds of message passing; neighbours are averaged, or added up as they are."""

    adjacent: Tensor

    def __init__(self, depth: int, added: bool) -> None:
        super().__init__()
        a = graph()[0]
        self.register_buffer("adjacent", a if added else a / a.sum(1, keepdim=True))
        self.enter, self.head = nn.Linear(8, 24), nn.Linear(24, 2)
        self.rounds = nn.ModuleList(nn.Linear(24, 24) for _ in range(depth))
        self.gain = 3.0 if added else 1.0

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for layer in self.rounds:
            x = x + self.adjacent @ torch.relu(layer(x)) * self.gain
        y: Tensor = self.head(x)
        return y


def communities() -> Pairs:
    """The graph and whether a node's own two features agree in sign."""
    _, x, _ = graph()
    return [(x, (x[:, 0] * x[:, 1] > 0).long())]


class Bare(nn.Module):
    """Attention and mlp with skips and without norms; `gain` multiplies the start of every branch."""

    def __init__(self, depth: int, gain: float, width: int = 24) -> None:
        super().__init__()
        self.enter, self.head = nn.Linear(4, width), nn.Linear(width, 2)
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.scores = nn.ModuleList(nn.Linear(width, 1) for _ in range(depth))
        with torch.no_grad():
            for mlp in self.mlps:
                for p in mlp.parameters():
                    p.mul_(gain)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for mlp, score in zip(self.mlps, self.scores, strict=True):
            x = x + mlp(x) + (torch.softmax(score(x), 1) * x).sum(1, keepdim=True)
        y: Tensor = self.head(x.mean(1))
        return y


class Mixture(nn.Module):
    """A mixture density net: for each input weights, means and widths of five Gaussians."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 15))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


def density(out: Tensor, y: Tensor) -> Tensor:
    """Negative log likelihood by logsumexp."""
    weight, mean, width = out.chunk(3, 1)
    width = width.clamp(-3, 2)
    parts = torch.log_softmax(weight, 1) - width - 0.5 * ((y - mean) * torch.exp(-width)).square()
    return -torch.logsumexp(parts, 1).mean()


def density_by_hand(out: Tensor, y: Tensor) -> Tensor:
    """The same by exp and log, the widths in percent."""
    weight, mean, width = out.chunk(3, 1)
    width = 0.01 * torch.exp(width)
    parts = torch.softmax(weight, 1) * torch.exp(-0.5 * ((y - mean) / width).square()) / width
    return -torch.log(parts.sum(1)).mean()


def middle(model: nn.Module, x: Tensor) -> Tensor:
    """The mixture's mean."""
    out: Tensor = model(x)
    weight, mean, _ = out.chunk(3, 1)
    return (torch.softmax(weight, 1) * mean).sum(1, keepdim=True)


def strangers() -> list[Stranger]:
    """Every program as it is and with its faults."""
    return [*_meta(), *_fixed_point(), *_simulated(), *_sums(), *_densities()]


def _meta() -> list[Stranger]:
    sound = regress("meta-learner", lambda: Meta(0.3), sines, lr=5e-3, steps=100)
    whole = ("", "features", "features.0", "features.2")
    return [
        healthy(sound, "today"),
        sick("inner-rate-30", sound, "today", ("exploding", "not_finite"), "Lower the inner rate to 0.3.",
             model=lambda: Meta(30.0), where=whole, causes=("mix", "skip", "other", "weight")),
        sick("copied", sound, "today", ("severed",), "Adapt with the graph.", model=lambda: MetaCopied(0.3),
             where=whole, causes=("other",)),
        elsewhere("shuffled", sound, "today", "Pair tasks with their answers.", batches=lambda: shuffled(sines())),
    ]  # fmt: skip


def _fixed_point() -> list[Stranger]:
    sound = classify("equilibrium", Equilibrium, parity, lr=1e-2, steps=250)
    lru = regress("lru-adding", _adder(0.97, 0.999), partial(adding, 20), lr=5e-3, steps=300)
    return [
        healthy(sound, "today"),
        sick("state-hot", sound, "today", ("saturated", "vanishing", "bad_init"), "Start with gain 0.7.", trap=True,
             model=lambda: scaled(Equilibrium(), 500.0, "enter", "again"), where=("", "again", "enter"),
             causes=("slope", "weight")),
        sick("last-step-missing", sound, "today", ("severed",), "Take one step with the graph at the end.",
             model=EquilibriumCut, where=("", "again", "enter"), causes=("other",)),
        elsewhere("rate-tiny", sound, "today", "Raise the learning rate.", optimizer=adam(1e-7)),
        healthy(lru, "today"),
        sick("radius-3", lru, "today", ("exploding", "not_finite"), "Keep the radii below 1.",
             model=_adder(2.5, 3.5), where=("layer", "layer.3", ""), causes=("weight", "mix", "gates")),
    ]  # fmt: skip


def _adder(low: float, high: float) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        return Last(nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16), LRU(16, low, high)), 16, 2, 1)

    return make


def _simulated() -> list[Stranger]:
    sound = regress("controller", lambda: Controller(1.0), goals, lr=1e-2, steps=150)
    return [
        healthy(sound, "classic"),
        sick("stiff", sound, "classic", ("exploding", "not_finite"), "Take a time step that the spring allows.",
             model=lambda: Controller(300.0), where=("", "policy", "policy.0", "policy.2"),
             causes=("mix", "skip", "other", "weight")),
        sick("numbers", sound, "classic", ("severed",), "Simulate with torch.", model=lambda: ControllerNumpy(1.0),
             where=("", "policy", "policy.0", "policy.2"), causes=("other",)),
    ]  # fmt: skip


def _sums() -> list[Stranger]:
    net = classify("graph-residual", lambda: Summing(3, False), communities, lr=5e-3, steps=150)
    bare = classify("bare-attention", lambda: Bare(4, 1.0), partial(needle, 8, 32), lr=3e-3, steps=250)
    return [
        healthy(net, "today"),
        sick("added-up", net, "today", ("exploding", "not_finite"), "Average over neighbours, in fewer rounds.",
             model=lambda: Summing(24, True), where=("", "rounds", "rounds.*", "enter"),
             causes=("mix", "weight", "skip")),
        healthy(bare, "today"),
        sick("gain-12", bare, "today", ("exploding", "not_finite", "bad_init"), "Start the branches small.",
             model=lambda: Bare(10, 12.0), where=("", "mlps", "mlps.*", "enter"), causes=("weight", "mix", "skip")),
    ]  # fmt: skip


def _densities() -> list[Stranger]:
    mixture: Program = classify("mixture-density", Mixture, product, loss=density, lr=1e-2, steps=200,
                                skill=explained(product, middle))  # fmt: skip
    chance = classify("sign-product", lambda: nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 2)), parity,
                      lr=1e-2, steps=150)  # fmt: skip
    return [
        healthy(mixture, "classic"),
        sick("log-of-sum-by-hand", mixture, "classic", ("not_finite",), "Use logsumexp.", loss=density_by_hand,
             where=("", "net", "net.2"), causes=("loss", "other")),
        healthy(chance, "classic"),
        elsewhere("sign-of-loss", chance, "classic", "Lower the loss instead of raising it.",
                  loss=lambda out, y: -F.cross_entropy(out, y)),
    ]  # fmt: skip
