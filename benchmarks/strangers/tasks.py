"""Tasks of the strangers: sequences to remember, sets, signals, graphs; seeded and small."""

import torch
from benchmarks.truth.data import Pairs, cut, flat_digits, seeded
from torch import Tensor, nn


def token_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Cross entropy over all positions whose target is not negative."""
    return nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-100)


def copy_back(back: int = 2, length: int = 16, size: int = 32, count: int = 16, symbols: int = 8) -> Pairs:
    """Tokens (N, T); the target of a position is the token `back` earlier, of the first ones nothing."""
    x = torch.randint(0, symbols, (size * count, length), generator=seeded(31))
    y = torch.full_like(x, -100)
    y[:, back:] = x[:, :-back]
    return cut(x, y, size, count)


def needle(length: int = 10, size: int = 32, count: int = 16) -> Pairs:
    """Vectors (N, T, 4), one of them flagged in channel 0; the target is the sign of its channels 1 times 2."""
    g = seeded(32)
    x = torch.randn(size * count, length, 4, generator=g)
    spot = torch.randint(0, length, (size * count,), generator=g)
    x[:, :, 0] = nn.functional.one_hot(spot, length) * 2.0
    found = x[torch.arange(len(x)), spot]
    return cut(x, (found[:, 1] * found[:, 2] > 0).long(), size, count)


def modular(base: int = 7, size: int = 32, count: int = 16) -> Pairs:
    """Two tokens (N, 2); the target is their sum modulo `base`."""
    x = torch.randint(0, base, (size * count, 2), generator=seeded(33))
    return cut(x, x.sum(1) % base, size, count)


def first_sign(length: int = 32, size: int = 32, count: int = 16) -> Pairs:
    """Noise (N, T, 2) whose first step carries one of four signs pairs, which is the target."""
    g = seeded(34)
    x = 0.3 * torch.randn(size * count, length, 2, generator=g)
    y = torch.randint(0, 4, (size * count,), generator=g)
    x[:, 0] = torch.stack([(y // 2) * 2.0 - 1, (y % 2) * 2.0 - 1], 1)
    return cut(x, y, size, count)


def adding(length: int = 20, size: int = 32, count: int = 16) -> Pairs:
    """The adding problem: numbers and marks (N, T, 2), the target is the sum of the two marked numbers."""
    g = seeded(35)
    x = torch.rand(size * count, length, 2, generator=g) - 0.5
    x[:, :, 1] = 0
    half = length // 2
    rows = torch.arange(len(x))
    a = torch.randint(0, half, (len(x),), generator=g)
    b = torch.randint(half, length, (len(x),), generator=g)
    x[rows, a, 1] = x[rows, b, 1] = 1
    y = (x[rows, a, 0] + x[rows, b, 0]).unsqueeze(1) * 2.4
    return cut(x, y, size, count)


def spread_of_set(members: int = 8, size: int = 32, count: int = 16) -> Pairs:
    """Sets (N, members, 3); the target is the spread of their second channel, variance about 1."""
    x = torch.randn(size * count, members, 3, generator=seeded(36))
    y = x[:, :, 1].std(1, keepdim=True)
    return cut(x, (y - y.mean()) / y.std(), size, count)


def wave(size: int = 64, count: int = 8) -> Pairs:
    """Points of -1..1 and a signal of three frequencies."""
    x = torch.rand(size * count, 1, generator=seeded(37)) * 2 - 1
    y = torch.sin(12 * x) + 0.5 * torch.cos(21 * x) * x + 0.5 * torch.sin(5 * x)
    return cut(x, (y - y.mean()) / y.std(), size, count)


def product(size: int = 64, count: int = 16, width: int = 4) -> Pairs:
    """Regression on a product and a square, variance 1: no linear model helps."""
    x = torch.rand(size * count, width, generator=seeded(38)) * 2 - 1
    y = (x[:, :1] * x[:, 1:2]) * 2 + x[:, 2:3].square()
    return cut(x, (y - y.mean()) / y.std(), size, count)


def patches(size: int = 32, count: int = 16) -> Pairs:
    """Digits as 16 patches of 2 x 2: (N, 16, 4)."""
    return [(x.view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4), y) for x, y in flat_digits(size, count)]


def wedges(size: int = 64, count: int = 16) -> Pairs:
    """Points of the plane; two classes by the sine of radius times 4 and of the angle times 2."""
    x = torch.randn(size * count, 2, generator=seeded(39))
    angle = torch.atan2(x[:, 1], x[:, 0])
    return cut(x, (torch.sin(4 * x.norm(dim=1) + 2 * angle) > 0).long(), size, count)


def shuffled(pairs: Pairs) -> Pairs:
    """The targets of each batch in another order than its inputs."""
    g = seeded(40)
    return [(x, y[torch.randperm(len(y), generator=g)]) for x, y in pairs]
