"""Convolutional networks on digits: a plain chain, and one with residual blocks and BatchNorm."""

from collections.abc import Callable
from typing import Any

from benchmarks.truth import data
from benchmarks.truth.program import OptimizerMaker, Program, adam, sgd, spread
from benchmarks.truth.task import accuracy
from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Convolution, perhaps a norm, activation."""

    def __init__(self, channels: int, act: Callable[[], nn.Module], norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels, momentum=0.2) if norm else nn.Identity()
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.conv(x)))
        return y


class ResBlock(nn.Module):
    """x + BN(conv(relu(BN(conv(x))))), then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels, momentum=0.2)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, momentum=0.2)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (x + branch).relu()


class Cnn(nn.Module):
    """A stem, a list of blocks, pooling to 4 x 4 after the stem and to 1 x 1 at the end, a head."""

    def __init__(self, channels: int, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(channels * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.avg_pool2d(self.stem(x), 2)
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(nn.functional.avg_pool2d(x, 2).flatten(1))
        return y


def _he(model: nn.Module) -> nn.Module:
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)
    return model


def cnn(
    depth: int = 6,
    act: Callable[[], nn.Module] = nn.ReLU,
    *,
    norm: bool = False,
    optimizer: OptimizerMaker | None = None,
    steps: int = 150,
    **others: Any,
) -> Program:
    """A plain chain of convolutions."""
    options: dict[str, Any] = {
        "name": f"cnn-{act.__name__.lower()}-{depth}" + ("-norm" if norm else ""),
        "steps": steps,
        "model": lambda: _he(Cnn(12, [ConvBlock(12, act, norm) for _ in range(depth)])),
        "batches": lambda: data.image_digits(48),
        "loss": nn.functional.cross_entropy,
        "optimizer": optimizer or adam(3e-3),
        "skill": accuracy(data.image_digits),
        "places": spread(depth),
        "inputs": "stem",
    }
    return Program(**(options | others))


def resnet(depth: int = 5, *, optimizer: OptimizerMaker | None = None, steps: int = 100, **others: Any) -> Program:
    """Residual blocks with BatchNorm."""
    options: dict[str, Any] = {
        "name": f"resnet-{depth}",
        "steps": steps,
        "model": lambda: _he(Cnn(12, [ResBlock(12) for _ in range(depth)])),
        "batches": lambda: data.image_digits(48),
        "loss": nn.functional.cross_entropy,
        "optimizer": optimizer or sgd(0.05),
        "skill": accuracy(data.image_digits),
        "places": spread(depth),
        "inputs": "stem",
        "chain": False,
    }
    return Program(**(options | others))
