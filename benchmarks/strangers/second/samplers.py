"""Generators of today and before: flow matching, denoising in the plane, masked autoencoding, MADE, codes, WGAN-GP."""

from typing import Any

import torch
from benchmarks.strangers.record import Stranger, elsewhere, healthy, regress, sick
from benchmarks.strangers.second.parts import Block, mlp, scheduled_step, step_on
from benchmarks.strangers.spoil import shut
from benchmarks.strangers.step import finish
from benchmarks.truth.data import Pairs, cut, digits, seeded, unit_digits
from benchmarks.truth.program import Program, adam
from benchmarks.truth.task import NO_SKILL, bits
from torch import Tensor, nn
from torch.nn import functional as F


def moons(count: int = 1024, seed: int = 131) -> Tensor:
    """Two half circles (N, 2), mean about 0."""
    g = seeded(seed)
    side = torch.randint(0, 2, (count,), generator=g)
    t = torch.rand(count, generator=g) * torch.pi
    x = torch.stack([torch.cos(t) * (1 - 2 * side) + side - 0.5, torch.sin(t) * (1 - 2 * side) + side * 0.3 - 0.1], 1)
    return (x + 0.05 * torch.randn(count, 2, generator=g)) * 1.4


def paths() -> Pairs:
    """Flow matching, drawn once: a point on the way with its time (N, 3), and the velocity."""
    g = seeded(132)
    data = moons(4096)
    noise, t = torch.randn(4096, 2, generator=g), torch.rand(4096, 1, generator=g)
    return cut(torch.cat([(1 - t) * noise + t * data, t], 1), data - noise, 128, 32)


class Velocity(nn.Module):
    """A point and the waves of its time."""

    def __init__(self, width: int = 48, time: float = 1.0, act: type[nn.Module] = nn.SiLU) -> None:
        super().__init__()
        self.net, self.time = mlp(10, width, width, width, 2, act=act), time

    def forward(self, x: Tensor) -> Tensor:
        t = self.time * x[:, 2:]
        waves = [f(k * torch.pi * t) for k in (0.5, 1, 2, 4) for f in (torch.sin, torch.cos)]
        y: Tensor = self.net(torch.cat([x[:, :2], *waves], 1))
        return y


class Rounded(Velocity):
    """Points are snapped to whole numbers for a cache of embeddings, times too; the output is a table's entry."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.linspace(-2, 2, 9))

    def forward(self, x: Tensor) -> Tensor:
        at = (super().forward(x) * 2 + 4).round().long().clamp(0, 8)
        return self.table[at]


def coupled_to_others(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Velocities of other pairs: noise and data are drawn again for the target."""
    return x, y[torch.randperm(len(y))]


def denoisings() -> Pairs:
    """Points noised at one of 20 levels (N, 3) and the noise, drawn once."""
    g = seeded(133)
    level = torch.randint(1, 21, (4096, 1), generator=g) / 20
    keep = torch.cos(level * torch.pi / 2 * 0.95)
    noise = torch.randn(4096, 2, generator=g)
    return cut(torch.cat([keep * moons(4096) + (1 - keep**2).sqrt() * noise, level], 1), noise, 128, 32)


