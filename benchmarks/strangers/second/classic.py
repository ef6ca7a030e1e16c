"""Classic nets: counts, many labels, small CNNs, dense stacks, word tables, bags, polynomial and bounded units."""

from collections.abc import Callable

import torch
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, regress, sick
from benchmarks.strangers.second.parts import clipping_step, mlp, step_on
from benchmarks.strangers.spoil import alike, scaled, shut, zeroed
from benchmarks.strangers.tasks import product
from benchmarks.truth.data import Pairs, cut, flat_digits, image_digits, parity, seeded, teacher
from benchmarks.truth.program import adamw, sgd
from benchmarks.truth.task import accuracy, explained
from torch import Tensor, nn
from torch.nn import functional as F


class Rate(nn.Module):
    """The logarithm of a rate while training; asked, the rate."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(5, 32, 32, 1, act=nn.Tanh)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


class Straight(nn.Module):
    """The same by one linear layer on squares and products."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(30, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(torch.cat([x, (x.unsqueeze(2) * x.unsqueeze(1)).flatten(1)], 1))
        return y


def counts() -> Pairs:
    """Five features and counts with a rate that depends on them."""
    g = seeded(161)
    x = torch.randn(1024, 5, generator=g)
    rate = torch.exp(1 + torch.sin(1.5 * x[:, :1]) + 0.6 * x[:, 1:2] * x[:, 2:3].tanh())
    return cut(x, torch.poisson(rate, generator=g), 64, 16)


def poisson(out: Tensor, y: Tensor) -> Tensor:
    """exp(o) - y o."""
    return (out.exp() - y * out).mean()


def rate_of(model: nn.Module, x: Tensor) -> Tensor:
    """The rate."""
    return torch.exp(model(x))


def outer_products() -> Pairs:
    """Five features and a sum of some of their products."""
    x = torch.randn(1024, 5, generator=seeded(162))
    y = x[:, :1] * x[:, 1:2] - x[:, 2:3] + 0.5 * x[:, 3:4] * x[:, 4:]
    return cut(x, y / y.std(), 64, 16)


class Many(nn.Module):
    """Six yes or no answers."""

    def __init__(self, squash: bool = False) -> None:
        super().__init__()
        self.net, self.squash = mlp(8, 48, 48, 6, act=nn.ReLU), squash

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return torch.sigmoid(y) if self.squash else y


def six_answers() -> Pairs:
    """Eight features and whether six products of neighbours are positive."""
    x = torch.randn(1024, 8, generator=seeded(163))
    return cut(x, (x[:, :6] + x[:, 1:7] > 0).float(), 64, 16)


def six_classes() -> Pairs:
    """The same with whole numbers, for the skill alone."""
    return [(x, y.long()) for x, y in six_answers()]


def yes_no(model: nn.Module, x: Tensor) -> Tensor:
    """Each answer as two logits: yes above 0."""
    out = model(x)
    return torch.stack([-out, out], -1)


def logs_by_hand(out: Tensor, y: Tensor) -> Tensor:
    """The logarithms of the probability and of its rest, unguarded, the logits in percent."""
    p = torch.sigmoid(100 * out)
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


class Pooled(nn.Module):
    """Two convolutions, the generalised mean of powers over pixels, a head; `eps` keeps the base of the root from 0."""

    def __init__(self, eps: float = 1e-4) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 24, 3, stride=2)
        self.head, self.power, self.eps = nn.Linear(24 * 3, 10), nn.Parameter(torch.tensor(3.0)), eps

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv2(F.relu(self.conv1(x))))
        if self.eps:
            h = h.clamp(min=self.eps)
        h = h.pow(self.power).mean(3).pow(1 / self.power)
        y: Tensor = self.head(h.flatten(1))
        return y


class Contrast(nn.Module):
    """Patches of 2 x 2 are set to mean 0 and deviation 1 each, then an mlp beside their means."""

    def __init__(self, eps: float = 0.1) -> None:
        super().__init__()
        self.net, self.eps = mlp(80, 48, 10), eps

    def forward(self, x: Tensor) -> Tensor:
        p = x.view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)
        mean = p.mean(-1, keepdim=True)
        normed = (p - mean) / (p.std(-1, keepdim=True) + self.eps)
        y: Tensor = self.net(torch.cat([normed.flatten(1), mean.flatten(1)], 1))
        return y


