"""Classic feed-forward nets: deep stacks, batch norm, Fixup, ReZero, highways, reparametrised weights, embeddings."""

from collections.abc import Callable
from typing import Any

import torch
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, regress, sick
from benchmarks.strangers.spoil import alike
from benchmarks.strangers.step import finish
from benchmarks.strangers.tasks import product, shuffled, wedges
from benchmarks.truth.data import flat_digits, parity, ratings, raw_digits, spirals, teacher
from benchmarks.truth.program import adam, sgd
from benchmarks.truth.task import accuracy
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

Wrap = Callable[[nn.Linear], nn.Module]


def stack(
    inputs: int, width: int, outputs: int, depth: int, act: Callable[[], nn.Module], wrap: Wrap = lambda m: m
) -> nn.Sequential:
    """`depth` hidden layers and a head."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [wrap(nn.Linear(inputs if i == 0 else width, width)), act()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def start(model: nn.Module, std: float, bias: float = 0.0) -> nn.Module:
    """Every Linear drawn from N(0, std^2), biases constant."""
    for m in model.modules():
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=std)
            nn.init.constant_(m.bias, bias)
    return model


def xavier(model: nn.Module, gain: float = 1.0) -> nn.Module:
    """Every Linear after Glorot."""
    for m in model.modules():
        if isinstance(m, nn.Linear):
            nn.init.xavier_normal_(m.weight, gain)
            nn.init.zeros_(m.bias)
    return model


class Unregistered(nn.Module):
    """Hidden layers in a plain list: they never reach parameters()."""

    def __init__(self, inputs: int, width: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.hidden = [nn.Linear(inputs if i == 0 else width, width) for i in range(depth)]
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = torch.relu(layer(x))
        y: Tensor = self.head(x)
        return y


class Fixup(nn.Module):
    """x + W2 relu(W1 x) with W2 zero at the start, a scale and biases, no norm."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.bias1, self.bias2 = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.scale = nn.Parameter(torch.ones(1))
        self.fc1, self.fc2 = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        nn.init.normal_(self.fc1.weight, std=(2 / width) ** 0.5 * depth**-0.5)
        nn.init.zeros_(self.fc2.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.scale * self.fc2(torch.relu(self.fc1(x + self.bias1)) + self.bias2)
        return y


class FixupNoSkip(Fixup):
    """The same without the skip: nothing passes a zero matrix."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.scale * self.fc2(torch.relu(self.fc1(x + self.bias1)) + self.bias2)
        return y


class Rezero(nn.Module):
    """x + alpha f(x), alpha 0 at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, width)
        self.alpha = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.gate() * self.fc2(torch.tanh(self.fc1(x)))
        return y

    def gate(self) -> Tensor:
        return self.alpha


class RezeroItem(Rezero):
    """alpha read as a Python number."""

    def gate(self) -> Tensor:
        return torch.tensor(self.alpha.item())


class Highway(nn.Module):
    """t f(x) + (1 - t) x, the gate biased."""

    def __init__(self, width: int, bias: float) -> None:
        super().__init__()
        self.fc, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        t = torch.sigmoid(self.gate(x))
        return t * torch.tanh(self.fc(x)) + (1 - t) * x


class GateOnly(Highway):
    """The carry was left out: what the gate shuts is lost."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.gate(x)) * torch.tanh(self.fc(x))


class Factors(nn.Module):
    """Matrix factorisation of ratings."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(60, 6), nn.Embedding(80, 6)
        nn.init.normal_(self.users.weight, std=std)
        nn.init.normal_(self.items.weight, std=std)

    def forward(self, pairs: Tensor) -> Tensor:
        u: Tensor = self.users(pairs[:, 0])
        v: Tensor = self.items(pairs[:, 1])
        return (u * v).sum(1, keepdim=True)


class Radial(nn.Module):
    """Gaussian bumps around learnt centres, then a head."""

    def __init__(self, spread: float, width: float) -> None:
        super().__init__()
        self.centres = nn.Parameter(spread * torch.randn(48, 2))
        self.log_width = nn.Parameter(torch.full((48,), width).log())
        self.head = nn.Linear(48, 2)

    def forward(self, x: Tensor) -> Tensor:
        far = (x.unsqueeze(1) - self.centres).square().sum(-1)
        y: Tensor = self.head(torch.exp(-far / self.log_width.exp().square()))
        return y


class Residual(nn.Module):
    """x + f(x) or a careless weighting of both."""

    def __init__(self, width: int, skip: float = 1.0, branch: float = 1.0) -> None:
        super().__init__()
        self.fc = nn.Linear(width, width)
        self.skip, self.branch = skip, branch

    def forward(self, x: Tensor) -> Tensor:
        return self.skip * x + self.branch * torch.tanh(self.fc(x))


def blocks(inputs: int, width: int, outputs: int, depth: int, block: Callable[[], nn.Module]) -> nn.Sequential:
    """An entrance, `depth` blocks, a head."""
    return nn.Sequential(nn.Linear(inputs, width), *(block() for _ in range(depth)), nn.Linear(width, outputs))


