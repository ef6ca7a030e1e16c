"""Paths through a residual network: how many blocks those pass that carry the gradient, and what one block is worth."""

import copy
import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

import fadeout
from fadeout.lab.data import Data
from fadeout.lab.residual_nets import Pair, Pictures
from fadeout.lab.training import accuracy
from fadeout.records import Ledger, Row

COUNTED, BEFORE, AFTER = "all paths, counted", "gradient before training", "gradient after training"
ACCOUNT, VEIT = "after training, from the account's shares", "after training, single paths (Veit et al.)"
PATHS = "share by length"


class Unrolled:
    """A residual network taken apart at its additions, for the gradient of single paths; in float64.

    The gradient at the first block is a sum over 2^n paths: at each of the n blocks a path takes the branch or the
    way around it.  Plain autograd, a twin of what the account's shares say.
    """

    def __init__(self, net: Pictures, x: Tensor, y: Tensor) -> None:
        net = copy.deepcopy(net).double().train()
        h = net.stem(x.double().view(-1, *net.shape))
        self.steps: list[tuple[Tensor, Tensor, Tensor]] = []
        for pair in net.pairs:
            assert isinstance(pair, Pair)
            h = h.detach().requires_grad_()
            branch, around = pair.branch(h), pair.around(h)
            self.steps.append((h, branch, around))
            h = branch + around
        h = h.detach().requires_grad_()
        (self.top,) = torch.autograd.grad(F.cross_entropy(net.end(h), y), h)

    def _through(self, step: int, gradient: Tensor, *, branch: bool) -> Tensor:
        h, through, around = self.steps[step]
        way = through if branch else around
        if way is h:
            return gradient
        return torch.autograd.grad(way, h, gradient, retain_graph=True)[0]

    def by_length(self) -> list[float]:
        """Share of the gradient that all paths through exactly k branches carry, k = 0 .. n.

        <g_k, g> / |g|^2, g_k the gradient summed over those paths: signed, and the shares add to 1.
        """
        found = [self.top]
        for step in reversed(range(len(self.steps))):
            around = [self._through(step, g, branch=False) for g in found]
            through = [self._through(step, g, branch=True) for g in found]
            none = torch.zeros_like(through[0])
            found = [a + b for a, b in zip([*around, none], [none, *through], strict=True)]
        total = torch.stack(found).sum(0)
        return [float((g * total).sum() / (total * total).sum()) for g in found]

    def by_single_paths(self, draws: int) -> list[float]:
        """The weight that Veit et al. 2016 give each length: the norm along one path times the number of paths.

        The norm is a mean over `draws` random paths of that length; the weights are scaled to add to 1.
        """
        blocks = len(self.steps)
        weight = []
        for length in range(blocks + 1):
            norms = []
            for _ in range(1 if length in (0, blocks) else draws):
                chosen = set(torch.randperm(blocks)[:length].tolist())
                gradient = self.top
                for step in reversed(range(blocks)):
                    gradient = self._through(step, gradient, branch=step in chosen)
                norms.append(float(gradient.norm()))
            weight.append(math.comb(blocks, length) * sum(norms) / len(norms))
        return [w / sum(weight) for w in weight]


def lengths_from(shares: Sequence[float]) -> list[float]:
    """Share of the gradient by path length, if each block splits it by its branch share whatever came before."""
    found = [1.0]
    for share in shares:
        around, through = [(1 - share) * p for p in found], [share * p for p in found]
        found = [a + b for a, b in zip([*around, 0.0], [0.0, *through], strict=True)]
    return found


def counted(blocks: int) -> list[float]:
    """Share of all 2^n paths that pass through k branches."""
    return [math.comb(blocks, k) / 2**blocks for k in range(blocks + 1)]


def branch_shares(ledger: Ledger) -> list[float]:
    """What the branch carries of the gradient at the data side of every block of a `Pictures` network."""
    return [sum(b.share for b in stage.branches if ".branch." in b.path) for stage in ledger.stages if stage.branches]


def lengths_before(seed: int, net: Pictures, x: Tensor, y: Tensor) -> Iterator[Row]:
    return _rows(seed, BEFORE, Unrolled(net, x, y).by_length())


def lengths_after(seed: int, net: Pictures, x: Tensor, y: Tensor) -> Iterator[Row]:
    """How long the paths are that carry the gradient, three ways, beside a mere count of all paths."""
    unrolled = Unrolled(net, x, y)
    yield from _rows(seed, COUNTED, counted(len(net.pairs)))
    yield from _rows(seed, AFTER, unrolled.by_length())
    yield from _rows(seed, ACCOUNT, lengths_from(branch_shares(fadeout.measure(net, (x, y), loss=F.cross_entropy))))
    yield from _rows(seed, VEIT, unrolled.by_single_paths(draws=2))


def _rows(seed: int, arm: str, shares: list[float]) -> Iterator[Row]:
    for k, share in enumerate(shares):
        yield Row(quantity=PATHS, arm=arm, value=share, seed=seed, x=float(k))
    third = (len(shares) - 1) // 3
    mean = sum(k * share for k, share in enumerate(shares))
    yield Row(quantity="mean length", arm=arm, value=mean, seed=seed)
    yield Row(quantity="in a third of the blocks", arm=arm, value=sum(shares[: third + 1]), seed=seed)


def without_each(net: Pictures, data: Data) -> list[tuple[float, float]]:
    """(place from 0 to 1, accuracy) with one pair of layers left out, for every pair that keeps the picture's shape."""
    found = []
    for i, pair in enumerate(net.pairs):
        if isinstance(pair, Pair) and pair.keeps_shape:
            net.without = i
            found.append(((i + 0.5) / len(net.pairs), accuracy(net, data.x_test, data.y_test)))
    net.without = -1
    return found
