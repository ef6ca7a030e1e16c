"""The second set of programs written without sight of the rules: other architectures, tasks and faults."""

from benchmarks.strangers.record import Stranger, Truth
from benchmarks.strangers.second import choices, classic, fields, samplers, scans, tokens, transfer
from benchmarks.truth.case import Case

FAMILIES = (choices, classic, fields, samplers, scans, tokens, transfer)


def strangers() -> list[Stranger]:
    """Every case with its truth, before training has spoken."""
    return [found for family in FAMILIES for found in family.strangers()]


def cases() -> list[Case]:
    """Every case, before training has spoken."""
    return [found.case for found in strangers()]


def truths() -> dict[str, Truth]:
    """What the author knows of each case, by its name."""
    return {found.case.name: found.truth for found in strangers()}
