"""Networks of the residual experiment: textbook residual blocks without norms, and small networks for pictures."""

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fadeout.lab.nets import Residual, he, plain


class Stack(nn.Module):
    """A linear layer, blocks one behind another, a linear head."""

    def __init__(self, blocks: Iterable[nn.Module], *, width: int, features: int, classes: int = 10) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Linear(features, width), nn.ModuleList(blocks)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(x)
        return out


class ReZero(nn.Module):
    """x + a relu(W x), a = 0 at the start.  Bachlechner et al. 2020, 2003.04887."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer, self.a = nn.Linear(width, width), nn.Parameter(torch.zeros(()))
        he(self.layer)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.a * F.relu(self.layer(x))


class SkipInit(nn.Module):
    """x + a W relu(V relu(x)), a = 0 at the start.  De and Smith 2020, 2002.10444."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.a = nn.Parameter(torch.zeros(()))
        he(self.first)
        he(self.second)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.a * self.second(F.relu(self.first(F.relu(x))))
        return out


class Fixup(nn.Module):
    """relu(x + branch) without any norm; of the branch's two layers the second starts at zero.

    The first starts as He et al. draw it, times blocks^(-1/2): the paper's L^(-1/(2m - 2)) for m = 2 layers in a
    branch.  A scalar bias stands before each layer and each activation, a scalar factor behind the branch.
    Zhang et al. 2019, 1901.09321.
    """

    def __init__(self, width: int, *, blocks: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        nn.init.normal_(self.first.weight, std=math.sqrt(2.0 / width / blocks))
        nn.init.zeros_(self.second.weight)
        self.biases, self.factor = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d = self.biases
        inner = F.relu(self.first(x + a) + b)
        return F.relu(x + self.factor * self.second(inner + c) + d)


def rezero(layers: int, *, width: int, features: int) -> Stack:
    return Stack((ReZero(width) for _ in range(layers)), width=width, features=features)


def skip_init(layers: int, *, width: int, features: int) -> Stack:
    return Stack((SkipInit(width) for _ in range(layers // 2)), width=width, features=features)


def fixup(layers: int, *, width: int, features: int) -> Stack:
    """With the head at zero too, as the paper has it."""
    blocks = layers // 2
    net = Stack((Fixup(width, blocks=blocks) for _ in range(blocks)), width=width, features=features)
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    return net


PLAIN, DRAWN, SCALED = "plain", "residual, as drawn", "residual, small branches"
FIXUP, SKIP, REZERO = "Fixup", "SkipInit", "ReZero"
WIDTH = 32
LINEAR: dict[str, Callable[[int, int], nn.Module]] = {
    PLAIN: lambda layers, features: plain(nn.ReLU, layers, width=WIDTH, start=he, features=features),
    DRAWN: lambda layers, features: Residual(layers, width=WIDTH, features=features),
    SCALED: lambda layers, features: Residual(layers, width=WIDTH, scale=(2.0 * layers) ** -0.5, features=features),
    FIXUP: lambda layers, features: fixup(layers, width=WIDTH, features=features),
    SKIP: lambda layers, features: skip_init(layers, width=WIDTH, features=features),
    REZERO: lambda layers, features: rezero(layers, width=WIDTH, features=features),
}


class Pair(nn.Module):
    """Two convolutions, each behind a batch norm and a ReLU; with or without a way around them.

    Args:
        skip: Add what came in.  Where the branch halves the picture and doubles the channels, the way around takes
            every second pixel and channels of zeros (option A of He et al. 2015).
    """

    def __init__(self, inward: int, outward: int, *, skip: bool) -> None:
        super().__init__()
        self.stride, self.more, self.skip = 1 + (inward != outward), outward - inward, skip
        self.branch = nn.Sequential(
            nn.BatchNorm2d(inward),
            nn.ReLU(),
            nn.Conv2d(inward, outward, 3, self.stride, 1, bias=False),
            nn.BatchNorm2d(outward),
            nn.ReLU(),
            nn.Conv2d(outward, outward, 3, 1, 1, bias=False),
        )

    @property
    def keeps_shape(self) -> bool:
        return self.more == 0

    def around(self, x: Tensor) -> Tensor:
        if self.keeps_shape:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.branch(x)
        return out + self.around(x) if self.skip else out


class Pictures(nn.Module):
    """The family of He et al. 2015, section 4.2, in miniature: 3 stages of `pairs` pairs, 6 pairs + 2 layers.

    The norm and the activation stand before each convolution (He et al. 2016, 1603.05027), so that nothing follows
    the addition and every path from the loss to the data is a choice of branch or way around at every pair.
    """

    def __init__(self, pairs: int, *, skip: bool, shape: tuple[int, int, int], channels: int = 8) -> None:
        super().__init__()
        self.shape = shape
        self.stem = nn.Conv2d(shape[0], channels, 3, padding=1, bias=False)
        widths = [channels * 2**stage for stage in range(3) for _ in range(pairs)]
        self.pairs = nn.ModuleList(Pair(a, b, skip=skip) for a, b in zip([channels, *widths], widths, strict=False))
        self.norm, self.head = nn.BatchNorm2d(widths[-1]), nn.Linear(widths[-1], 10)
        self.without = -1  # this pair is left out
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.view(-1, *self.shape))
        for i, pair in enumerate(self.pairs):
            x = x if i == self.without else pair(x)
        return self.end(x)

    def end(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(F.relu(self.norm(x)).mean((2, 3)))
        return out
