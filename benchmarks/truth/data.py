"""Data of the programs: digits, spirals, parity, teachers, sequences, text; seeded, small, made once."""

from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor

Pairs = list[tuple[Tensor, Tensor]]


def seeded(seed: int) -> torch.Generator:
    """A private generator."""
    return torch.Generator().manual_seed(seed)


def cut(x: Tensor, y: Tensor, size: int, count: int) -> Pairs:
    """`count` batches of `size`, in order; the data are shuffled already."""
    return [(x[i * size : (i + 1) * size], y[i * size : (i + 1) * size]) for i in range(count)]


@cache
def digits() -> tuple[Tensor, Tensor]:
    """1,797 images of 8 x 8 with values 0..16, shuffled; (N, 64) and (N,)."""
    bunch = load_digits()
    x = torch.tensor(bunch.data, dtype=torch.float32)
    y = torch.tensor(bunch.target, dtype=torch.long)
    order = torch.randperm(len(x), generator=seeded(0))
    return x[order], y[order]


def flat_digits(size: int = 64, count: int = 16) -> Pairs:
    """Digits with mean 0 and variance 1 over the whole set."""
    x, y = digits()
    return cut((x - x.mean()) / x.std(), y, size, count)


def raw_digits(size: int = 64, count: int = 16) -> Pairs:
    """Digits as bytes 0..255, not normalised."""
    x, y = digits()
    return cut(x * (255 / 16), y, size, count)


def image_digits(size: int = 64, count: int = 16) -> Pairs:
    """Digits as images (N, 1, 8, 8), normalised."""
    return [(x.view(-1, 1, 8, 8), y) for x, y in flat_digits(size, count)]


def unit_digits(size: int = 64, count: int = 16) -> Pairs:
    """Digits in 0..1, each its own target: for autoencoders."""
    x, _ = digits()
    return cut(x / 16, x / 16, size, count)


@cache
def _spirals() -> tuple[Tensor, Tensor]:
    g = seeded(1)
    y = torch.randint(0, 2, (1024,), generator=g)
    t = torch.rand(1024, generator=g) * 1.5 + 0.15
    angle = t * 4.2 + y * torch.pi
    x = torch.stack([t * angle.cos(), t * angle.sin()], 1) * 1.2
    return x + 0.02 * torch.randn(x.shape, generator=g), y


def spirals(size: int = 64, count: int = 16) -> Pairs:
    """Two spirals of one turn in the plane."""
    return cut(*_spirals(), size, count)


def parity(size: int = 64, count: int = 16, bits: int = 2, width: int = 8) -> Pairs:
    """Sign of the product of `bits` of `width` Gaussian inputs: no linear feature helps."""
    g = seeded(2)
    x = torch.randn(size * count, width, generator=g)
    return cut(x, (x[:, :bits].prod(1) > 0).long(), size, count)


def teacher(size: int = 64, count: int = 16, width: int = 12) -> Pairs:
    """Regression on a random two-layer network of sines, variance 1."""
    g = seeded(3)
    x = torch.randn(size * count, width, generator=g)
    y = torch.sin(x @ torch.randn(width, 6, generator=g) * 0.5) @ torch.randn(6, 1, generator=g)
    return cut(x, (y - y.mean()) / y.std(), size, count)


def first_token(length: int, size: int = 32, count: int = 16, symbols: int = 4) -> Pairs:
    """Sequences (N, T, symbols) of one-hot symbols; the target is the first, the later ones speak softly."""
    g = seeded(4)
    tokens = torch.randint(0, symbols, (size * count, length), generator=g)
    x = torch.nn.functional.one_hot(tokens, symbols).float()
    x[:, 1:] *= 5 / length
    return cut(x, tokens[:, 0], size, count)


def row_digits(size: int = 32, count: int = 16, repeat: int = 1) -> Pairs:
    """Digits read row by row: sequences (N, 8 * repeat, 8), every row `repeat` times."""
    return [(x.view(-1, 8, 8).repeat_interleave(repeat, 1), y) for x, y in flat_digits(size, count)]


def majority(length: int = 16, size: int = 32, count: int = 16, symbols: int = 6) -> Pairs:
    """Token sequences (N, T); the target is 1 where token 1 comes oftener than token 2."""
    g = seeded(5)
    tokens = torch.randint(0, symbols, (size * count, length), generator=g)
    return cut(tokens, ((tokens == 1).sum(1) > (tokens == 2).sum(1)).long(), size, count)


LETTERS = "abcdefghijklmnopqrstuvwxyz .,\n"


@cache
def _text() -> Tensor:
    from pydoc_data.topics import topics  # Python's own help pages

    text = "".join(topics[k] for k in ("assignment", "class", "function", "if", "import", "yield")).lower()
    return torch.tensor([LETTERS.index(c) for c in text if c in LETTERS])


def text(length: int = 32, size: int = 16, count: int = 16) -> Pairs:
    """Characters of Python's help pages and their successors, (N, T) each."""
    all_, g = _text(), seeded(6)
    batches = []
    for _ in range(count):
        starts = torch.randint(0, len(all_) - length - 1, (size,), generator=g)
        x = torch.stack([all_[s : s + length] for s in starts])
        y = torch.stack([all_[s + 1 : s + length + 1] for s in starts])
        batches.append((x, y))
    return batches


def ratings(size: int = 128, count: int = 16, users: int = 60, items: int = 80) -> Pairs:
    """(user, item) pairs (N, 2) and ratings of a rank-3 taste, variance 1."""
    g = seeded(7)
    u, v = torch.randn(users, 3, generator=g), torch.randn(items, 3, generator=g)
    pairs = torch.stack(
        [
            torch.randint(0, users, (size * count,), generator=g),
            torch.randint(0, items, (size * count,), generator=g),
        ],
        1,
    )
    y = (u[pairs[:, 0]] * v[pairs[:, 1]]).sum(1, keepdim=True) / 3**0.5
    return cut(pairs, y, size, count)


def multi_hot(size: int = 64, count: int = 16, width: int = 200) -> Pairs:
    """Inputs with about 3 ones among `width` columns; ten classes by a random sparse table."""
    g = seeded(8)
    x = (torch.rand(size * count, width, generator=g) < 3 / width).float()
    table = torch.randn(width, 10, generator=g)
    return cut(x, (x @ table + 0.01 * torch.randn(len(x), 10, generator=g)).argmax(1), size, count)
