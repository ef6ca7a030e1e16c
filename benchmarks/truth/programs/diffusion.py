"""A small diffusion model: predict the noise in a spiral's points from the noisy points and the time."""

from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.program import Program, adam
from benchmarks.truth.task import explained
from torch import Tensor, nn


class Denoiser(nn.Module):
    """Time features added after every layer."""

    def __init__(self, depth: int = 4) -> None:
        super().__init__()
        self.enter = nn.Linear(2, 48)
        self.clock = nn.Linear(8, 48)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(48, 48), nn.SiLU()) for _ in range(depth))
        self.out = nn.Linear(48, 2)

    def forward(self, noisy: Tensor) -> Tensor:
        t = noisy[:, 2:]
        freq = torch.arange(1, 5) * torch.pi
        h = self.enter(noisy[:, :2]) + self.clock(torch.cat([(t * freq).sin(), (t * freq).cos()], 1))
        for block in self.blocks:
            h = h + block(h)
        y: Tensor = self.out(h)
        return y


def noised() -> data.Pairs:
    """(x_t, t) beside each other (N, 3), and the noise (N, 2)."""
    g = data.seeded(15)
    batches = []
    for x, _ in data.spirals(96, 10):
        t = torch.rand(len(x), 1, generator=g)
        noise = torch.randn(x.shape, generator=g)
        level = (t * torch.pi / 2).cos()
        batches.append((torch.cat([level * x + (1 - level**2).sqrt() * noise, t], 1), noise))
    return batches


def diffusion(*, steps: int = 300, **others: Any) -> Program:
    """Noise prediction with mean squared error."""
    options: dict[str, Any] = {
        "name": "diffusion",
        "steps": steps,
        "model": Denoiser,
        "batches": noised,
        "loss": nn.functional.mse_loss,
        "optimizer": adam(2e-3),
        "skill": explained(noised),
        "places": ("blocks.0", "blocks.1", "blocks.2", "blocks.3", "out"),
        "inputs": "enter",
        "chain": False,
        "bar": 0.4,
    }
    return Program(**(options | others))
