"""Today's wirings: mixtures of experts, several residual streams, adapters on a frozen net, gates that choose."""

from collections.abc import Callable
from functools import partial

import torch
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, regress, sick
from benchmarks.strangers.tasks import modular, shuffled
from benchmarks.truth.case import Setup
from benchmarks.truth.data import flat_digits, parity, spirals, teacher
from benchmarks.truth.program import adam, advance
from torch import Tensor, nn
from torch.nn import functional as F


class Experts(nn.Module):
    """The best two of several experts, weighted by their probabilities."""

    def __init__(self, inputs: int, outputs: int, count: int = 6, width: int = 12) -> None:
        super().__init__()
        self.router = nn.Linear(inputs, count)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, outputs)) for _ in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        weights, chosen = torch.softmax(self.router(x), -1).topk(2, -1)
        table = torch.zeros(len(x), len(self.experts)).scatter(1, chosen, weights)
        outs = torch.stack([expert(x) for expert in self.experts], 1)
        return (table.unsqueeze(-1) * outs).sum(1)


class HardRouter(nn.Module):
    """Gated by the index of the best gate, which has no gradient, to frozen tools: only routing can be learnt."""

    tools: Tensor

    def __init__(self, straight: bool, classes: int = 7) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 16)
        self.router = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, classes))
        self.register_buffer("tools", torch.eye(classes) * 6)
        self.straight = straight

    def forward(self, tokens: Tensor) -> Tensor:
        scores = self.router(self.embed(tokens).flatten(1))
        soft = torch.softmax(scores, -1)
        hard = F.one_hot(scores.argmax(-1), scores.shape[-1]).float()
        chosen = soft + (hard - soft).detach() if self.straight else hard
        y: Tensor = chosen @ self.tools + 0 * scores[:, :1].mean()
        return y


class Streams(nn.Module):
    """Hyper-connections: several residual streams, mixed by a learnt matrix around each layer."""

    def __init__(self, depth: int, mixing: Tensor, width: int = 16) -> None:
        super().__init__()
        n = len(mixing)
        self.enter = nn.Linear(8, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU()) for _ in range(depth)
        )
        self.mix = nn.ParameterList(nn.Parameter(mixing.clone()) for _ in range(depth))
        self.read = nn.ParameterList(nn.Parameter(torch.full((n,), 1.0 / n)) for _ in range(depth))
        self.write = nn.ParameterList(nn.Parameter(torch.ones(n)) for _ in range(depth))
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        streams = self.enter(x).unsqueeze(1).expand(-1, len(self.read[0]), -1)
        for layer, mix, read, write in zip(self.layers, self.mix, self.read, self.write, strict=True):
            out = layer((read.unsqueeze(-1) * streams).sum(1))
            streams = mix @ streams + write.view(1, -1, 1) * out.unsqueeze(1)
        y: Tensor = self.head(streams.mean(1))
        return y


class Adapter(nn.Module):
    """A frozen layer with a low-rank side path, B zero at the start."""

    def __init__(self, base: nn.Linear, rank: int, std: float, alpha: float = 1.0) -> None:
        super().__init__()
        self.base = base
        self.a = nn.Parameter(std * torch.randn(rank, base.in_features))
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x) + self.alpha * (x @ self.a.T) @ self.b.T
        return y


def adapted(std: float, alpha: float = 1.0) -> nn.Module:
    """A net taught the digits by hand-over of its weights, frozen, with adapters for the labels turned by three."""
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
    setup = Setup(
        model=net, batches=list(flat_digits()), loss=F.cross_entropy, optimizer=torch.optim.Adam(net.parameters(),
             5e-3),
        train_step=None,
    )  # fmt: skip
    advance(setup, 100)
    for p in net.parameters():
        p.requires_grad_(False).grad = None
    for i in (0, 2, 4):
        layer = net[i]
        assert isinstance(layer, nn.Linear)
        net[i] = Adapter(layer, 4, std, alpha)
    return net


def turned() -> list[tuple[Tensor, Tensor]]:
    """Digits whose labels are turned by three: the new task of the adapters."""
    return [(x, (y + 3) % 10) for x, y in flat_digits()]


class Tree(nn.Module):
    """A soft decision tree of depth 4: products of sigmoids choose a leaf."""

    def __init__(self, sharp: float) -> None:
        super().__init__()
        self.splits = nn.Linear(2, 15)
        self.leaves = nn.Parameter(torch.randn(16, 2))
        self.sharp = sharp

    def forward(self, x: Tensor) -> Tensor:
        go = torch.sigmoid(self.sharp * self.splits(x))
        reach = torch.ones(len(x), 1)
        first = 0
        for depth in range(4):
            right = go[:, first : first + 2**depth]
            reach = torch.stack([reach * (1 - right), reach * right], -1).flatten(1)
            first += 2**depth
        return reach @ self.leaves


