"""A won bundle taken apart: its parts are dropped one by one, and what is needed is kept."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fadeout.racing.field import Entry, Field
from fadeout.treatments.treatment import Treatment

HALF = 0.5  # of its last skill: where the winner had so much early on, short runs can tell


def taken_apart(winner: Entry, field: Field, early: int, tie: float) -> tuple[str, ...]:
    """Parts that are needed; () for a treatment of one part, or one that can't be taken apart.

    Args:
        early: Steps of the short runs.
        tie: Difference of skill that does not count.
    """
    assert winner.treatment is not None
    without: Callable[[str], Any] | None = getattr(winner.treatment, "without", None)
    parts = getattr(winner.treatment, "pieces", ()) or winner.parts
    if len(parts) < 2 or without is None:
        return ()
    whole = _mean(field.skills_at(winner.arm, field.horizon))
    step = early if _mean(field.skills_at(winner.arm, early)) >= HALF * whole else field.horizon
    bar = _mean(field.skills_at(winner.arm, step)) - tie
    now, dropped = winner, list[str]()
    for part in parts:
        if len(parts) - len(dropped) < 2:
            break
        smaller = _smaller(now.treatment, part)
        if smaller is None:
            continue
        name = " without " + " and ".join([*dropped, part])
        entry = replace(now, arm=winner.arm + name, treatment=smaller, measure=False, shown=False)
        field.run([entry], step, f"the winner{name}")
        if _mean(field.skills_at(entry.arm, step)) >= bar and not field.failed(entry.arm):
            now, dropped = entry, [*dropped, part]
        else:
            field.stop([entry], "it is needed")
    if now is not winner:
        field.run([now], field.horizon, "what is left of the winner, to the end", goes_on=False)
        if field.failed(now.arm) or _mean(field.skills_at(now.arm, field.horizon)) < whole - tie:
            return parts  # the short runs deceived
    return tuple(part for part in parts if part not in dropped)


def _smaller(treatment: Treatment | None, part: str) -> Treatment | None:
    """The treatment without one part; None where that is no treatment."""
    without = getattr(treatment, "without", None)
    if without is None:
        return None
    try:
        found = without(part)
    except Exception:  # a part that the others can't stand without: it is needed
        return None
    return found if isinstance(found, Treatment) else None


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values) if values else math.nan
