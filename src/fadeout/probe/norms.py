"""Norms: the Euclidean length of a gradient, cheap and exact enough for decades."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

ROW = 256
FLAT = 1 << 14  # elements up to which one flat float32 sum of squares is exact to 1e-7 decades
_vector_norm: Callable[..., Tensor] = torch.linalg.vector_norm


def norm(gradient: Tensor, *, exact: bool = False) -> Tensor:
    """Euclidean norm as a 0-dim tensor; nothing is synchronised.

    float32 sums run over rows of 256 elements that are combined in float64: one flat float32
    sum errs by 2e-3 decades at 5e7 elements, rows by 1e-9 at the same speed.

    Args:
        gradient: Any shape, dtype and layout.
        exact: Sum in float64 throughout, for norms outside 1e-15..1e15.
    """
    if gradient.layout != torch.strided or gradient.is_nested:
        gradient = _values(gradient)
    if gradient.is_complex():
        gradient = torch.view_as_real(gradient.resolve_conj())
    if gradient.dtype is torch.float64:
        return _vector_norm(gradient)
    if exact:
        return _vector_norm(gradient, dtype=torch.float64)
    size = gradient.numel()
    if size <= FLAT:
        return (
            _vector_norm(gradient) if gradient.dtype is torch.float32 else _vector_norm(gradient, dtype=torch.float32)
        )
    copies = 1
    if not gradient.is_contiguous():
        gradient, copies = _packed(gradient)
        size = gradient.numel()
        if size <= FLAT:
            return _vector_norm(gradient, dtype=torch.float64) * math.sqrt(copies)
        if not gradient.is_contiguous():
            rows = _vector_norm(gradient, dim=-1, dtype=torch.float32)
            return _vector_norm(rows, dtype=torch.float64) * math.sqrt(copies)
    flat = gradient.view(-1)
    body = size - size % ROW
    rows = _vector_norm(flat[:body].view(-1, ROW), dim=1, dtype=torch.float32)
    whole = _vector_norm(rows, dtype=torch.float64)
    if body != size:
        whole = torch.hypot(whole, _vector_norm(flat[body:], dtype=torch.float64))
    return whole * math.sqrt(copies) if copies > 1 else whole


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Real inner product of two gradients of one shape, as a 0-dim float64 tensor."""
    if a.layout != torch.strided or a.is_nested:
        a = a.to_dense() if not a.is_nested else _values(a)
    if b.layout != torch.strided or b.is_nested:
        b = b.to_dense() if not b.is_nested else _values(b)
    if a.is_complex() or b.is_complex():
        return torch.sum(torch.real(torch.conj(a) * b), dtype=torch.float64)
    if a.numel() <= FLAT or not (a.is_contiguous() and b.is_contiguous()):
        return torch.sum(a * b, dtype=torch.float64)
    body = a.numel() - a.numel() % ROW
    left, right = a.view(-1), b.view(-1)
    rows = torch.linalg.vecdot(left[:body].view(-1, ROW), right[:body].view(-1, ROW))
    whole = torch.sum(rows, dtype=torch.float64)
    if body != a.numel():
        whole = whole + torch.sum(left[body:] * right[body:], dtype=torch.float64)
    return whole


def _packed(gradient: Tensor) -> tuple[Tensor, int]:
    """The same values without repeated (stride 0) dimensions, in memory order."""
    copies = 1
    for dim, (size, stride) in enumerate(zip(gradient.shape, gradient.stride(), strict=True)):
        if stride == 0 and size > 1:
            gradient = gradient.narrow(dim, 0, 1)
            copies *= size
    strides = gradient.stride()
    order = sorted(range(gradient.dim()), key=lambda d: -strides[d])
    return gradient.permute(order), copies


def _values(gradient: Tensor) -> Tensor:
    if gradient.is_nested:
        pieces = [norm(piece).double() for piece in gradient.unbind()]
        return torch.stack(pieces) if pieces else gradient.new_zeros(())
    if gradient.is_sparse:
        return gradient.coalesce().values()
    return gradient.values() if gradient.layout in (torch.sparse_csr, torch.sparse_csc) else gradient.to_dense()


def read(scalars: list[Tensor]) -> list[float]:
    """Values of 0-dim tensors with one synchronisation a device and dtype."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, scalar in enumerate(scalars):
        groups.setdefault((scalar.device, scalar.dtype), []).append(i)
    values = [0.0] * len(scalars)
    for indices in groups.values():
        for i, value in zip(indices, torch.stack([scalars[i] for i in indices]).tolist(), strict=True):
            values[i] = value
    return values