def noise_of_one_level(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The level that is told is that of another point, and so is its noise's sign."""
    return torch.cat([x[:, :2], x[:, 2:].flip(0)], 1), y * torch.where(x[:, 2:].flip(0) > 0.5, 1.0, -1.0)


class Masked(nn.Module):
    """Sixteen patches of a digit, of which most are seen; the others are told from them by a light decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.place = nn.Linear(4, 32), nn.Parameter(0.5 * torch.randn(16, 32))
        self.encoder, self.decoder = Block(32), Block(32)
        self.hidden, self.out = nn.Parameter(torch.zeros(32)), nn.Linear(32, 4)

    def forward(self, both: Tensor) -> Tensor:
        x, seen = both[:, :64].view(-1, 16, 4), both[:, 64:].unsqueeze(-1)
        h = (self.enter(x) + self.place) * seen
        h = self.encoder(h) * seen
        h = h + (1 - seen) * self.hidden + self.place.detach()
        y: Tensor = self.out(self.decoder(h)).flatten(1)
        return y * (1 - seen).expand(-1, -1, 4).flatten(1)


def half_seen() -> Pairs:
    """Digits as patches with a mask (N, 80) and the hidden patches, 0 where they are seen."""
    x, _ = digits()
    x = ((x / 16).view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4) - 0.3) * 2.5
    order = torch.rand(len(x), 16, generator=seeded(134)).argsort(1)
    seen = (order < 10).float()
    y = (x * (1 - seen).unsqueeze(-1)).flatten(1)
    return cut(torch.cat([x.flatten(1), seen], 1), y, 64, 24)


class MaskedLinear(nn.Linear):
    """A linear layer under a mask."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class Made(nn.Module):
    """The probability of each of eight bits from those before it; the order of the outer mask may be wrong."""

    def __init__(self, blind: bool = False, width: int = 48) -> None:
        super().__init__()
        place, unit = torch.arange(8), torch.arange(width) % 7
        first, last = (unit[:, None] >= place).float(), (place[:, None] > unit).float()
        self.net = nn.Sequential(MaskedLinear(first), nn.GELU(), MaskedLinear(last * (0 if blind else 1)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return torch.stack([-out, out], -1)


def codes_of_bits() -> Pairs:
    """Eight bits (N, 8), the odd ones the exclusive or of the two before; and the same as targets."""
    x = torch.randint(0, 2, (1024, 8), generator=seeded(135))
    for i in range(2, 8):
        x[:, i] = x[:, i - 1] ^ x[:, i - 2]
    return cut(x.float() * 2 - 1, x, 64, 16)


def flat_cross(out: Tensor, y: Tensor) -> Tensor:
    """Cross entropy over all bits."""
    return F.cross_entropy(out.flatten(0, 1), y.flatten())


def shifted_bits(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The targets are those of the place after."""
    return x, y.roll(1, 1)


class Finite(nn.Module):
    """An autoencoder with finite scalar quantisation: five levels for each of eight numbers, straight through."""

    def __init__(self, straight: bool = True, width: int = 8) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(64, 48, width), mlp(width, 48, 64)
        self.straight = straight

    def forward(self, x: Tensor) -> Tensor:
        z = 2 * torch.tanh(self.encoder(x))
        hard = z.round()
        y: Tensor = self.decoder(z + (hard - z).detach() if self.straight else hard)
        return y


class Sparse(nn.Module):
    """A sparse autoencoder: 6 of 128 codes stay, the columns of the decoder have length 1."""

    def __init__(self, stay: int = 6) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 128), nn.Parameter(torch.randn(128, 64) / 8)
        self.start, self.stay = nn.Parameter(torch.zeros(64)), stay

    def forward(self, x: Tensor) -> Tensor:
        codes = torch.relu(self.encoder(x - self.start))
        best, at = codes.topk(self.stay, -1)
        kept = torch.zeros_like(codes).scatter(1, at, best)
        return kept @ F.normalize(self.decoder, dim=-1) + self.start


class SparseShut(Sparse):
    """The encoder's bias was set to the mean activation with its sign turned, in other units."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.encoder.bias, -30.0)


def unlike(out: Tensor, y: Tensor) -> Tensor:
    """The likeness of output and target, which is lowered as if it were a distance."""
    return F.cosine_similarity(out, y).mean()


class Wasserstein(nn.Module):
    """Generator, critic, and the critic's optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.gen, self.critic = mlp(4, 32, 32, 2, act=nn.ReLU), mlp(2, 32, 32, 1)
        self.other = torch.optim.Adam(self.critic.parameters(), lr=5e-3, betas=(0.5, 0.9))

    def forward(self, z: Tensor) -> Tensor:
        y: Tensor = self.gen(z)
        return y


class WassersteinCopy(Wasserstein):
    """Samples leave as a fresh Parameter."""

    def forward(self, z: Tensor) -> Tensor:
        return nn.Parameter(self.gen(z).data)


def ring() -> list[Tensor]:
    """Batches of the moons, moved to (3, -2)."""
    return list((0.5 * moons() + torch.tensor([3.0, -2.0])).split(64))


def duel(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Two steps of the critic with the penalty of the gradient, one of the generator."""
    assert isinstance(model, Wasserstein)
    for _ in range(2):
        fake = model(torch.randn(len(batch), 4)).detach()
        mix = torch.rand(len(batch), 1)
        between = (mix * batch + (1 - mix) * fake).requires_grad_()
        slope = torch.autograd.grad(model.critic(between).sum(), between, create_graph=True)[0]
        penalty = (slope.norm(dim=1) - 1).square().mean()
        finish(model.critic(fake).mean() - model.critic(batch).mean() + 5 * penalty, model.other)
    return finish(-model.critic(model(torch.randn(len(batch), 4))).mean(), optimizer)


def duel_centred(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The data are centred for the critic, and nobody moves the samples back."""
    return duel(model, batch - torch.tensor([3.0, -2.0]), optimizer)


def closeness(model: nn.Module) -> float:
    """1 - distance of the means over that of a fresh generator, which is about the data's distance from 0."""
    real = torch.cat(ring()).mean(0)
    with torch.no_grad():
        fake = model.get_submodule("gen")(torch.randn(512, 4, generator=seeded(136)))
    if not fake.isfinite().all():
        return NO_SKILL
    return max(NO_SKILL, 1 - ((fake.mean(0) - real).norm() / real.norm()).item())


class Denoising(nn.Module):
    """A deep autoencoder of sigmoids or others, narrow in the middle."""

    def __init__(self, act: type[nn.Module] = nn.ELU, dropout: float = 0.0, middle: int = 12) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(64, 48, 32, middle, act=act), mlp(middle, 32, 48, 64, act=act)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        noisy = x + 0.1 * torch.randn_like(x) if self.training else x
        y: Tensor = self.decoder(self.drop(self.encoder(noisy)))
        return y


class Squashed(Denoising):
    """Sigmoids between all layers, started from N(0, 0.02)."""

    def __init__(self) -> None:
        super().__init__(nn.Sigmoid)
        for p in self.parameters():
            nn.init.normal_(p, std=0.02)


def strangers() -> list[Stranger]:
    """Every generator as it is and with its faults."""
    return [*_fields(), *_predictors(), *_codes()]


def _fields() -> list[Stranger]:
    flow = regress("flow-matching", Velocity, paths, steps=300, bar=0.2)
    noise = regress("plane-denoiser", Velocity, denoisings, steps=300, bar=0.3)
    return [
        healthy(flow, "today"),
        sick("velocities-from-a-table", flow, "today", ("severed",), "Give the velocity as the net says it.",
             model=Rounded, where=("", "net", "net.*"), causes=("other",)),
        sick("units-shut", flow, "today", ("dead",), "Start with biases of 0.",
             model=lambda: shut(Velocity(act=nn.ReLU), -25.0, "net.0", "net.2", "net.4"), where=("", "net", "net.*"),
             causes=("slope", "weight")),
        elsewhere("other-pairs", flow, "today", "Take the velocity of the pair on whose way the point lies.",
                  train_step=step_on(F.mse_loss, coupled_to_others)),
        healthy(noise, "today"),
        sick("net-times-1e-4", noise, "today", ("bad_init", "vanishing"), "Start with the usual sizes.",
             model=_small, optimizer=lambda p: torch.optim.SGD(p, lr=0.05), where=("", "net", "net.*")),
        elsewhere("noise-of-another-sign", noise, "today", "Tell each point its own level and noise.",
                  train_step=step_on(F.mse_loss, noise_of_one_level)),
        elsewhere("warms-up-for-ever", noise, "today", "Let the warm-up take a tenth of the run.",
                  train_step=scheduled_step(F.mse_loss, lambda i: 3e-3 * i / 3e7)),
    ]  # fmt: skip


def _small() -> nn.Module:
    model = Velocity()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1e-3)
    return model


def _predictors() -> list[Stranger]:
    masked = regress("masked-patches", Masked, half_seen, steps=250, bar=0.3)
    made = regress("bit-by-bit", Made, codes_of_bits, lr=1e-2, loss=flat_cross, steps=250,
                   skill=bits(codes_of_bits))  # fmt: skip
    return [
        healthy(masked, "today"),
        elsewhere("hidden-inverted", masked, "today", "Invert what is seen too, or nothing.",
                  train_step=step_on(F.mse_loss, lambda x, y: (x, -y))),
        healthy(made, "classic"),
        sick("masks-empty", made, "classic", ("severed", "dead", "vanishing"),
             "Let the outer mask pass what comes before.",
             model=lambda: Made(True), where=("", "net", "net.0", "net.2"), causes=("other",)),
        elsewhere("bits-shifted", made, "classic", "Tell each bit, not its neighbour.",
                  train_step=step_on(flat_cross, shifted_bits)),
    ]  # fmt: skip


def _codes() -> list[Stranger]:
    finite = regress("finite-codes", Finite, unit_digits, lr=5e-3, steps=300, bar=0.4)
    sparse = regress("sparse-codes", Sparse, unit_digits, lr=5e-3, steps=250)
    deep = regress("noisy-digits", Denoising, unit_digits, lr=3e-3, steps=300)
    duels = Program(name="wasserstein", steps=200, model=Wasserstein, batches=ring, loss=None, train_step=duel,
                    optimizer=adam(3e-3, betas=(0.5, 0.9)), skill=closeness, places=())  # fmt: skip
    return [
        healthy(finite, "today"),
        sick("round-alone", finite, "today", ("severed",), "Pass the gradient straight through the rounding.",
             model=lambda: Finite(False), where=("", "encoder", "encoder.0", "encoder.2"), causes=("other",)),
        healthy(sparse, "today"),
        sick("codes-shut", sparse, "today", ("dead",), "Start with a bias of 0.", model=SparseShut,
             where=("", "encoder"), causes=("slope", "weight")),
        elsewhere("pixels-in-other-order", sparse, "today", "Ask for the pixels in the order they come in.",
                  train_step=step_on(F.mse_loss, lambda x, y: (x, y.flip(1)))),
        healthy(deep, "classic"),
        sick("sigmoids-of-0.02", deep, "classic", ("vanishing",), "Use ELUs and the usual start.", model=Squashed,
             where=("", "encoder", "encoder.*", "decoder",
             "decoder.*"), causes=("weight", "slope")),
        elsewhere("dropout-0.97", deep, "classic", "Drop a tenth.", model=lambda: Denoising(dropout=0.98)),
        elsewhere("middle-of-1", deep, "classic", "Leave a dozen units in the middle.",
                  model=lambda: Denoising(middle=1)),
        elsewhere("likeness-lowered", deep, "classic", "Raise the likeness.", loss=unlike),
        healthy(duels, "classic"),
        sick("samples-as-parameter", duels, "classic", ("severed",), "Train on the samples themselves.",
             model=WassersteinCopy, where=("", "gen", "gen.*"), causes=("other",)),
        elsewhere("centred-for-the-critic", duels, "classic", "Leave the data where they are.",
                  train_step=duel_centred),
    ]  # fmt: skip
