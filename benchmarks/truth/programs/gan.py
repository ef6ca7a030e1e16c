"""A GAN on a ring of Gaussians: two networks, two optimizers, alternating steps."""

from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.program import Program
from benchmarks.truth.task import NO_SKILL
from torch import Tensor, nn
from torch.optim import Optimizer


class Gan(nn.Module):
    """Generator and discriminator in one module, as a script keeps them in one checkpoint."""

    def __init__(self, act: type[nn.Module], depth: int, duo: bool) -> None:
        super().__init__()
        self.gen = _stack(4, 32, 2, depth, act)
        self.disc = _stack(2, 32, 1, depth, nn.LeakyReLU)
        if duo:  # the second optimizer, kept on the module so that a copy of one is a copy of both
            self.disc_optimizer = _rate(self.disc.parameters())

    def forward(self, z: Tensor) -> Tensor:
        y: Tensor = self.gen(z)
        return y


def _rate(parameters: Any) -> Optimizer:
    return torch.optim.Adam(parameters, lr=1e-3, betas=(0.5, 0.9))


def _stack(inputs: int, width: int, outputs: int, depth: int, act: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(inputs, width), act()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), act()]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def ring() -> list[Tensor]:
    """Batches (64, 2) of eight Gaussians on a circle of radius 1."""
    g = data.seeded(10)
    angle = torch.randint(0, 8, (64 * 16,), generator=g) * (torch.pi / 4)
    x = torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * torch.randn(64 * 16, 2, generator=g)
    return list(x.split(64))


def blob() -> list[Tensor]:
    """Batches (64, 2) of one tilted Gaussian away from 0."""
    g = data.seeded(11)
    x = torch.randn(64 * 16, 2, generator=g) @ torch.tensor([[0.5, 0.3], [0.0, 0.4]]) + torch.tensor([1.5, -1.0])
    return list(x.split(64))


def play(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """One step of the discriminator, one of the generator; Adam leaves parameters without gradient alone."""
    gen, disc = model.get_submodule("gen"), model.get_submodule("disc")
    bce = nn.functional.binary_cross_entropy_with_logits
    disc_optimizer = getattr(model, "disc_optimizer", optimizer)
    for p in model.parameters():
        p.grad = None
    fake = gen(torch.randn(len(batch), 4))
    real_out, fake_out = disc(batch), disc(fake.detach())
    loss_d = bce(real_out, torch.ones_like(real_out)) + bce(fake_out, torch.zeros_like(fake_out))
    loss_d.backward()
    disc_optimizer.step()
    for p in model.parameters():
        p.grad = None
    out = disc(gen(torch.randn(len(batch), 4)))
    loss_g = bce(out, torch.ones_like(out))
    loss_g.backward()
    for p in disc.parameters():
        p.grad = None
    optimizer.step()
    return loss_g.detach()


def likeness(batches: Any) -> Any:
    """1 - energy distance of the generator's samples over that of the best single point, the data's mean."""

    def skill(model: nn.Module) -> float:
        real = torch.cat(batches())
        with torch.no_grad():
            fake = model.get_submodule("gen")(torch.randn(1024, 4, generator=data.seeded(12)))
        if not fake.isfinite().all():
            return NO_SKILL
        point = real.mean(0, keepdim=True)
        return max(NO_SKILL, 1 - _energy(real, fake) / _energy(real, point))

    return skill


def _energy(a: Tensor, b: Tensor) -> float:
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


def gan(
    act: type[nn.Module] = nn.ReLU,
    *,
    hard: bool = True,
    depth: int = 2,
    duo: bool = False,
    steps: int = 400,
    **others: Any,
) -> Program:
    """A GAN; `duo` keeps two optimizers, otherwise one Adam passes over gradients that are None."""
    batches = ring if hard else blob

    def both(parameters: Any) -> Optimizer:
        found = list(parameters)
        return _rate(found[: len(found) // 2] if duo else found)

    options: dict[str, Any] = {
        "name": f"gan-{'ring' if hard else 'blob'}-{act.__name__.lower()}" + ("-duo" if duo else ""),
        "steps": steps,
        "model": lambda: Gan(act, depth, duo),
        "batches": batches,
        "loss": None,
        "optimizer": both,
        "train_step": play,
        "skill": likeness(batches),
        "places": ("gen.0", "gen.2", "gen.4", "disc.0", "disc.2"),
    }
    return Program(**(options | others))
