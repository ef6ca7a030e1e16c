"""Causes by account: which kinds took the decades that the trunk lost, or gave those it gained."""

import math

from fadeout.records import Cause, Kind, Reading


def causes_by_account(reading: Reading, *, sign: int, without: tuple[Kind, ...]) -> tuple[Cause, ...]:
    """Each kind's share of the trunk's losses (sign -1) or gains (sign 1), largest first.

    Args:
        without: Kinds that are no cause.
    """
    parts = {
        kind: sign * gain
        for kind, gain in reading.ledger.trunk.by_kind
        if kind not in without and sign * gain > 0 and math.isfinite(gain)
    }
    total = math.fsum(parts.values())
    return tuple(
        Cause(kind=kind, share=part / total) for kind, part in sorted(parts.items(), key=lambda item: -item[1])
    )
