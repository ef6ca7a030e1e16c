"""Persistence: in how many probes a sign stands, and what the course says about learning.  No torch."""

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Literal

from fadeout.records import Course, Level, Progress, Reading
from fadeout.rules.limits import Limits

OLD = 0.6  # of the steps: a last probe before that says nothing of the end
Learning = Literal["unknown", "well", "little", "not"]


def probes(reading: Reading) -> tuple[Reading, ...]:
    """The readings of a course, or the one there is."""
    return reading.course.probes if reading.course is not None else (reading,)


def stands(flags: Sequence[bool]) -> bool:
    """A sign that counts: there in the last probe, or in half of at least three.  One that came and went does not."""
    return flags[-1] or (sum(flags) >= 3 and 2 * sum(flags) >= len(flags))


def all_along(flags: Sequence[bool]) -> bool:
    """A sign in nearly every probe, one of the last two among them: a single probe beside a bound acquits nobody."""
    return sum(flags) >= 0.8 * len(flags) and any(flags[-2:])


def settled(flags: Sequence[bool]) -> bool:
    """A sign that came, perhaps late, and stayed: in nearly every probe, or in the last and one of the two before."""
    return all_along(flags) or (flags[-1] and sum(flags[-3:]) >= 2)


def lasting(
    reading: Reading,
    find: Callable[[Reading], tuple[str, ...]],
    stays: Callable[[Sequence[bool]], bool] = all_along,
) -> tuple[str, ...]:
    """The paths that the newest probe with some shows, where the sign stays; else none."""
    every = [find(probe) for probe in probes(reading)]
    shown = [paths for paths in every if paths]
    return shown[-1] if shown and stays([bool(paths) for paths in every]) else ()


def since(reading: Reading, sign: Callable[[Reading], bool]) -> int:
    """The step of the first probe that shows a sign; that of the reading where none does."""
    return next((probe.step for probe in probes(reading) if sign(probe)), reading.step)


def learning(reading: Reading, limits: Limits) -> Learning:
    """How well the copy learned, by its loss against the best constant output's."""
    course = reading.course
    if course is None or course.broken is not None:
        return "unknown" if course is None else "not"
    if course.ignores_targets or course.backwards > 1:
        return "unknown"
    known = [p for p in gained(course) if math.isfinite(p)]
    if not known:
        return "unknown"
    if len(course.learned) > 1 and not any(math.isfinite(p) for p in gained(course)[-2:]):
        return "unknown"
    if math.isnan(course.constant) and known[-1] < limits.rises:
        return "unknown"  # a policy's loss, or an adversary's, may rise while it learns
    end, best = known[-1], max(known)
    first, last = course.probes[0].loss, course.probes[-1].loss
    solved = abs(last) <= limits.solved * abs(first) and not last > course.constant
    if end >= limits.learned or (best > limits.caught_up and end > limits.kept) or solved:
        return "well"
    return "little" if end >= limits.learns and end > known[0] else "not"


def gained(course: Course) -> tuple[float, ...]:
    """Progress at the probes; where the last one lies far back, with what the losses since have shown."""
    last = course.probes[-1].step
    if course.broken is not None or last >= OLD * course.steps or len(course.losses) < 2:
        return course.learned
    now = smoothed(course.losses, end=True)
    bar = course.constant if course.constant > 0 else smoothed(course.losses, end=False)
    if not math.isfinite(now) or not bar > 0 or now < 0:
        return (*course.learned, math.nan)
    return (*course.learned, max((bar - now) / bar, course.learned[-1]))


def blamed(reading: Reading, limits: Limits) -> Level:
    """What a sign that stands is worth: an alarm where nothing is learned, a warning else."""
    stuck = reading.course is not None and learning(reading, limits) == "not" and not falling(reading)
    return "alarm" if stuck and not (reading.course is not None and reading.course.one_class) else "warning"


def hindered(reading: Reading, limits: Limits) -> bool:
    """Less than half of what there is to learn was learned: a severe sign in nearly every probe is not acquitted by it.

    Only where a constant output can be judged: the fall of a loss says nothing of what is left.
    """
    course = reading.course
    if course is None or math.isnan(course.constant) or learning(reading, limits) == "unknown":
        return False
    return course.steps >= limits.enough and gained(course)[-1] < limits.halfway and not course.one_class


def falling(reading: Reading) -> bool:
    """The loss has fallen by a fifth and still falls, though it is not below the best constant output's yet."""
    course = reading.course
    if course is None or course.broken is not None or len(course.probes) < 3:
        return False
    if course.probes[-1].step < OLD * course.steps:
        return smoothed(course.losses, end=True) <= 0.8 * smoothed(course.losses, end=False)
    first, before, last = course.probes[0].loss, course.probes[-2].loss, course.probes[-1].loss
    return first > 0 and last <= 0.8 * first and last <= 0.97 * before


def plateau(reading: Reading, limits: Limits) -> bool:
    """Nothing was learned up to a late step, whatever came afterwards."""
    course = reading.course
    assert course is not None
    low = [p.step for p, v in zip(course.probes, course.learned, strict=True) if v < limits.plateau]
    return bool(low) and max(low) >= limits.plateau_steps


def progress(reading: Reading, *, severe: bool, limits: Limits) -> Progress:
    """The contract's word."""
    how = learning(reading, limits)
    if how == "unknown":
        return "unknown"
    if how == "not":
        return "unknown" if falling(reading) else "does_not_learn"
    return "handicapped" if severe else "learns"


def smoothed(losses: Sequence[float], *, end: bool) -> float:
    """Median loss of the first or last tenth of the steps, at least three, of those that are numbers."""
    count = max(3, len(losses) // 10)
    part = losses[-count:] if end else losses[:count]
    known = [v for v in part if not math.isnan(v)]
    return median(known) if known else math.nan
