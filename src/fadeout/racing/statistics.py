"""Statistics over seeds: paired differences with Student's intervals."""

from collections.abc import Sequence

from fadeout.records import Difference, interval


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Ours minus theirs, seed by seed."""
    found = interval([a - b for a, b in zip(ours, theirs, strict=True)])
    return Difference(difference=found.mean, low=found.low, high=found.high)
