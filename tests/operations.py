"""Unusual operations on a hidden (N, D) tensor, D >= 3, for a gradient to pass; each gives (N, some D)."""

from collections.abc import Callable

import torch
from torch import Tensor

from random_models import Clip, SumAndDifference


def write_slice(h: Tensor) -> Tensor:
    """In place into a fresh tensor, column by column."""
    out = torch.zeros_like(h)
    out[:, 0] = h[:, 1]
    out[:, 1:] = h[:, :-1] * 2
    return out


def overwrite_slice(h: Tensor) -> Tensor:
    """In place over a part of a copy, so that the gradient there is lost."""
    out = h.clone()
    out[:, :2] = torch.sigmoid(h[:, 1:3])
    return out


def add_in_place(h: Tensor) -> Tensor:
    """In place sum into a view."""
    out = h.clone()
    out[:, 1:] += h[:, :-1]
    return out.mul_(0.5)


def chunk(h: Tensor) -> Tensor:
    """All pieces used, one of them twice."""
    first, *rest = h.chunk(3, dim=1)
    return torch.cat([first, *rest, torch.sin(first)], dim=1)


def chunk_and_forget(h: Tensor) -> Tensor:
    """Only one of the pieces is used."""
    return h.chunk(2, dim=1)[0]


def unbind(h: Tensor) -> Tensor:
    """Columns, in another order, one left out."""
    columns = h.unbind(1)
    return torch.stack(columns[:0:-1], dim=1)


def split(h: Tensor) -> Tensor:
    """Two uneven pieces that gate one another."""
    a, b = h.split([1, h.shape[1] - 1], dim=1)
    return a * b


def topk(h: Tensor) -> Tensor:
    """The largest two, where they stand decides their weight."""
    values, where = h.topk(2, dim=1)
    return values * (1 + where)


def maximum(h: Tensor) -> Tensor:
    """max with a dimension, beside the sorted values."""
    return torch.cat([h.max(dim=1, keepdim=True).values, h.sort(dim=1).values], dim=1)


def spread(h: Tensor) -> Tensor:
    """Expand and broadcast: the mean is subtracted from every column."""
    return h - h.mean(1, keepdim=True).expand_as(h) * h[:, :1]


def index(h: Tensor) -> Tensor:
    """Indexing with a list that repeats a column, and a reversed slice of rows."""
    return h[:, [0, 2, 0]] + h[:, 1:2].flip(0)


def gather(h: Tensor) -> Tensor:
    """gather and index_select."""
    order = h.detach().argsort(1)
    return h.gather(1, order) + h.index_select(1, torch.arange(h.shape[1] - 1, -1, -1))


def mask(h: Tensor) -> Tensor:
    """where, masked_fill and a boolean mask with scatter back."""
    positive = h.detach() > 0
    kept = torch.zeros_like(h).masked_scatter(positive, h[positive] * 2)
    return torch.where(positive, kept, h).masked_fill(h.detach() > 0.9, 0.0)


def square(h: Tensor) -> Tensor:
    """h * h: one node feeds the same slot twice."""
    return h * h


def twice(h: Tensor) -> Tensor:
    """h + h, and h minus itself elsewhere, which cancels exactly."""
    return torch.cat([h + h, h - h], dim=1)


def outer(h: Tensor) -> Tensor:
    """h h^T a sample, from one slot, by matmul."""
    return torch.bmm(h[:, :, None], h[:, None, :]).flatten(1)


def clip(h: Tensor) -> Tensor:
    """A python Function with a None gradient."""
    return Clip.apply(h, 0.5)


def sum_and_difference(h: Tensor) -> Tensor:
    """A python Function with two outputs, fed twice by one slot."""
    a, b = SumAndDifference.apply(h, h * 2)
    return torch.cat([a, torch.tanh(b)], dim=1)


def forget_an_output(h: Tensor) -> Tensor:
    """A python Function of whose two outputs one is used."""
    return SumAndDifference.apply(h, torch.sin(h))[0]


def fourier(h: Tensor) -> Tensor:
    """Complex gradients in between."""
    spectrum = torch.fft.fft(h, dim=1)
    return (spectrum * spectrum.conj().roll(1, 0)).real + spectrum.imag


def cumulate(h: Tensor) -> Tensor:
    """cumsum and logsumexp."""
    return h.cumsum(1) + torch.logsumexp(h, dim=1, keepdim=True)


def detach_half(h: Tensor) -> Tensor:
    """A straight-through estimator."""
    return h + (h.sign() - h).detach()


OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    operation.__name__: operation
    for operation in (
        *(write_slice, overwrite_slice, add_in_place, chunk, chunk_and_forget, unbind, split, topk, maximum),
        *(spread, index, gather, mask, square, twice, outer, clip, sum_and_difference, forget_an_output),
        *(fourier, cumulate, detach_half),
    )
}
