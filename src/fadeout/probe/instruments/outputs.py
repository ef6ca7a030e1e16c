"""Outputs: how large the result of a layer is, and how much of it differs between samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fadeout.probe.account.norms import norm, stride

SAMPLE = 1 << 16  # elements from which the share between samples is read on a regular sample
_length = torch.linalg.vector_norm


@dataclass(slots=True)
class Output:
    """Numbers of one result, still on its device.

    Attributes:
        scalars: |z|, and where samples can be told apart |z| over the sampled features and the length
            of the mean over samples.
        size: Elements of z.
        rows: Samples.
    """

    scalars: tuple[Tensor, ...]
    size: int
    rows: int

    def seen(self, values: Sequence[float]) -> "Seen":
        """The numbers of this result, from those of its scalars."""
        rms = values[0] / math.sqrt(self.size) if self.size else math.nan
        if len(values) < 3:
            return Seen(rms=rms, between=math.nan)
        total, shared = values[1] ** 2, values[2] ** 2 * self.rows
        between = max(total - shared, 0.0) / total if total > 0 and math.isfinite(total) else math.nan
        return Seen(rms=rms, between=between)


@dataclass(slots=True)
class Seen:
    """Output z of one weight operation: rms, and share of energy that differs between samples."""

    rms: float
    between: float


@torch.no_grad()
def output_of(out: Tensor, *, samples: int = 0) -> Output:
    """The numbers of a result z; sums that are subtracted are taken in float64, so that nothing cancels.

    Samples run along dimension 0, or along 1 where only that one has their number (T, N, D).
    """
    z = out.detach()
    if z.layout != torch.strided or z.is_nested:
        return Output((torch.zeros((), dtype=torch.float64, device=z.device),), 0, 0)
    if z.is_complex():
        z = torch.view_as_real(z.resolve_conj())
    size = z.numel()
    if samples and z.dim() >= 3 and z.shape[0] != samples == z.shape[1]:
        z = z.transpose(0, 1)
    if z.dim() < 2 or z.shape[0] < 2 or not size:
        return Output((norm(z),), size, 0)
    rows = z if z.dim() == 2 else z.reshape(z.shape[0], -1)
    every = stride(rows.shape[1], -(-SAMPLE // rows.shape[0])) if size > SAMPLE else 1
    part = rows[:, ::every] if every > 1 else rows
    total = _length(part, dtype=torch.float64)
    mean = _length(part.mean(0, dtype=torch.float64))
    return Output((total if every == 1 else norm(z), total, mean), size, z.shape[0])
