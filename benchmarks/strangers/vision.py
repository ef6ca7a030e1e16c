"""Today's fields and images: ConvNeXt, Mixer, SIREN, KAN, a neural ODE, graph nets."""

from collections.abc import Callable
from functools import cache, partial

import torch
from benchmarks.strangers.plain import fading
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, regress, sick
from benchmarks.strangers.spoil import alike, shut, zeroed
from benchmarks.strangers.tasks import patches, product, shuffled, wave
from benchmarks.truth.data import Pairs, image_digits, seeded, spirals
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNeXtBlock(nn.Module):
    """Depthwise 3 x 3, norm over channels, two pointwise layers, LayerScale."""

    def __init__(self, width: int, gamma: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), gamma))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        branch: Tensor = self.gamma * self.down(F.gelu(self.up(h)))
        return x + branch.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """A patchify stem, blocks, mean over pixels, head."""

    def __init__(self, gamma: float, depth: int = 3, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 2, stride=2)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(width, gamma) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.norm(self.pool(self.blocks(self.stem(x)))))
        return y

    def pool(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class ConvNeXtData(ConvNeXt):
    """Pools `.data`, to spare memory in a debugging session long ago."""

    def pool(self, x: Tensor) -> Tensor:
        return x.data.mean((2, 3))


class MixerBlock(nn.Module):
    """Mixing over tokens, then over channels; `skip` off is a bug."""

    def __init__(self, tokens: int, width: int, act: Callable[[], nn.Module], skip: float) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(tokens, 2 * tokens), act(), nn.Linear(2 * tokens, tokens))
        self.channels = nn.Sequential(nn.Linear(width, 2 * width), act(), nn.Linear(2 * width, width))
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.skip * x + self.tokens(self.ln1(x).transpose(1, 2)).transpose(1, 2)
        y: Tensor = self.skip * x + self.channels(self.ln2(x))
        return y


class BareMixerBlock(nn.Module):
    """No norms, no skips, sigmoids: a port of a port."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = nn.Sequential(nn.Linear(tokens, tokens), nn.Sigmoid())
        self.channels = nn.Sequential(nn.Linear(width, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.channels(self.tokens(x.transpose(1, 2)).transpose(1, 2))
        return y


class Mixer(nn.Module):
    """Patches, mixer blocks, mean, head."""

    def __init__(self, block: Callable[[], nn.Module], depth: int, width: int = 16) -> None:
        super().__init__()
        self.enter = nn.Linear(4, width)
        self.blocks = nn.Sequential(*(block() for _ in range(depth)))
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.blocks(self.enter(x)).mean(1))
        return y


class Sine(nn.Module):
    """sin(w0 (W x + b))."""

    def __init__(self, inputs: int, width: int, w0: float, bound: float) -> None:
        super().__init__()
        self.fc, self.w0 = nn.Linear(inputs, width), w0
        nn.init.uniform_(self.fc.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.w0 * self.fc(x))


def siren(w0: float = 12.0, inner: float | None = None) -> nn.Module:
    """Three sine layers with Sitzmann's start, or with another bound for the inner ones."""
    bound = (6 / 32) ** 0.5 / w0 if inner is None else inner
    return nn.Sequential(Sine(1, 32, w0, 1.0), Sine(32, 32, w0, bound), Sine(32, 32, w0, bound), nn.Linear(32, 1))