class LeNet(nn.Module):
    """Convolutions with tanh and mean pooling, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.Tanh(),
            nn.Flatten(), nn.Linear(256, 32), nn.Tanh(), nn.Linear(32, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y


class LeNetHot(LeNet):
    """Pixels as bytes and weights of N(0, 1), as in a page of notes."""

    def __init__(self) -> None:
        super().__init__()
        for p in self.parameters():
            nn.init.normal_(p, std=2.0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(128 + 80 * x)


class Dense(nn.Module):
    """Each layer sees the outputs of all before."""

    def __init__(self, depth: int = 8, grow: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8 + i * grow, grow) for i in range(depth))
        self.head = nn.Linear(8 + depth * grow, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, F.relu(layer(x))], 1)
        y: Tensor = self.head(x)
        return y


class Words(nn.Module):
    """A word from the mean of its neighbours' vectors, scored against a second table."""

    def __init__(self) -> None:
        super().__init__()
        self.inward, self.outward = nn.Embedding(20, 12), nn.Embedding(20, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.inward(x).mean(1) @ self.outward.weight.T


def contexts() -> Pairs:
    """Two words around one of 20: a word's neighbours are those 3 before and 5 after it in the circle, or exchanged."""
    g = seeded(164)
    y = torch.randint(0, 20, (1024,), generator=g)
    flip = torch.randint(0, 2, (1024, 1), generator=g).bool()
    pair = torch.stack([(y - 3) % 20, (y + 5) % 20], 1)
    return cut(torch.where(flip, pair.flip(1), pair), y, 64, 16)


class Bag(nn.Module):
    """Attention over the members of a bag, gated, then a head: is a wanted member there?"""

    def __init__(self, heat: float = 1.0) -> None:
        super().__init__()
        self.member, self.head, self.heat = mlp(4, 32, 16, act=nn.Tanh), nn.Linear(16, 2), heat
        self.v, self.u, self.w = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.member(x))
        a = torch.softmax(self.heat * self.w(torch.tanh(self.v(h)) * torch.sigmoid(self.u(h))), 1)
        y: Tensor = self.head((a * h).sum(1))
        return y


def bags() -> Pairs:
    """Bags (N, 8, 4); a bag is right if one member has both first coordinates above 1.2."""
    g = seeded(165)
    x = torch.randn(1024, 8, 4, generator=g).clamp(-1, 1)
    y = torch.randint(0, 2, (1024,), generator=g)
    at = torch.randint(0, 8, (1024,), generator=g)
    x[torch.arange(1024), at, :2] = torch.where(y.unsqueeze(1) == 1, 1.6, x[torch.arange(1024), at, :2])
    return cut(x, y, 64, 16)


class Polynomial(nn.Module):
    """h + (A h)(B h), four times."""

    def __init__(self, gain: float = 0.3, depth: int = 4, width: int = 16) -> None:
        super().__init__()
        self.enter, self.head = nn.Linear(4, width), nn.Linear(width, 1)
        self.a = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.b = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for a, b in zip(self.a, self.b, strict=True):
            h = h + self.gain * a(h) * b(h)
        y: Tensor = self.head(h)
        return y


def deep_selu(std: float = 1.0) -> Callable[[], nn.Module]:
    """Ten SELU layers after LeCun, or another multiple of that start."""

    def make() -> nn.Module:
        net = mlp(12, *[32] * 10, 1, act=nn.SELU)
        for layer in net:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=std / layer.in_features**0.5)
                nn.init.zeros_(layer.bias)
        return net

    return make


def bounded(act: type[nn.Module] = nn.Hardtanh) -> nn.Sequential:
    """Three layers of bounded units."""
    return mlp(64, 32, 10, 10, act=act)


def smoothed_away(out: Tensor, y: Tensor) -> Tensor:
    """Label smoothing of 1: the smoothing and what is left have changed places."""
    return F.cross_entropy(out, y, label_smoothing=1.0)


