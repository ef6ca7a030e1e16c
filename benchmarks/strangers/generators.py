"""Generators and codes: a GAN, a VAE, a coupling flow, a VQ-VAE, a tied autoencoder, a Gumbel code."""

from itertools import pairwise
from typing import Any

import torch
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, sick
from benchmarks.strangers.step import finish
from benchmarks.truth.data import seeded, unit_digits
from benchmarks.truth.program import Program, adam
from benchmarks.truth.task import NO_SKILL, Skill, explained
from torch import Tensor, nn
from torch.nn import functional as F


def mlp(*sizes: int, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between."""
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


class Gan(nn.Module):
    """Generator and critic of a moved and tilted Gaussian, one module with the critic's own optimizer on it."""

    def __init__(self) -> None:
        super().__init__()
        self.gen, self.disc = mlp(4, 24, 2), mlp(2, 24, 1)
        self.disc_optimizer = torch.optim.Adam(self.disc.parameters(), lr=3e-3, betas=(0.5, 0.9))

    def forward(self, z: Tensor) -> Tensor:
        y: Tensor = self.gen(z)
        return y


class FrozenSample(Gan):
    """Hands out samples for display, without graph, and the loop trains on them."""

    def forward(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            y: Tensor = self.gen(z)
        return y.requires_grad_(True)


def blob() -> list[Tensor]:
    """Batches (64, 2) of a tilted Gaussian around (2, -1)."""
    g = seeded(43)
    x = torch.randn(64 * 16, 2, generator=g) @ torch.tensor([[0.4, 0.2], [0.0, 0.3]]) + torch.tensor([2.0, -1.0])
    return list(x.chunk(16))


def _critic_step(model: nn.Module, batch: Tensor) -> None:
    disc, opt = model.get_submodule("disc"), model.disc_optimizer
    fake = model(torch.randn(len(batch), 4)).detach()
    real_out, fake_out = disc(batch), disc(fake)
    loss = F.binary_cross_entropy_with_logits(real_out, torch.ones_like(real_out))
    loss = loss + F.binary_cross_entropy_with_logits(fake_out, torch.zeros_like(fake_out))
    finish(loss, opt)


def play(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """A step of the critic, then one of the generator, non-saturating."""
    _critic_step(model, batch)
    out = model.get_submodule("disc")(model(torch.randn(len(batch), 4)))
    loss = F.binary_cross_entropy_with_logits(out, torch.ones_like(out))
    return finish(loss, optimizer)


def play_minimax(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """Thirty steps of the critic, and the generator lowers log(1 - D), which is flat where the critic is sure."""
    for _ in range(10):
        _critic_step(model, batch)
    out = model.get_submodule("disc")(model(torch.randn(len(batch), 4)))
    loss = torch.log(1 - torch.sigmoid(out * 30) + 1e-12).mean()
    return finish(loss, optimizer)


def nearness(model: nn.Module) -> float:
    """1 - distance of the samples' mean from the data's, over that of the origin."""
    real = torch.cat(blob()).mean(0)
    with torch.no_grad():
        fake = model.get_submodule("gen")(torch.randn(512, 4, generator=seeded(44)))
    off = (fake.mean(0) - real).norm() / real.norm()
    return max(NO_SKILL, 1 - off.item()) if fake.isfinite().all() else NO_SKILL


class Vae(nn.Module):
    """Encoder to mean and deviation, decoder; 6 latents."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(64, 32, 12), mlp(6, 32, 64)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.encoder(x).chunk(2, -1)
        z = self.sample(mean, log_var) if self.training else mean
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1).mean()
        return torch.sigmoid(self.decoder(z)), kl

    def sample(self, mean: Tensor, log_var: Tensor) -> Tensor:
        return mean + torch.randn_like(mean) * (log_var / 2).exp()


class VaeSampled(Vae):
    """Draws with .sample() where .rsample() was meant."""

    def sample(self, mean: Tensor, log_var: Tensor) -> Tensor:
        z: Tensor = torch.distributions.Normal(mean, (log_var / 2).exp() + 1e-6).sample()  # type: ignore[no-untyped-call]
        return z


def elbo(out: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    """Squared error and a share of the divergence."""
    return F.mse_loss(out[0], y) * 64 + 0.05 * out[1]


def elbo_heavy(out: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    """The divergence is weighed a hundredfold: the code collapses although all gradients flow."""
    return F.mse_loss(out[0], y) * 64 + 30.0 * out[1]


class Flow(nn.Module):
    """Four affine couplings of the plane; gives log p(x)."""

    def __init__(self, bounded: bool, std: float = 0.0) -> None:
        super().__init__()
        self.nets = nn.ModuleList(mlp(1, 24, 2, act=nn.Tanh) for _ in range(4))
        for net in self.nets:
            assert isinstance(net, nn.Sequential)
            last = net[-1]
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.weight, std=std) if std else nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.bounded = bounded

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        log_det = torch.zeros_like(a)
        for net in self.nets:
            log_s, t = net(a).chunk(2, -1)
            log_s = torch.tanh(log_s) * 2 if self.bounded else log_s
            a, b = b * log_s.exp() + t, a
            log_det = log_det + log_s
        z = torch.cat([a, b], -1)
        return (-0.5 * z.square().sum(-1, keepdim=True) + log_det).mean()


def likelihood(out: Tensor, _: Tensor) -> Tensor:
    """Negative log likelihood but for a constant."""
    return -out


def fitted(model: nn.Module) -> float:
    """Share of the gap in log likelihood between the standard normal and the data's own Gaussian that is closed."""
    x = torch.cat(blob())
    with torch.no_grad():
        found = model(x).item()
    base = -0.5 * x.square().sum(1).mean().item()
    best = -1.0 - 0.5 * torch.logdet(torch.cov(x.T)).item()
    return max(NO_SKILL, (found - base) / (best - base)) if found == found else NO_SKILL


class Code(nn.Module):
    """A VQ-VAE of eight codes of 4 numbers each, gradients passed straight through."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(64, 32, 16), mlp(16, 32, 64)
        self.book = nn.Parameter(torch.randn(24, 4) * 0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x).view(len(x), 4, 4)
        near = self.book[(z.unsqueeze(2) - self.book).square().sum(-1).argmin(-1)]
        extra = (near - z.detach()).square().mean() + self.commit(near, z)
        return torch.sigmoid(self.decoder(self.hand_over(z, near).flatten(1))), extra

    def commit(self, near: Tensor, z: Tensor) -> Tensor:
        return 0.25 * (near.detach() - z).square().mean()

    def hand_over(self, z: Tensor, near: Tensor) -> Tensor:
        return z + (near - z).detach()


class CodeCut(Code):
    """The straight-through line and the commitment are missing: argmin lets nothing back."""

    def commit(self, near: Tensor, z: Tensor) -> Tensor:
        return (near * 0).sum()

    def hand_over(self, z: Tensor, near: Tensor) -> Tensor:
        return near


def coded(out: tuple[Tensor, Tensor], y: Tensor) -> Tensor:
    """Squared error and the code's terms."""
    return F.mse_loss(out[0], y) * 16 + out[1]


class Tied(nn.Module):
    """An autoencoder whose decoder is the encoder's transpose."""

    def __init__(self, low: float = -9.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 16) * 0.15)
        self.bias = nn.Parameter(torch.full((64,), bias))
        self.low = low

    def forward(self, x: Tensor) -> Tensor:
        return (torch.tanh(x @ self.weight) @ self.weight.T + self.bias).clamp(self.low, 1.5)


class Gumbel(nn.Module):
    """An autoencoder through eight symbols of eight kinds, by the Gumbel softmax."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.encoder, self.decoder = mlp(64, 48, 64), nn.Linear(64, 64)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        scores = self.encoder(x).view(-1, 8, 8)
        soft = F.gumbel_softmax(scores, tau=self.temperature) if self.training else torch.softmax(scores, -1)
        y: Tensor = torch.sigmoid(self.decoder(soft.flatten(1)))
        return y


def strangers() -> list[Stranger]:
    """Every generator as it is and with its faults."""
    return [*_gan(), *_vae(), *_flow(), *_codes()]


def _gan() -> list[Stranger]:
    sound = Program(
        name="gan-blob", steps=300, model=Gan, batches=blob, loss=None, train_step=play, skill=nearness, places=(),
        optimizer=lambda ps: torch.optim.Adam(list(ps)[:4], lr=3e-3, betas=(0.5, 0.9)), bar=0.6,
    )  # fmt: skip
    return [
        healthy(sound, "classic"),
        sick("samples-frozen", sound, "classic", ("severed",), "Generate with the graph in the generator's step.",
             model=FrozenSample, where=("gen", ""), causes=("other",)),
        sick("minimax", sound, "classic", ("saturated", "vanishing"), "Raise log D instead of lowering log(1 - D).",
             train_step=play_minimax, where=("", "disc", "gen", "disc.2", "gen.2"), causes=("loss", "slope")),
    ]  # fmt: skip


def _auto(name: str, model: Any, loss: Any, **others: Any) -> Program:
    skill: Skill = explained(unit_digits)
    return classify(
        name, model, unit_digits, loss=loss, skill=skill, **({"bar": 0.3, "lr": 5e-3, "steps": 200} | others)
    )


def _vae() -> list[Stranger]:
    sound = _auto("vae-6", Vae, elbo)
    return [
        healthy(sound, "classic"),
        sick("sample-not-rsample", sound, "classic", ("severed",), "Draw with rsample().", model=VaeSampled,
             where=("", "encoder", "encoder.0", "encoder.2"), causes=("other",)),
        elsewhere("divergence-heavy", sound, "classic", "Weigh the divergence by 0.05.", loss=elbo_heavy),
    ]  # fmt: skip


def _flow() -> list[Stranger]:
    sound = Program(
        name="coupling-flow", steps=200, model=lambda: Flow(True), batches=lambda: [(x, x) for x in blob()],
        loss=likelihood, optimizer=adam(1e-2), skill=fitted, places=(),
    )  # fmt: skip
    return [
        healthy(sound, "today"),
        sick("scales-unbounded", sound, "today", ("not_finite", "exploding"), "Bound the log scales by tanh.",
             model=lambda: Flow(False, 12.0), where=("", "nets", "nets.*"), causes=("weight", "other", "mix", "slope")),
    ]  # fmt: skip


def _codes() -> list[Stranger]:
    code = _auto("vq-vae", Code, coded, steps=400, bar=0.25)
    tied = _auto("tied-autoencoder", Tied, F.mse_loss)
    gumbel = _auto("gumbel-code", lambda: Gumbel(1.0), F.mse_loss, lr=1e-2, steps=300)
    return [
        healthy(code, "today"),
        sick("argmin-only", code, "today", ("severed",), "Pass the gradient straight through and commit the encoder.",
             model=CodeCut, where=("", "encoder", "encoder.0", "encoder.2"), causes=("other",)),
        healthy(tied, "classic"),
        sick("clamped", tied, "classic", ("dead", "saturated", "severed"), "Start the bias inside the clamp.",
             model=lambda: Tied(0.0, -8.0), where=("",), causes=("slope",)),
        healthy(gumbel, "today"),
        sick("temperature-1e-3", gumbel, "today", ("saturated", "vanishing"), "Start at a temperature near 1.",
             model=lambda: Gumbel(1e-4), where=("", "encoder"), causes=("slope",), trap=True),
    ]  # fmt: skip
