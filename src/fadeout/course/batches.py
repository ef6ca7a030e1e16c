"""Batches: what a course trains on, by number, and the rows that its probes look at."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from fadeout.call.batch import holds_numpy, is_one, tensors

GATHERED = 8  # batches that the probes' rows come from
FEWEST = 64  # rows to gather, from more batches where they are small


class Stream:
    """Batches by number: cycled, read again, or kept, as their source allows."""

    def __init__(self, batches: Any, verb: str) -> None:
        self.notes: list[str] = []
        if holds_numpy(batches):
            raise TypeError(f"{verb}: the batches hold numpy arrays; pass tensors, e.g. torch.from_numpy(x)")
        if is_one(batches):
            batches = [batches]
            self.notes.append("steps=: one batch was given, not an iterable of batches; every step trains on it")
        elif not isinstance(batches, Iterable):
            raise TypeError(
                f"{verb}: with steps= the second argument is an iterable of batches, got {type(batches).__name__}; "
                "pass a DataLoader or a list"
            )
        self.verb = verb
        self.source = batches
        self.keep: list[Any] | None = None if isinstance(batches, Sequence) else []
        self.again = iter(batches) is not batches
        self.running: Iterator[Any] = iter(())
        self.count = 0  # different batches given so far
        self._round = False  # the source was read to its end once
        source = iter(batches)
        found = list(islice(source, GATHERED))
        rows = max((len(t) for t in tensors(found[0]) if t.dim()), default=0) if found else 0
        if 0 < rows * GATHERED < FEWEST:
            found += islice(source, FEWEST // rows - GATHERED)
        if not self.again:
            self.running = source
            self.keep = list(found)
        if not found:
            raise ValueError(f"{verb}: batches is empty; pass at least one batch")
        self.gathered = found  # the first few
        self.first = found[0]

    def at(self, n: int) -> Any:
        """Batch number n; numbers rise by one from call to call."""
        if isinstance(self.source, Sequence):
            self.count = min(len(self.source), n + 1)
            return self.source[n % len(self.source)]
        if self.again:
            found = next(self.running, None)
            self.count += found is not None and not self._round
            if found is None:
                self._round = self.count > 0
                self.running = iter(self.source)
                found = next(self.running, None)
                self.count += not self._round
            if found is None:
                raise ValueError(f"{self.verb}: batches ran dry: iterated again, they gave nothing; pass a list")
            return found
        assert self.keep is not None
        if n >= len(self.keep):
            fresh = next(self.running, None)
            if fresh is None:
                return self.keep[n % len(self.keep)]
            self.keep.append(fresh)
        self.count = n + 1
        return self.keep[n]


class Rows:
    """The same rows at every probe, fewer at the later ones of a short course."""

    def __init__(self, batches: list[Any], *, early: int, late: int, until: int) -> None:
        self.batches = batches
        self.early, self.late, self.until = early, late, until  # rows, rows, the last step that is early
        self.alone = False  # the batches can't be put together: the first one stands for them
        self._made: dict[int, Any] = {}

    def at(self, n: int) -> Any:
        if self.alone:
            return self.batches[0]
        rows = self.early if n <= self.until else self.late
        if rows not in self._made:
            self._made[rows] = _gather(self.batches, rows)
        return self._made[rows]


def _gather(batches: list[Any], rows: int) -> Any:
    """One batch of rows from several; the first batch alone, whole, where they can't be put together."""
    if len(batches) == 1:
        return batches[0]
    per = -(-rows // len(batches))
    try:
        return _joined(batches, per, rows)
    except (ValueError, TypeError, RuntimeError):
        return batches[0]


def _joined(parts: list[Any], per: int, rows: int) -> Any:
    sizes = [{len(t) if t.dim() else -1 for t in tensors(part)} for part in parts]
    if any(len(size) != 1 or -1 in size for size in sizes):
        raise ValueError("tensors of one batch differ in rows")
    return _join(parts, per, rows)


def _join(parts: list[Any], per: int, rows: int) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        if not first.dim():
            return first
        if any(p.shape[1:] != first.shape[1:] or p.dtype != first.dtype for p in parts):
            raise ValueError("batches differ in shape")
        return torch.cat([p[:per] for p in parts])[:rows]
    if isinstance(first, dict):
        return {key: _join([p[key] for p in parts], per, rows) for key in first}
    if type(first) in (tuple, list):
        return type(first)(_join([p[i] for p in parts], per, rows) for i in range(len(first)))
    if hasattr(first, "items") and hasattr(first, "keys"):  # BatchEncoding and its like
        return {key: _join([p[key] for p in parts], per, rows) for key in first.keys()}  # noqa: SIM118
    if any(tensors(first)):
        raise TypeError("an unknown container of tensors")
    return first