def wrong_way(out: Tensor, y: Tensor) -> Tensor:
    """Divergence of the answer from one-hot targets, by hand and the wrong way round: p log(p / 0)."""
    target, p = F.one_hot(y, 10).float(), torch.softmax(out, -1)
    return (p * (p.log() - target.log())).sum(-1).mean()


def numbers_of_classes(out: Tensor, y: Tensor) -> Tensor:
    """Squared error of the logits against the number of the class, each."""
    return F.mse_loss(out, y.float().unsqueeze(1).expand_as(out))


def strangers() -> list[Stranger]:
    """Every classic net as it is and with its faults."""
    return [*_counts(), *_images(), *_stacks(), *_tables()]


def _counts() -> list[Stranger]:
    rate = regress("counts", Rate, counts, lr=5e-3, loss=poisson, steps=250, bar=0.3,
                   skill=explained(counts, rate_of))  # fmt: skip
    line = regress("products-by-line", Straight, outer_products, lr=1e-2, steps=300)
    many = classify("six-answers", Many, six_answers, loss=F.binary_cross_entropy_with_logits, lr=5e-3, steps=200,
                    skill=accuracy(six_classes, yes_no))  # fmt: skip
    return [
        healthy(rate, "classic"),
        sick("rates-overflow", rate, "classic", ("not_finite", "exploding", "bad_init"), "Start the head small.",
             model=lambda: scaled(Rate(), 400.0, "net.4"), where=("", "net", "net.4"),
             causes=("loss", "weight", "other")),
        elsewhere("rates-of-others", rate, "classic", "Pair counts with their features.",
                  train_step=step_on(poisson, lambda x, y: (x, y.roll(1, 0)))),
        healthy(line, "classic"),
        elsewhere("decay-95", line, "classic", "Decay weights by 0.01.", optimizer=adamw(1e-2, weight_decay=95.0)),
        elsewhere("rate-of-100", line, "classic", "Lower the rate to 1e-2.", optimizer=adamw(100.0, weight_decay=0)),
        healthy(many, "classic"),
        sick("logs-by-hand", many, "classic", ("not_finite",), "Use the loss on logits.", loss=logs_by_hand,
             where=("", "net", "net.4"), causes=("loss", "other")),
        elsewhere("sigmoid-twice", many, "classic", "Leave the sigmoid to the loss.", model=lambda: Many(True)),
    ]  # fmt: skip


def _images() -> list[Stranger]:
    pooled = classify("power-pooling", Pooled, image_digits, lr=5e-3, steps=150)
    contrast = classify("local-contrast", Contrast, flat_digits, steps=150)
    lenet = classify("lenet-tanh", LeNet, image_digits, steps=150)
    convs = ("", "conv1", "conv2")
    body = ("", "body", *(f"body.{i}" for i in (0, 1, 3, 4, 6, 7, 8)))
    return [
        healthy(pooled, "classic"),
        sick("root-of-nothing", pooled, "classic", ("not_finite",), "Keep the base of the root above 0.",
             model=lambda: Pooled(0.0), where=(*convs, "head"), causes=("other", "slope")),
        sick("second-convolution-shut", pooled, "classic", ("dead",), "Start with biases of 0.",
             model=lambda: shut(Pooled(), -30.0, "conv2"), where=("", "conv2"), causes=("slope", "weight")),
        healthy(contrast, "classic"),
        sick("flat-patches", contrast, "classic", ("not_finite",), "Add something to the deviation.",
             model=lambda: Contrast(0.0), where=("", "net", "net.0"), causes=("norm", "other")),
        elsewhere("clip-1e-5", contrast, "classic", "Clip at 1.", optimizer=sgd(0.05),
                  train_step=clipping_step(F.cross_entropy, 1e-5)),
        elsewhere("classes-as-numbers", contrast, "classic", "Use cross entropy.", loss=numbers_of_classes),
        healthy(lenet, "classic"),
        sick("bytes-and-wide-weights", lenet, "classic", ("saturated", "bad_init"), "Normalise, and start small.",
             model=LeNetHot, where=body, causes=("slope", "weight")),
        sick("all-weights-0.05", lenet, "classic", ("bad_init", "vanishing"), "Draw the weights.",
             model=lambda: alike(LeNet()), where=body),
        elsewhere("smoothed-away", lenet, "classic", "Smooth by a tenth.", loss=smoothed_away),
        elsewhere("only-noise-in", lenet, "classic", "Hand the images over.",
                  train_step=step_on(F.cross_entropy, lambda x, y: (torch.randn_like(x), y))),
    ]  # fmt: skip


