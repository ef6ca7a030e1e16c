"""A part of the experiment on today's networks: its arms, its work, and what is expected of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fadeout.lab.experiment import Expectation, Published, Task
from fadeout.records import Figure, Interval, Row, Size, interval

NAME = "today"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One modern trouble.

    Attributes:
        arms: Names of its tasks' arms; no two parts share one.
    """

    arms: tuple[str, ...]
    tasks: Callable[[Size], tuple[Task, ...]]
    measure: Callable[[Task], Iterable[Row]]
    expectations: tuple[Expectation, ...]
    published: tuple[Published, ...]
    figures: tuple[Figure, ...]


def paired(left: Sequence[float], right: Sequence[float]) -> Interval:
    """Mean and interval of left minus right, seed by seed."""
    return interval([a - b for a, b in zip(left, right, strict=True)])


def told(found: Interval, digits: int = 2) -> str:
    """A mean with its interval: "1.23 [1.10, 1.36]"."""
    return f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def points(found: Interval) -> str:
    """A difference of two shares with its interval, in points of a per cent."""
    return f"{100 * found.mean:.0f} points [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def percent(found: Interval) -> str:
    """The same of a share, in per cent."""
    return f"{100 * found.mean:.0f} % [{100 * found.low:.0f}, {100 * found.high:.0f}]"
