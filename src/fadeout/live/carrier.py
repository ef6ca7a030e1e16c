"""The carrier: brings samples from a device to this machine without making the script wait for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Sample = tuple[str, int, Tensor]  # metric, step, values
Brought = tuple[str, int, list[float]]


@dataclass(frozen=True, slots=True, eq=False)
class _Load:
    """A copy that is under way."""

    labels: list[tuple[str, int, int]]  # metric, step, number of values
    values: Tensor
    arrived: Any


class Carrier:
    """Samples of the CPU are there at once; those of a device when the next ones are sent after them."""

    def __init__(self) -> None:
        self._away: list[_Load] = []

    def exchange(self, samples: Sequence[Sample], *, last: bool = False) -> list[Brought]:
        """Send these; what has arrived of those sent before.

        Args:
            last: Wait for all of them.
        """
        found = [
            (metric, step, values.reshape(-1).tolist())
            for metric, step, values in samples
            if values.device.type == "cpu"
        ]
        by_device: dict[torch.device, list[Sample]] = {}
        for sample in samples:
            if sample[2].device.type != "cpu":
                by_device.setdefault(sample[2].device, []).append(sample)
        before, self._away = self._away, []
        for load in before:
            if last or load.arrived is None or load.arrived.query():
                found += _unpacked(load)
            else:
                self._away.append(load)
        for device, some in by_device.items():
            self._away.append(_sent(device, some))
        if last:
            for load in self._away:
                found += _unpacked(load)
            self._away = []
        return sorted(found, key=lambda one: one[1])


def _sent(device: torch.device, samples: Sequence[Sample]) -> _Load:
    flat = torch.cat([values.reshape(-1).float() for _, _, values in samples])
    labels = [(metric, step, values.numel()) for metric, step, values in samples]
    if device.type != "cuda":
        return _Load(labels, flat.cpu(), None)
    home = torch.empty(flat.shape, dtype=flat.dtype, pin_memory=True, device="cpu")
    home.copy_(flat, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record(torch.cuda.current_stream(device))
    return _Load(labels, home, arrived)


def _unpacked(load: _Load) -> list[Brought]:
    if load.arrived is not None:
        load.arrived.synchronize()
    values, start, found = load.values.tolist(), 0, []
    for metric, step, size in load.labels:
        found.append((metric, step, values[start : start + size]))
        start += size
    return found
