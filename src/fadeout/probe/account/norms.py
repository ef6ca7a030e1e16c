"""Norms: the Euclidean length of a gradient, cheap and exact enough for decades."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fadeout.call import privates
from fadeout.probe.later import brought

ROW = 256
FLAT = 1 << 14  # elements up to which one flat float32 sum of squares is exact to 1e-7 decades
FLAT_ELSEWHERE = 1 << 20  # on a device that sums in a tree, and where a launch costs more than the sum
HELD = 1 << 18  # elements of small gradients that wait to be measured together: they stay in memory until then
_PLAIN = frozenset({Tensor, nn.Parameter})
_STRIDED = torch.strided
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
    if gradient.device.type != "cpu":  # sums in a tree, whose error grows with the logarithm
        return _vector_norm(gradient, dtype=torch.float32)
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


def stride(size: int, most: int) -> int:
    """The step of a regular sample of about `most` out of `size` elements; 1 where there are no more.

    It shares no factor with the size, so that no row, unit or channel is left out: a step of 16 over rows of 64 units
    would look at four of the units only.
    """
    step = -(-size // most)
    while step > 1 and math.gcd(step, size) > 1:
        step += 1
    return step


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


class Lengths:
    """Norms of many gradients, in the order they were added: small ones are held and measured together."""

    def __init__(self, *, exact: bool = False) -> None:
        self._exact = exact
        self._found: list[Tensor | None] = []
        self._held: list[Tensor] = []
        self._places: list[int] = []
        self._room = HELD

    def add(self, gradient: Tensor) -> None:
        """One more."""
        size = gradient.numel()
        if (
            size <= (FLAT if gradient.is_cpu else FLAT_ELSEWHERE)
            and gradient.__class__ in _PLAIN
            and gradient.layout is _STRIDED
            and gradient.is_floating_point()
        ):
            self._places.append(len(self._found))
            self._found.append(None)
            self._held.append(gradient)
            self._room -= size
            if self._room < 0:
                self._measure()
        else:
            self._found.append(norm(gradient, exact=self._exact))

    def all(self) -> list[Tensor]:
        """A 0-dim tensor for each."""
        self._measure()
        return self._found  # type: ignore[return-value]

    def _measure(self) -> None:
        for (_, dtype), members in _alike(self._held).items():
            wide = torch.float64 if self._exact or dtype is torch.float64 else torch.float32
            lengths = privates.norms([self._held[n] for n in members], wide)
            for n, length in zip(members, lengths, strict=True):
                self._found[self._places[n]] = length
        self._held, self._places, self._room = [], [], HELD


def _alike(tensors: Sequence[Tensor]) -> dict[tuple[torch.device, torch.dtype], list[int]]:
    """Places of the tensors on each device and in each format."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    last, members = (torch.device("meta"), torch.bool), list[int]()
    for n, tensor in enumerate(tensors):
        dtype, device = tensor.dtype, tensor.device
        if dtype is not last[1] or device != last[0]:
            last = (device, dtype)
            members = groups.setdefault(last, [])
        members.append(n)
    return groups


def lengths(tensors: Sequence[Tensor], *, exact: bool = False) -> list[Tensor]:
    """Norms of several tensors, a 0-dim tensor each."""
    found = Lengths(exact=exact)
    for tensor in tensors:
        found.add(tensor)
    return found.all()


def read(scalars: Sequence[Tensor]) -> list[float]:
    """Values of 0-dim tensors, with one synchronisation a device."""
    return brought(scalars)
