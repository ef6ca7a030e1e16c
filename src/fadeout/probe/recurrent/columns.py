"""Gradients that enter a recurrent layer at its outputs, as columns that walk back together.

A column is one gradient: the whole loss's, and for each direction that of its last valid step
alone.  Values carry one power of two a sequence and step, so that no length underflows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fadeout.probe.recurrent.fused_states import Layout
from fadeout.probe.recurrent.profiles import Source

NOISE_SEED = 0


@dataclass(slots=True)
class Stream:
    """A gradient (T, K, B, F), stored as value times 2 ** exponent, with exponent (T, K, B)."""

    value: Tensor
    exponent: Tensor


def log2(value: Tensor, exponent: Tensor) -> Tensor:
    """log2 of the largest entry of each row, float64; -inf where it is zero."""
    return value.abs().amax(-1).double().log2() + exponent


def power(bits: Tensor, like: Tensor) -> Tensor:
    """2 ** bits, to multiply rows with.  Stays finite, so that a row of zeros stays zero."""
    most = 1000.0 if like.dtype is torch.float64 else 120.0
    return torch.exp2(bits.clamp(-1000.0, most)).to(like.dtype).unsqueeze(-1)


def merged(one: Stream | None, other: Stream, layout: Layout, *, turned: bool) -> Stream:
    """The sum of what two directions send to the layer below."""
    if turned:
        other = Stream(
            layout.turned(other.value.transpose(1, 2)).transpose(1, 2),
            layout.turned(other.exponent.transpose(1, 2)).transpose(1, 2),
        )
    if one is None:
        return other
    high = torch.maximum(log2(one.value, one.exponent), log2(other.value, other.exponent))
    high = torch.where(high.isfinite(), high.floor(), one.exponent)
    one.value.mul_(power(one.exponent - high, one.value)).add_(other.value * power(other.exponent - high, one.value))
    return Stream(one.value, high)


@dataclass(frozen=True, slots=True)
class Seeds:
    """What enters at the top layer, a column a gradient.

    Attributes:
        full: dL/d output of each direction, (T, B, P) in its order; the column `whole`, unless
            that is a single one too.
        tails: Each direction's gradient at its own last steps alone, (B, P); None where that is 0.
        columns: How many columns walk together.
        whole: Column of the whole loss; None without one.
        single: Column of each direction's last step.
    """

    full: list[Tensor] | None
    tails: list[Tensor | None]
    columns: int
    whole: int | None
    single: list[int]
    sources: list[Source]


def seeds_of(
    given: Tensor | None,
    states: tuple[Tensor | None, Tensor | None] | None,
    like: Tensor,
    layout: Layout,
    ways: int,
) -> Seeds:
    width, rows = like.shape[-1], torch.arange(layout.batch, device=like.device)
    ends = torch.tensor(layout.lengths, device=like.device) - 1
    full = (
        None if given is None else [layout.turned(p) if n else p for n, p in enumerate(torch.split(given, width, -1))]
    )
    tails: list[Tensor | None] = []
    sources: list[Source] = []
    for way in range(ways):
        tail = None if full is None else full[way][ends, rows]
        reads = tail is not None and bool(tail.ne(0).any())
        for state in states or ():
            reads = reads or (state is not None and bool(state[way::ways].ne(0).any()))
        if not reads:
            draw = torch.Generator().manual_seed(NOISE_SEED)  # on a CPU: the same on every device
            tail = torch.randn(layout.batch, width, generator=draw, device="cpu").to(like)
        tails.append(tail)
        sources.append("loss" if reads else "noise")
    whole = given is not None or states is not None
    if ways == 1 and sources == ["loss"]:
        elsewhere = full is not None and bool((full[0].abs().amax(-1).ne(0) & ~layout.last).any())
        if not elsewhere:  # the loss is read at the end only: one gradient is both
            return Seeds(full=None, tails=tails, columns=1, whole=0, single=[0], sources=sources)
    first = 1 if whole else 0
    return Seeds(
        full=full,
        tails=tails,
        columns=first + ways,
        whole=0 if whole else None,
        single=list(range(first, first + ways)),
        sources=sources,
    )


class Entry:
    """What enters one layer and direction from above, segment by segment, in processing order."""

    def __init__(
        self,
        seeds: Seeds,
        way: int,
        value: Tensor | None,
        exponent: Tensor | None,
        layout: Layout,
        h_n: Tensor | None,
        c_n: Tensor | None,
    ) -> None:
        self.seeds, self.way, self.value, self.exponent, self.layout = seeds, way, value, exponent, layout
        count = seeds.columns
        # A final state is the last step: it enters the whole loss, and the direction's own column.
        mask = torch.zeros(count, 1, 1, dtype=layout.last.dtype, device=layout.last.device)
        for n in range(count):
            own = n == seeds.single[way] and seeds.sources[way] == "loss"
            mask[n] = own or n == seeds.whole
        self.h_n = None if h_n is None else h_n * mask
        self.c_n = None if c_n is None else c_n * mask
        self.ends = set(layout.lengths)

    def segment(self, a: int, b: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Values (S, K, B, P) and exponents (S, K, B) of steps a to b, scaled to about 1."""
        batch, count, seeds = self.layout.batch, self.seeds.columns, self.seeds
        if self.value is None:
            values = like.new_zeros(b - a, count, batch, like.shape[-1])
            exponents = torch.zeros(b - a, count, batch, dtype=torch.float64, device=like.device)
            tail = seeds.tails[self.way]
            if seeds.full is not None:
                values[:, 0] = seeds.full[self.way][a:b]
            if tail is not None:
                rows = self.layout.last[a:b]
                values[:, seeds.single[self.way]][rows] = tail.expand(b - a, -1, -1)[rows]
        else:
            values, exponents = self.value[a:b], self.exponent[a:b]  # type: ignore[index]
            if self.way:
                values = self._turned(self.value, a, b)
                exponents = self._turned(self.exponent, a, b)  # type: ignore[arg-type]
            values = values.clone()
        if self.h_n is not None:
            last = self.layout.last[a:b, None, :, None]
            if any(a < end <= b for end in self.ends):
                bits = log2(values, exponents)
                high = torch.maximum(bits, self.h_n.abs().amax(-1).double().log2())
                high = torch.where(high.isfinite() & last[..., 0], high.floor(), exponents)
                values = values * power(exponents - high, values) + last * self.h_n * power(-high, values)
                exponents = high
        return values, exponents

    def _turned(self, x: Tensor, a: int, b: int) -> Tensor:
        """Steps a to b of the turned sequences of x (T, K, B, ..)."""
        if self.layout.turn is None:
            return x[self.layout.steps - b : self.layout.steps - a].flip(0)
        return x.transpose(1, 2)[self.layout.turn[a:b], torch.arange(self.layout.batch, device=x.device)].transpose(
            1, 2
        )