def strangers() -> list[Stranger]:
    """Every classic net as it is and with its faults."""
    return [*_deep(), *_normed(), *_skips(), *_gates(), *_wrapped(), *_tables(), *_widths()]


def _deep() -> list[Stranger]:
    def relu(std: float | None = None, bias: float = 0.0) -> Callable[[], nn.Module]:
        def make() -> nn.Module:
            net = stack(8, 32, 2, 6, nn.ReLU)
            return xavier(net, 2**0.5) if std is None else start(net, std, bias)

        return make

    sound = classify("relu-6", relu(), parity, lr=2e-3, steps=250)
    tanh = classify("tanh-12", lambda: xavier(stack(64, 32, 10, 12, nn.Tanh)), flat_digits, optimizer=sgd(0.05))
    return [
        healthy(sound, "classic"),
        sick("std-0.001", sound, "classic", ("vanishing", "bad_init"), "Scale the weights after He.",
             model=relu(0.001), where=tuple(str(i) for i in range(0, 13, 2)), causes=("weight", "slope")),
        sick("biases-minus-4", sound, "classic", ("dead", "bad_init"), "Start the biases at 0.",
             model=relu(0.2, -4.0), where=("0", "1", "2", "3", "4", "5"), causes=("slope", "weight")),
        sick("constant", sound, "classic", ("bad_init", "severed"), "Draw the weights at random.",
             model=lambda: alike(stack(8, 32, 2, 6, nn.ReLU)), causes=("weight",)),
        sick("python-list", sound, "classic", ("severed",), "Keep the layers in a ModuleList.",
             model=lambda: Unregistered(8, 32, 2, 6)),
        elsewhere("shuffled", sound, "classic", "Pair inputs with their targets.", batches=lambda: shuffled(parity())),
        healthy(tanh, "classic"),
        sick("sigmoid", tanh, "classic", ("vanishing",), "Use tanh or ReLU with a fitting start.",
             model=lambda: xavier(stack(64, 32, 10, 12, nn.Sigmoid)), causes=("slope", "weight"),
             where=tuple(str(i) for i in range(25))),
        sick("std-one", tanh, "classic", ("saturated", "bad_init", "exploding"), "Scale the weights by 1/sqrt(fan_in).",
             model=lambda: start(stack(64, 32, 10, 12, nn.Tanh), 1.0), causes=("weight", "slope"),
             where=tuple(str(i) for i in range(25))),
        elsewhere("rate-1e-7", tanh, "classic", "Raise the learning rate.", optimizer=sgd(1e-7)),
    ]  # fmt: skip


def _normed() -> list[Stranger]:
    def make(act: Callable[[], nn.Module] = nn.ReLU, gain: float = 1.0) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            net = stack(2, 32, 2, 5, lambda: nn.Sequential(nn.BatchNorm1d(32), act()))
            for m in net.modules():
                if isinstance(m, nn.BatchNorm1d):
                    nn.init.constant_(m.weight, gain)
            return net

        return build

    sound = classify("batch-norm-5", make(), spirals, lr=5e-3)
    parts = tuple(f"{i}{part}" for i in (1, 3, 5, 7, 9) for part in ("", ".0", ".1"))
    return [
        healthy(sound, "classic"),
        sick("gains-zero", sound, "classic", ("dead", "severed", "bad_init", "vanishing"),
             "Start the gains of the norms at 1.",
             model=make(gain=0.0), where=parts, causes=("norm", "slope")),
        sick("hard-step", sound, "classic", ("dead", "severed", "saturated"), "Use an activation with a slope.",
             model=make(lambda: nn.Hardtanh(-1e-4, 1e-4)), where=parts, causes=("slope",), trap=True),
    ]  # fmt: skip


def _skips() -> list[Stranger]:
    def fix(kind: type[nn.Module]) -> Callable[[], nn.Module]:
        return lambda: blocks(8, 32, 2, 8, lambda: kind(32, 8))

    fixup = classify("fixup-8", fix(Fixup), parity, lr=3e-3, steps=200)
    rezero = classify("rezero-10", lambda: blocks(2, 24, 2, 10, lambda: Rezero(24)), spirals, lr=1e-2, steps=200)
    plus = classify("residual-16", lambda: blocks(8, 24, 2, 16, lambda: Residual(24, 1.0, 0.3)), parity, lr=2e-3)

    def weighed(skip: float, branch: float) -> Callable[[], nn.Module]:
        return lambda: blocks(8, 24, 2, 16, lambda: Residual(24, skip, branch))

    inner = tuple(str(i) for i in range(18))
    short = tuple(str(i) for i in range(12))
    return [
        healthy(fixup, "classic"),
        sick("no-skip", fixup, "classic", ("severed", "bad_init", "dead", "vanishing"),
             "Add the skip around each block.",
             model=fix(FixupNoSkip), where=("1.fc2", "8.fc2", *(f"{i}" for i in range(1, 10)))),
        healthy(rezero, "classic"),
        sick("alpha-item", rezero, "classic", ("severed",), "Multiply by the parameter, not by its number.",
             model=lambda: blocks(2, 24, 2, 10, lambda: RezeroItem(24)), where=short, causes=("other", "skip")),
        healthy(plus, "classic"),
        sick("skip-tenth", plus, "classic", ("vanishing",), "Leave the skip at 1.",
             model=weighed(0.15, 0.1), where=inner, causes=("skip", "mix", "other", "weight")),
        sick("skip-times-8", plus, "classic", ("exploding", "not_finite", "saturated"), "Leave the skip at 1.",
             model=weighed(8.0, 1.0), where=inner, causes=("skip", "mix", "other", "weight")),
    ]  # fmt: skip


