"""A drawing: a chart with its legend in words, so that the legend wraps on a phone and follows the page's colours."""

from dataclasses import dataclass
from typing import Any, Literal

Shape = Literal["dot", "cross", "line", "dash", "band", "bar"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One entry of a legend."""

    says: str
    colour: str
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A chart that is as wide as its place.

    Attributes:
        name: Unique among the drawings of one exam.
        chart: An Altair chart without a legend of its own.
    """

    name: str
    chart: Any
    legend: tuple[Key, ...] = ()
