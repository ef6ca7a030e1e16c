"""Norms of all gradients of a step: one foreach call, no synchronisation, float32 with a second look where it ends."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

SMALL, LARGE = 1e-15, 1e18  # outside of it float32 sums of squares lose digits, and are done again in float64 on CPU


def local(tensor: Tensor) -> Tensor:
    """A tensor as this process holds it: of a DTensor its own shard, so that no collective is needed."""
    part = getattr(tensor, "to_local", None)
    return part() if part is not None else tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only a part of it."""
    return getattr(tensor, "to_local", None) is not None


@torch.no_grad()
def norms(tensors: Sequence[Tensor | None]) -> Tensor:
    """Euclidean norms, (P,) float32 on the device of the first tensor; nan where there is none."""
    index, dense = [], []
    values: dict[int, Tensor] = {}
    for i, tensor in enumerate(tensors):
        if tensor is None:
            continue
        part = local(tensor)
        if part.layout != torch.strided or part.is_nested:
            part = part.coalesce().values() if part.is_sparse else part.values()
        if part.is_complex():
            part = torch.view_as_real(part)
        if not part.numel():
            continue
        index.append(i)
        dense.append(part)
    for i, value in zip(index, _grouped(dense), strict=True):
        values[i] = value
    home = dense[0].device if dense else torch.device("cpu")
    nothing = torch.full((), math.nan, device=home)
    empty = torch.zeros((), device=home)
    found = [values.get(i, nothing if tensor is None else empty) for i, tensor in enumerate(tensors)]
    stacked = (
        torch.stack([v if v.device == home else v.to(home) for v in found]) if found else torch.zeros(0, device="cpu")
    )
    if home.type == "cpu" and dense:
        stacked = _again(stacked, index, dense)
    return stacked


def _grouped(tensors: Sequence[Tensor]) -> list[Tensor]:
    """float32 norms of tensors of any device and dtype, a foreach call for each kind."""
    if not tensors:
        return []
    kinds: dict[Any, list[int]] = {}
    for i, t in enumerate(tensors):
        kinds.setdefault((t.device, t.dtype), []).append(i)
    out: list[Tensor] = [tensors[0]] * len(tensors)
    for (_, dtype), places in kinds.items():
        some = [tensors[i] for i in places]
        wide = dtype in (torch.float16, torch.bfloat16)
        found = torch._foreach_norm(some, 2, torch.float32) if wide else torch._foreach_norm(some)
        for place, value in zip(places, found, strict=True):
            out[place] = value if value.dtype is torch.float32 else value.float()
    return out


def _again(found: Tensor, index: Sequence[int], tensors: Sequence[Tensor]) -> Tensor:
    """Norms that float32 can't hold well, in float64; on CPU only, since elsewhere the question would wait."""
    part = found[list(index)] if len(index) < len(found) else found
    odd = ((part < SMALL) & (part > 0)) | (part > LARGE) | (part == 0)
    if not bool(odd.any()):
        return found
    for place in odd.nonzero().flatten().tolist():
        exact = torch.linalg.vector_norm(tensors[place], dtype=torch.float64)
        found[index[place]] = exact.clamp(max=3e38) if bool(torch.isfinite(exact)) else found[index[place]]
    return found