class Hyper(nn.Module):
    """A network whose weights are written by another from a context."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.context = nn.Sequential(nn.Linear(12, 16), nn.Tanh())
        self.writer = nn.Linear(16, 12 * 8 + 8)
        with torch.no_grad():
            self.writer.weight.mul_(scale)
            self.writer.bias.mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        w = self.writer(self.context(x))
        hidden = torch.tanh((w[:, :96].view(-1, 8, 12) @ x.unsqueeze(-1)).squeeze(-1))
        y: Tensor = (hidden * w[:, 96:]).sum(1, keepdim=True)
        return y


def strangers() -> list[Stranger]:
    """Every wiring as it is and with its faults."""
    return [*_experts(), *_streams(), *_adapters(), *_choices()]


def _experts() -> list[Stranger]:
    sound = classify("experts-top2", lambda: Experts(2, 2), spirals, lr=1e-2, steps=250)
    hard = classify("router-straight-through", lambda: HardRouter(True), modular, lr=1e-2, steps=250)
    return [
        healthy(sound, "today"),
        elsewhere("shuffled", sound, "today", "Pair inputs with their targets.", batches=lambda: shuffled(spirals())),
        healthy(hard, "today"),
        sick("argmax", hard, "today", ("severed",), "Pass the gradient straight through the choice.",
             model=lambda: HardRouter(False), where=("", "router", "router.0", "router.2"), causes=("other",)),
    ]  # fmt: skip


def _streams() -> list[Stranger]:
    n, depth = 4, 16
    even = torch.eye(n)
    sound = classify("hyper-connections", lambda: Streams(depth, even), parity, lr=3e-3, steps=120)
    inside = ("", "layers", "layers.*", "mix", "enter")

    def spoilt(mixing: Tensor) -> Callable[[], nn.Module]:
        return lambda: Streams(depth, mixing)

    return [
        healthy(sound, "today"),
        sick("mix-sums-to-17", sound, "today", ("exploding",),
             "Let the rows and columns of each mixing matrix sum to 1.",
             model=spoilt(torch.ones(n, n) * 4 + even), where=inside,
             causes=("mix", "skip", "weight", "other")),
        sick("mix-sums-to-0.1", sound, "today", ("vanishing",),
             "Let the rows and columns of each mixing matrix sum to 1.",
             model=lambda: _quiet(Streams(depth, even * 0.1)), where=inside, causes=("mix", "skip", "weight", "other",
             "norm")),
    ]  # fmt: skip


def _quiet(model: nn.Module) -> nn.Module:
    """Write weights of 1e-3, meant for a stream that carries."""
    assert isinstance(model, Streams)
    for p in model.write:
        nn.init.constant_(p, 1e-3)
    return model


def _adapters() -> list[Stranger]:
    sound = classify("lora", partial(adapted, 0.3), turned, lr=1e-2, steps=150)
    places = tuple(f"{i}" for i in (0, 2, 4))
    return [
        healthy(sound, "today"),
        sick("both-zero", sound, "today", ("severed", "bad_init", "dead", "vanishing"), "Draw A at random.",
             model=partial(adapted, 0.0),
             where=("", *places)),
        elsewhere("rate-tiny", sound, "today", "Raise the learning rate to 1e-2.", optimizer=adam(1e-7)),
        elsewhere("labels-of-chance", sound, "today", "Pair inputs with their labels.",
             batches=lambda: shuffled(turned())),
    ]  # fmt: skip


def _choices() -> list[Stranger]:
    tree = classify("soft-tree", lambda: Tree(3.0), spirals, lr=5e-2, steps=250)
    hyper = regress("hyper-network", lambda: Hyper(1.0), teacher, lr=5e-3)
    return [
        healthy(tree, "classic"),
        sick("sharp-1e4", tree, "classic", ("saturated", "vanishing", "dead"), "Start with soft splits.",
             model=lambda: Tree(1e5), where=("", "splits"), causes=("slope",), trap=True),
        healthy(hyper, "today"),
        sick("writer-large", hyper, "today", ("saturated", "bad_init", "exploding"),
             "Start the writer at its usual size.",
             model=lambda: Hyper(300.0), where=("", "writer", "context"), causes=("slope", "weight"), trap=True),
        sick("writer-zero", hyper, "today", ("severed", "bad_init", "dead", "vanishing"), "Draw the writer's weights.",
             model=lambda: Hyper(0.0), where=("", "writer", "context")),
        elsewhere("shuffled", hyper, "today", "Pair inputs with their targets.", batches=lambda: shuffled(teacher())),
    ]  # fmt: skip