class Spline(nn.Module):
    """A KAN layer: hat functions on a grid of -reach..reach for every edge, and no base branch."""

    grid: Tensor

    def __init__(self, inputs: int, outputs: int, reach: float = 2.0, points: int = 9, centre: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("grid", torch.linspace(-reach, reach, points) + centre)
        self.step = 2 * reach / (points - 1)
        self.coefficients = nn.Parameter(torch.randn(inputs, points, outputs) * (1 / inputs) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        hats = torch.relu(1 - (x.unsqueeze(-1) - self.grid).abs() / self.step)
        return torch.einsum("nip,ipo->no", hats, self.coefficients)


class OdeNet(nn.Module):
    """x' = f(x) by `steps` Euler steps."""

    def __init__(self, horizon: float, steps: int = 12, width: int = 16) -> None:
        super().__init__()
        self.enter = nn.Linear(2, width)
        self.field = nn.Sequential(nn.Linear(width, 32), nn.Tanh(), nn.Linear(32, width))
        self.head = nn.Linear(width, 2)
        self.step, self.steps = horizon / steps, steps

    def forward(self, x: Tensor) -> Tensor:
        z = self.enter(x)
        for _ in range(self.steps):
            z = self.advance(z)
        y: Tensor = self.head(z)
        return y

    def advance(self, z: Tensor) -> Tensor:
        return z + self.push(z)

    def push(self, z: Tensor) -> Tensor:
        y: Tensor = self.step * self.field(z)
        return y


class OdeCut(OdeNet):
    """Integrates without a graph, as if an adjoint pass would follow."""

    def advance(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            return z + self.push(z)


class OdeStiff(OdeNet):
    """A damping of 1 is subtracted with its time step left out."""

    def advance(self, z: Tensor) -> Tensor:
        return z + self.push(z) - 0.9 * z


@cache
def graph() -> tuple[Tensor, Tensor, Tensor]:
    """A ring of 96 nodes with chords: normalised adjacency, features, and per node whether its neighbours agree."""
    g = seeded(41)
    n = 96
    a = torch.zeros(n, n)
    i = torch.arange(n)
    a[i, (i + 1) % n] = a[(i + 1) % n, i] = 1
    extra = torch.randint(0, n, (60, 2), generator=g)
    a[extra[:, 0], extra[:, 1]] = a[extra[:, 1], extra[:, 0]] = 1
    x = torch.randn(n, 8, generator=g)
    score = (a @ x)[:, 0] * x[:, 1]
    return a, x, (score > 0).long()


def nodes() -> Pairs:
    """The features (96, 8) and a class for each node, the same graph each time."""
    _, x, y = graph()
    return [(x, y)]


class GraphNet(nn.Module):
    """Message passing over the fixed graph: act(A W x + V x), several rounds."""

    adjacent: Tensor

    def __init__(self, depth: int, own: float = 1.0, lonely: bool = False) -> None:
        super().__init__()
        a = graph()[0].clone()
        if lonely:
            a[5] = 0
        self.register_buffer("adjacent", a)
        self.enter = nn.Linear(8, 24)
        self.neighbours = nn.ModuleList(nn.Linear(24, 24) for _ in range(depth))
        self.selves = nn.ModuleList(nn.Linear(24, 24) for _ in range(depth))
        self.head = nn.Linear(24, 2)
        self.own = own

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.enter(x))
        for near, own in zip(self.neighbours, self.selves, strict=True):
            x = torch.relu(self.gather(near(x)) + self.own * own(x))
        y: Tensor = self.head(x)
        return y

    def gather(self, x: Tensor) -> Tensor:
        return self.adjacent @ x / self.adjacent.sum(1, keepdim=True).clamp_min(1)


class Smoother(GraphNet):
    """Neighbours only, sigmoids between."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.sigmoid(self.enter(x))
        for near in self.neighbours:
            x = torch.sigmoid(self.gather(near(x)))
        y: Tensor = self.head(x)
        return y


class GraphAttention(GraphNet):
    """Weights of neighbours by softmax over masked scores: a node without neighbours has only masked ones."""

    def gather(self, x: Tensor) -> Tensor:
        scores = (x @ x.T / 24**0.5).masked_fill(self.adjacent == 0, float("-inf"))
        return torch.softmax(scores, 1) @ x


def strangers() -> list[Stranger]:
    """Every net as it is and with its faults."""
    return [*_images(), *_fields(), *_flows(), *_graphs()]


def _images() -> list[Stranger]:
    convnext = classify("convnext", lambda: ConvNeXt(1e-6), partial(image_digits, 32), lr=1e-2)
    mixer = classify("mixer", lambda: Mixer(lambda: MixerBlock(16, 16, nn.GELU, 1.0), 2), patches, lr=5e-3, steps=120)
    return [
        healthy(convnext, "today"),
        sick("pool-data", convnext, "today", ("severed",), "Pool the tensor itself.", model=lambda: ConvNeXtData(1e-6),
             where=("", "norm", "blocks", "stem", "blocks.*"), causes=("other",)),
        elsewhere("shuffled", convnext, "today", "Pair images with their labels.",
                  batches=lambda: shuffled(image_digits(32))),
        healthy(mixer, "today"),
        sick("all-constant", mixer, "today", ("bad_init", "severed", "dead", "vanishing"),
             "Draw the weights at random.",
             model=lambda: alike(Mixer(lambda: MixerBlock(16, 16, nn.GELU, 1.0), 2))),
        elsewhere("decay-rate", mixer, "today", "Do not halve the rate at every step.", loss=None, train_step=fading),
        sick("port-of-a-port", mixer, "today", ("vanishing",), "Bring back the norms and skips, and GELU.",
             model=lambda: Mixer(lambda: BareMixerBlock(16, 16), 6), where=("blocks.*",), causes=("slope", "weight",
             "mix", "skip")),
    ]  # fmt: skip


def _fields() -> list[Stranger]:
    sine = regress("siren", siren, wave, lr=2e-3, steps=200)
    kan = regress("kan", lambda: nn.Sequential(Spline(4, 8), Spline(8, 1)), product, lr=2e-2)
    return [
        healthy(sine, "today"),
        sick("inner-default-w0-60", sine, "today", ("exploding", "bad_init"),
             "Bound the inner weights by sqrt(6/n)/w0.",
             model=lambda: siren(60.0, 1.0), where=("0", "1", "2", "1.*", "2.*"), causes=("weight", "slope", "other")),
        sick("all-zero", sine, "today", ("bad_init", "severed", "dead", "vanishing"),

             "Draw the weights as Sitzmann does.",
             model=lambda: zeroed(siren()), where=("", "0", "1", "2", "3", "0.*", "1.*", "2.*")),
        healthy(kan, "today"),
        sick("coefficients-zero", kan, "today", ("bad_init", "severed", "dead", "vanishing"),
             "Draw the coefficients at random.",
             model=lambda: zeroed(nn.Sequential(Spline(4, 8), Spline(8, 1))), where=("1", "0")),
        sick("off-the-grid", kan, "today", ("dead", "severed", "saturated"), "Let the grid cover the activations.",
             model=lambda: nn.Sequential(Spline(4, 8), Spline(8, 1, centre=40.0)), where=("1", "0"), causes=("slope",
             "mix", "other")),
        elsewhere("shuffled", kan, "today", "Pair inputs with their targets.", batches=lambda: shuffled(product())),
    ]  # fmt: skip


def _flows() -> list[Stranger]:
    ode = classify("neural-ode", lambda: OdeNet(2.0), spirals, lr=1e-2, steps=250)
    inside = ("field", "enter", "", "field.0", "field.2")
    return [
        healthy(ode, "today"),
        sick("no-adjoint", ode, "today", ("severed",), "Integrate with the graph, or write the adjoint pass.",
             model=lambda: OdeCut(2.0), where=inside, causes=("other",)),
        sick("damped", ode, "today", ("vanishing",), "Multiply the damping by the time step.",
             model=lambda: OdeStiff(2.0), where=inside, causes=("skip", "mix", "other", "weight")),
    ]  # fmt: skip


def _graphs() -> list[Stranger]:
    net = classify("graph-net", lambda: GraphNet(2), nodes, lr=5e-3, steps=200)
    return [
        healthy(net, "today"),
        sick("units-shut", net, "today", ("dead", "bad_init", "severed"), "Start the biases at 0.",
             model=lambda: shut(GraphNet(2), -30.0, "enter", "neighbours", "selves"),
             where=("enter", "neighbours.*", "selves.*", ""), causes=("slope", "weight")),
        sick("oversmoothed", net, "today", ("vanishing",), "Two rounds, ReLU, and a path for the node itself.",
             model=lambda: Smoother(10), where=("neighbours.*", "enter"), causes=("slope", "weight", "mix")),
        sick("lonely-node", net, "today", ("not_finite",), "Give each node an edge to itself.",
             model=lambda: GraphAttention(2, lonely=True), where=("", "neighbours.*", "enter"), causes=()),
        elsewhere("features-lost", net, "today", "Feed the features.",
             batches=lambda: [(torch.ones(96, 8), graph()[2])],
                  skill=net.skill),
    ]  # fmt: skip