def _gates() -> list[Stranger]:
    sound = classify("highway-10", lambda: blocks(8, 24, 2, 10, lambda: Highway(24, -2.0)), parity, lr=5e-3, steps=250)
    return [
        healthy(sound, "classic"),
        sick("carry-lost", sound, "classic", ("vanishing",), "Carry what the gate does not let through.",
             model=lambda: blocks(8, 24, 2, 10, lambda: GateOnly(24, -2.0)), where=tuple(str(i) for i in range(12)),
             causes=("slope", "mix", "skip", "weight")),
        elsewhere("decay-rate", sound, "classic", "Do not halve the rate at every step.", loss=None, train_step=fading),
    ]  # fmt: skip


def fading(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """One step, then the learning rate is halved: meant for epochs, put into the loop over batches."""
    x, y = batch
    loss = finish(F.cross_entropy(model(x), y), optimizer)
    for group in optimizer.param_groups:
        group["lr"] *= 0.5
    return loss


def _wrapped() -> list[Stranger]:
    weighted = regress("weight-norm", lambda: stack(12, 32, 1, 4, nn.Tanh, weight_norm), teacher, lr=5e-3)
    spectral = classify(
        "spectral-norm", lambda: stack(64, 32, 10, 3, nn.LeakyReLU, spectral_norm), flat_digits, lr=1e-2
    )

    def gained(value: float) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            net = stack(12, 32, 1, 4, nn.Tanh, weight_norm)
            for name, p in net.named_parameters():
                if name.endswith("original0"):
                    nn.init.constant_(p, value)
            return net

        return build

    return [
        healthy(weighted, "classic"),
        sick("g-60", weighted, "classic", ("saturated", "bad_init", "exploding"), "Start the lengths near 1.",
             model=gained(60.0), trap=True,
             where=tuple(str(i) for i in range(9)), causes=("weight", "slope")),
        elsewhere("flat-targets", weighted, "classic", "Keep the targets a column.",
                  batches=lambda: [(x, y.squeeze(1)) for x, y in teacher()], skill=weighted.skill),
        healthy(spectral, "classic"),
    ]  # fmt: skip


def _tables() -> list[Stranger]:
    sound = regress("factors", lambda: Factors(0.3), ratings, lr=3e-2, steps=250)
    return [
        healthy(sound, "classic"),
        sick("tables-zero", sound, "classic", ("bad_init", "severed", "dead", "vanishing"),
             "Draw both tables at random.",
             model=lambda: Factors(0.0), where=("users", "items", "")),
    ]  # fmt: skip


def _widths() -> list[Stranger]:
    radial = classify("radial", lambda: Radial(1.0, 0.5), wedges, lr=2e-2, steps=200)
    raw = classify("standardised", lambda: xavier(stack(64, 32, 10, 3, nn.Tanh)), flat_digits, steps=120)
    field = regress("sigmoid-field", lambda: xavier(stack(4, 32, 1, 2, nn.SiLU), 1.4), product, lr=5e-3, steps=200)
    hot = {"batches": raw_digits, "skill": accuracy(raw_digits)}
    return [
        healthy(radial, "classic"),
        sick("centres-far", radial, "classic", ("vanishing", "saturated", "dead", "bad_init"),
             "Place the centres where the data are.",
             model=lambda: Radial(40.0, 0.5), where=("",), causes=("slope", "other", "mix")),
        healthy(raw, "classic"),
        sick("bytes", raw, "classic", ("saturated", "vanishing"), "Standardise the inputs.",
             model=lambda: start(stack(64, 32, 10, 3, nn.Tanh), 1.0),
             where=("0", "1"), causes=("slope", "weight"), trap=True, **hot),
        healthy(field, "classic"),
        elsewhere("batches-constant", field, "classic", "Divide by the deviation of the data, not by a huge number.",
                  batches=lambda: [(x / 1e9, y) for x, y in product()]),
        elsewhere("rate-tiny", field, "classic", "Raise the learning rate.", optimizer=adam(1e-8)),
    ]  # fmt: skip
