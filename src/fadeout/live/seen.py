"""Seen: the samples of a track on their way to the file, and what the diagnosis keeps of them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fadeout.live.carrier import Carrier, Sample
from fadeout.probe.graph.paths import readable_path
from fadeout.store.runs import Bin, blob

FIRST = 3  # steps whose updates are measured
KEPT = 4096  # losses that are kept for the diagnosis
THROWN = 1.0  # an update as large as the weights: what the steps after it change is its consequence
Part = tuple[Sequence[int], Tensor]  # places among the parameters, and a value for each


class Seen:
    """Samples of one track.

    Attributes:
        losses: Of the steps so far.
        broken: Step whose loss was not finite; None if never.
        left_out: Steps that an optimizer itself found out to leave out.
        updates: Largest relative change of each layer's weights in the first steps.
        growth: Norm of all parameters now over the start; nan until both are known.
        moved: An update was seen that is not zero.
    """

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.broken: int | None = None
        self.left_out: set[int] = set()
        self.updates: dict[str, float] = {}
        self.moved = False
        self._start_size = self._size = math.nan
        self._bites: list[bool] = []
        self._thrown = FIRST + 1  # the first step that threw the weights far away
        self._carrier = Carrier()
        self._pending: list[Sample] = []
        self._ready: list[Bin] = []
        self._places: dict[tuple[str, int], list[int]] = {}

    def forget(self) -> None:
        """What was seen so far belonged to more than this track."""
        self.losses, self.updates, self.broken = [], {}, None
        self._pending, self._ready, self._places, self._carrier = [], [], {}, Carrier()

    def note(self, metric: str, step: int, values: Tensor) -> None:
        """A quantity of a whole step, wherever it lies."""
        self._pending.append((metric, step, values.reshape(-1)))

    def note_parts(self, metric: str, step: int, parts: Sequence[Part], count: int) -> None:
        """A quantity of every parameter, measured in parts; what is missing is nan."""
        places = [place for some, _ in parts for place in some]
        if places != list(range(count)):
            self._places[metric, step] = places
        home = parts[0][1].device
        values = [part if part.device == home else part.to(home) for _, part in parts]
        self.note(metric, step, values[0] if len(values) == 1 else torch.cat(values))

    def add(self, metric: str, step: int, value: float) -> None:
        """A number that is known already."""
        self._ready.append((metric, step, step, blob([value]), None))

    def take(self, names: Sequence[str], matrices: Sequence[bool], *, last: bool = False) -> list[Bin]:
        """Samples that have arrived on this machine; from another device they come one call later, or at the last.

        Args:
            names: Of the parameters.
            matrices: Whether each of them has two dimensions or more.
        """
        bins, self._ready = self._ready, []
        for metric, step, values in self._carrier.exchange(self._pending, last=last):
            if metric == "bite":
                self._bites.append(values[0] > 0)
            elif metric == "left out":
                if values[0] > 0:
                    self.left_out.add(step)
            else:
                row = _spread(values, self._places.pop((metric, step), None), len(names))
                self._keep(metric, step, row, names, matrices)
                bins.append((metric, step, step, blob(row), None))
        self._pending = []
        return bins

    def _keep(self, metric: str, step: int, row: list[float], names: Sequence[str], matrices: Sequence[bool]) -> None:
        """What the diagnosis needs of a sample."""
        if metric == "loss":
            self.losses.append(row[0])
            if len(self.losses) > KEPT:
                del self.losses[KEPT // 2 : KEPT // 2 + 256]
            known = any(math.isfinite(v) for v in self.losses[:-1])
            if self.broken is None and (math.isinf(row[0]) or (math.isnan(row[0]) and known)):
                self.broken = step
        elif metric == "weight":
            self._size = math.hypot(*(v for v in row if math.isfinite(v)))
            if math.isnan(self._start_size):
                self._start_size = self._size
        elif metric == "update":
            self.moved = self.moved or any(v > 0 for v in row)
            if step <= min(FIRST, self._thrown):
                self._keep_updates(step, row, names, matrices)

    def _keep_updates(self, step: int, row: list[float], names: Sequence[str], matrices: Sequence[bool]) -> None:
        for name, matrix, value in zip(names, matrices, row, strict=False):
            if matrix and math.isfinite(value):
                path = readable_path(name.rpartition(".")[0])
                self.updates[path] = max(self.updates.get(path, 0.0), value)
                if value > THROWN:
                    self._thrown = step

    @property
    def growth(self) -> float:
        """Norm of all parameters now over the start."""
        return self._size / self._start_size if self._start_size > 0 else math.nan

    @property
    def clipped(self) -> float:
        """Share of the clippings that bit; nan where nothing clips."""
        return sum(self._bites) / len(self._bites) if self._bites else math.nan


def _spread(values: list[float], places: Sequence[int] | None, count: int) -> list[float]:
    if places is None:
        return values
    row = [math.nan] * max(count, 1 + max(places, default=-1))
    for place, value in zip(places, values, strict=True):
        row[place] = value
    return row
