"""A U-Net that finds the ink in a noisy digit: down, up, a long skip."""

from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.program import Program, adam
from benchmarks.truth.task import in_both_modes
from torch import Tensor, nn


class UNet(nn.Module):
    """8 x 8 to 4 x 4 to 2 x 2 and back, concatenating on the way."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.down1, self.down2 = _conv(1, 8, norm), _conv(8, 12, norm)
        self.middle = _conv(12, 16, norm)
        self.up2, self.up1 = _conv(28, 12, norm), _conv(20, 8, norm)
        self.out = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(nn.functional.max_pool2d(a, 2))
        c = self.middle(nn.functional.max_pool2d(b, 2))
        b = self.up2(torch.cat([nn.functional.interpolate(c, scale_factor=2.0), b], 1))
        a = self.up1(torch.cat([nn.functional.interpolate(b, scale_factor=2.0), a], 1))
        y: Tensor = self.out(a)
        return y


def _conv(inputs: int, outputs: int, norm: bool) -> nn.Sequential:
    middle = nn.BatchNorm2d(outputs, momentum=0.2) if norm else nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), middle, nn.ReLU())


def masks() -> data.Pairs:
    """Noisy images (N, 1, 8, 8) and their ink, 0 or 1."""
    g = data.seeded(18)
    batches = []
    for x, _ in data.unit_digits(32):
        image = x.view(-1, 1, 8, 8)
        batches.append((image + 0.4 * torch.randn(image.shape, generator=g), (image > 0.4).float()))
    return batches


def _overlap(model: nn.Module) -> float:
    right = sum(((model(x) > 0) == (y > 0.5)).double().mean().item() for x, y in masks()) / 16
    most = sum(1 - y.double().mean().item() for _, y in masks()) / 16
    return (right - most) / (1 - most)


def unet(*, norm: bool = True, steps: int = 150, **others: Any) -> Program:
    """Segmentation with binary cross entropy."""
    options: dict[str, Any] = {
        "name": "unet" + ("" if norm else "-plain"),
        "steps": steps,
        "model": lambda: UNet(norm),
        "batches": masks,
        "loss": nn.functional.binary_cross_entropy_with_logits,
        "optimizer": adam(4e-3),
        "skill": in_both_modes(_overlap),
        "places": ("down1", "down2", "middle", "up2", "up1"),
        "inputs": "down1.0",
        "chain": False,
    }
    return Program(**(options | others))
