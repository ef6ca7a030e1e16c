"""Programs written by people who never saw the rules of the diagnosis, by which it is scored.

The first set was looked at when the rules were mended; the second, written afterwards, is sealed.
"""

from benchmarks.strangers import (
    attention,
    decisions,
    decoders,
    diffusion,
    gates,
    generators,
    histories,
    mixtures,
    numerics,
    pairs,
    plain,
    recurrences,
    second,
    unrolled,
    vision,
)
from benchmarks.strangers.record import Stranger, Truth
from benchmarks.truth.case import Case

FAMILIES = (
    attention,
    decisions,
    decoders,
    diffusion,
    gates,
    generators,
    histories,
    mixtures,
    numerics,
    pairs,
    plain,
    recurrences,
    unrolled,
    vision,
    *second.FAMILIES,
)


def strangers() -> list[Stranger]:
    """Every case with its truth, before training has spoken."""
    return [found for family in FAMILIES for found in family.strangers()]


def cases() -> list[Case]:
    """Every case, before training has spoken."""
    return [found.case for found in strangers()]


def truths() -> dict[str, Truth]:
    """What the author knows of each case, by its name."""
    return {found.case.name: found.truth for found in strangers()}
