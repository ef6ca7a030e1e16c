"""Later: numbers that live on the device until one transfer brings all of them."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor


class Answer:
    """Numbers that were asked for; looking at them brings everything that waits."""

    __slots__ = ("_later", "_values")

    def __init__(self, later: "Later") -> None:
        self._later = later
        self._values: list[float] | None = None

    @property
    def values(self) -> list[float]:
        """As floats, the elements of every tensor one after another."""
        if self._values is None:
            self._later.read()
        assert self._values is not None
        return self._values


class Later:
    """Collects tensors of few numbers, and reads them together: one synchronisation a device."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Sequence[Tensor], Answer]] = []

    def ask(self, tensors: Sequence[Tensor]) -> Answer:
        """Numbers to be read with the next others."""
        answer = Answer(self)
        self._waiting.append((tensors, answer))
        return answer

    def read(self) -> None:
        """Bring all that waits."""
        waiting, self._waiting = self._waiting, []
        every = [t for tensors, _ in waiting for t in tensors]
        values = brought(every)
        start = 0
        for tensors, answer in waiting:
            count = sum(t.numel() for t in tensors)
            answer._values = values[start : start + count]
            start += count


def tally(flags: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """How many flags are set in each of consecutive parts, on the flags' device.

    Args:
        flags: Several vectors of booleans, each over all parts.
        counts: Elements of each part.

    Returns:
        Counts of shape (kinds of flags, parts).
    """
    running = torch.stack(list(flags)).cumsum(1)
    running = torch.nn.functional.pad(running, (1, 0))
    borders = torch.tensor([0, *accumulate(counts)], device="cpu").to(running.device, non_blocking=True)
    return running[:, borders].diff(dim=1)


def brought(tensors: Sequence[Tensor]) -> list[float]:
    """The elements of many small tensors as floats, in order: one synchronisation a device."""
    groups: dict[tuple[torch.device, torch.dtype, bool], list[int]] = {}
    for i, tensor in enumerate(tensors):
        groups.setdefault((tensor.device, tensor.dtype, tensor.dim() == 0), []).append(i)
    devices: dict[torch.device, list[tuple[list[int], Tensor]]] = {}
    for (device, dtype, single), indices in groups.items():
        picked = [tensors[i] for i in indices]
        flat = torch.stack(picked) if single else torch.cat([t.reshape(-1) for t in picked])
        devices.setdefault(device, []).append((indices, flat if dtype is torch.float64 else flat.double()))
    found: list[list[float]] = [[] for _ in tensors]
    for parts in devices.values():
        joined = parts[0][1] if len(parts) == 1 else torch.cat([flat for _, flat in parts])
        values = joined.detach().tolist()
        start = 0
        for indices, _ in parts:
            for i in indices:
                count = tensors[i].numel()
                found[i] = values[start : start + count]
                start += count
    return [value for part in found for value in part]