def _stacks() -> list[Stranger]:
    dense = classify("dense-stack", Dense, parity, steps=200)
    selu = regress("selu-10", deep_selu(), teacher, lr=1e-3, steps=300)
    bound = classify("bounded-units", bounded, flat_digits, steps=150)
    layers = ("", "layers", "layers.*", "head")
    linear = tuple(str(i) for i in range(0, 21, 2))
    return [
        healthy(dense, "classic"),
        sick("layers-shut", dense, "classic", ("dead",), "Start with biases of 0.",
             model=lambda: shut(Dense(), -60.0, "layers"), where=layers, causes=("slope", "weight")),
        sick("layers-times-60", dense, "classic", ("exploding", "bad_init", "not_finite"), "Start after He.",
             model=lambda: scaled(Dense(), 60.0, "layers"), optimizer=sgd(0.02), where=layers),
        sick("layers-alike", dense, "classic", ("bad_init",), "Draw the weights.", model=lambda: alike(Dense()),
             where=layers),
        healthy(selu, "classic"),
        sick("start-a-tenth", selu, "classic", ("vanishing", "bad_init"), "Start after LeCun.", model=deep_selu(0.1),
             optimizer=sgd(0.01), where=("", *linear), causes=("weight",)),
        sick("start-eightfold", selu, "classic", ("exploding", "not_finite", "bad_init"), "Start after LeCun.",
             model=deep_selu(8.0), optimizer=sgd(0.01), where=("", *linear), causes=("weight",)),
        healthy(bound, "classic"),
        sick("layers-times-300", bound, "classic", ("saturated", "dead", "bad_init"), "Start with the usual sizes.",
             model=lambda: scaled(bounded(), 300.0, "0", "2"), where=("", "0", "1", "2", "3"),
             causes=("slope", "weight")),
        sick("divergence-turned", bound, "classic", ("not_finite",), "Use cross entropy.", loss=wrong_way,
             where=("", "4"), causes=("loss", "other")),
    ]  # fmt: skip


def _tables() -> list[Stranger]:
    words = classify("words-of-context", Words, contexts, lr=2e-2, steps=200)
    bag = classify("bag-attention", Bag, bags, lr=5e-3, steps=200)
    poly = regress("polynomial", Polynomial, product, steps=200)
    parts = ("", "enter", "a", "b", "a.*", "b.*", "head")
    return [
        healthy(words, "classic"),
        sick("both-tables-0", words, "classic", ("bad_init", "dead", "severed", "vanishing"), "Draw one table.",
             model=lambda: zeroed(Words()), where=("", "inward", "outward")),
        elsewhere("asked-for-a-neighbour", words, "classic", "Ask for the word in the middle.",
                  train_step=step_on(F.cross_entropy, lambda x, y: (x, x[:, 0]))),
        healthy(bag, "classic"),
        elsewhere("bags-exchanged", bag, "classic", "Keep bags and answers together.",
                  train_step=step_on(F.cross_entropy, lambda x, y: (x.roll(1, 0), y))),
        elsewhere("wanted-clipped-off", bag, "classic", "Clip outliers above what is wanted.",
                  train_step=step_on(F.cross_entropy, lambda x, y: (x.clamp(-0.5, 0.5), y))),
        healthy(poly, "classic"),
        sick("gain-of-100", poly, "classic", ("exploding", "not_finite"), "Weigh the products by 0.3.",
             model=lambda: Polynomial(100.0), where=parts, causes=("weight", "skip", "other", "mix")),
        elsewhere("first-coordinate-only", poly, "classic", "Keep all coordinates.",
                  train_step=step_on(F.mse_loss, lambda x, y: (x[:, :1].expand_as(x), y))),
    ]  # fmt: skip
