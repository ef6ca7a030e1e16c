"""Autoencoders on digits: plain with sigmoid output and cross entropy, and variational."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.program import OptimizerMaker, Program, adam
from benchmarks.truth.task import explained
from torch import Tensor, nn


class Layer(nn.Module):
    """Linear and activation."""

    def __init__(self, inputs: int, outputs: int, act: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.linear(x))
        return y


class Autoencoder(nn.Module):
    """64 - 48 - 32 - 16 - 32 - 48 - 64, the last a sigmoid."""

    def __init__(self, act: Callable[[], nn.Module]) -> None:
        super().__init__()
        sizes = (64, 48, 32, 16, 32, 48)
        self.blocks = nn.ModuleList(Layer(a, b, act) for a, b in itertools.pairwise(sizes))
        self.out = nn.Linear(48, 64)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.out(x).sigmoid()
        return y


class Vae(nn.Module):
    """Encoder to mean and log variance, one sample, decoder; gives (reconstruction logits, mean, log variance)."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU())
        self.mean, self.logvar = nn.Linear(32, 8), nn.Linear(32, 8)
        self.dec = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 48), nn.ReLU(), nn.Linear(48, 64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.enc(x)
        mean, logvar = self.mean(h), self.logvar(h)
        z = mean + torch.randn_like(mean) * (0.5 * logvar).exp() if self.training else mean
        return self.dec(z), mean, logvar


def _xavier(model: nn.Module) -> nn.Module:
    for m in model.modules():
        if isinstance(m, nn.Linear):
            nn.init.xavier_normal_(m.weight, 1.2)
            nn.init.zeros_(m.bias)
    return model


def elbo_loss(out: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
    """Negative evidence lower bound per sample, with a fifth of the divergence (beta 0.2)."""
    logits, mean, logvar = out
    rebuilt = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    return rebuilt + 0.1 * (mean.square() + logvar.exp() - 1 - logvar).sum(1).mean()


def autoencoder(
    act: Callable[[], nn.Module] = nn.Tanh,
    *,
    optimizer: OptimizerMaker | None = None,
    steps: int = 400,
    **others: Any,
) -> Program:
    """A sigmoid output and its binary cross entropy."""
    options: dict[str, Any] = {
        "name": f"autoencoder-{act.__name__.lower()}",
        "steps": steps,
        "model": lambda: _xavier(Autoencoder(act)),
        "batches": data.unit_digits,
        "loss": nn.functional.binary_cross_entropy,
        "optimizer": optimizer or adam(3e-3),
        "skill": explained(data.unit_digits),
        "places": tuple(f"blocks.{i}" for i in range(5)),
        "inputs": "blocks.0.linear",
        "bar": 0.3,
    }
    return Program(**(options | others))


def vae(*, optimizer: OptimizerMaker | None = None, steps: int = 400, **others: Any) -> Program:
    """A variational autoencoder."""
    options: dict[str, Any] = {
        "name": "vae",
        "steps": steps,
        "model": Vae,
        "batches": data.unit_digits,
        "loss": elbo_loss,
        "optimizer": optimizer or adam(6e-3),
        "skill": explained(data.unit_digits, lambda model, x: model(x)[0].sigmoid()),
        "places": ("enc.0", "enc.2", "dec.0", "dec.2", "dec.4"),
        "inputs": "enc.0",
        "bar": 0.25,
    }
    return Program(**(options | others))
