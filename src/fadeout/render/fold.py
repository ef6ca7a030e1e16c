"""Folds: a long depth profile as few rows, outliers kept."""

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

from fadeout.render.tones import Tone, worst
from fadeout.render.views import Depth, Point, State

Some = Literal["all", "none", "some", "unknown"]
TOLERANCES = (0.1, 0.25, 0.5, 1.0, 2.0, math.inf)  # decades beyond the usual step from layer to layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Neighbouring layers that behave alike, or a single layer.

    Attributes:
        first, last: Index of the layer nearest the data, nearest the loss.
        paths: Their paths.
        kind: Class of the modules; "mixed" where they differ.
        start, end: Level of the first and of the last layer, log10.
        low, high: Smallest and largest level inside.
        tone: The strongest inside.
    """

    first: int
    last: int
    paths: tuple[str, str]
    kind: str
    state: State
    start: float
    end: float
    low: float
    high: float
    tone: Tone
    sees: Some
    moves: Some

    @property
    def layers(self) -> int:
        """How many layers the row stands for."""
        return self.last - self.first + 1


def fold(depth: Depth, *, whole: int = 40, rows: int = 24) -> tuple[Row, ...]:
    """Every layer up to `whole` layers, else at most about `rows` rows.

    A row ends where the level jumps by more than a tolerance beyond the usual step, so a layer
    that is off stands alone; and it holds at most a twelfth of the layers that have a level,
    so a steady fade reads as a staircase.  The tolerance is the smallest that gives few enough rows.
    """
    points = depth.points
    if len(points) <= whole:
        return tuple(_row([point]) for point in points)
    longest = math.ceil(len(points) / 12)
    steps = [b.level - a.level for a, b in pairwise(points) if _both(a, b)]
    usual = median(steps) if steps else 0.0
    for tolerance in TOLERANCES:
        runs = _runs(points, usual, tolerance, longest)
        if len(runs) <= rows:
            break
    return tuple(_row(run) for run in runs)


def _both(a: Point, b: Point) -> bool:
    return a.state == b.state == "measured"


def _runs(points: tuple[Point, ...], usual: float, tolerance: float, longest: int) -> list[list[Point]]:
    runs: list[list[Point]] = []
    for point in points:
        before = runs[-1][-1] if runs else None
        alike = before is not None and before.state == point.state
        if alike and before is not None and point.state == "measured":
            alike = abs(point.level - before.level - usual) <= tolerance
        if alike and (len(runs[-1]) < longest or point.state != "measured"):
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _row(points: list[Point]) -> Row:
    first, last = points[0], points[-1]
    levels = [point.level for point in points]
    return Row(
        first=first.index,
        last=last.index,
        paths=(first.path, last.path),
        kind=first.kind if all(point.kind == first.kind for point in points) else "mixed",
        state=first.state,
        start=first.level,
        end=last.level,
        low=min(levels),
        high=max(levels),
        tone=worst([point.tone for point in points]),
        sees=_some([point.sees for point in points]),
        moves=_some([point.moves for point in points]),
    )


def _some(flags: list[bool | None]) -> Some:
    if None in flags:
        return "unknown"
    return "all" if all(flags) else "some" if any(flags) else "none"
