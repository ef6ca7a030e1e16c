"""Surprises: where the measured profile leaves the predicted one."""

import math

from fadeout.records import ForecastLayer, Ledger, Surprise

SURPRISE = 0.2  # decades that one layer must be off, beyond its own spread, to be reported
BEYOND = 1.75  # half-widths of the band: one random layer in 1,000 is that far out, where one in 20 leaves the band


def find_surprises(layers: tuple[ForecastLayer, ...], ledger: Ledger) -> tuple[Surprise, ...]:
    """Layers at which the measured profile leaves the predicted one, the largest jump first."""
    measured = [w for w in ledger.weights if w.norm > -math.inf]
    if len(measured) != len(layers) or not measured:
        return ()
    top = max((w.norm for w in measured if w.last and w.data), default=math.nan)
    found: list[tuple[float, Surprise]] = []
    off_before = 0.0
    for row, weight in zip(reversed(layers), reversed(measured), strict=True):  # loss first
        if row.decades is None or row.band is None or math.isnan(top):
            continue
        here = weight.norm - top
        off = here - row.decades
        half = (row.band[1] - row.band[0]) / 2
        jump = off - off_before
        low, high = (BEYOND * (end - row.decades) for end in row.band)
        outside = not low - SURPRISE / 2 <= off <= high + SURPRISE / 2
        if outside and abs(jump) > max(SURPRISE, 0.25 * half):
            found.append(
                (
                    abs(jump),
                    Surprise(
                        path=row.path, quantity="decades below the last layer", measured=here, predicted=row.decades,
                        meaning=_meaning(jump),
                    ),
                )
            )  # fmt: skip
        off_before = off
    found.sort(key=lambda item: -item[0])
    return tuple(surprise for _, surprise in found[:5])


def _meaning(jump: float) -> str:
    if jump < 0:
        return (
            "less arrives than its weights and slopes explain: a detached or masked part, weights that oppose "
            "each other, or trained weights (theory speaks of random ones)"
        )
    return (
        "more arrives than its weights and slopes explain: weights aligned with one direction, a gradient that "
        "many samples share, or trained weights (theory speaks of random ones)"
    )
