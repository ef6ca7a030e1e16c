"""Trials: a race of treatments against no treatment, on the same data, seeds and steps."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from importlib import import_module

from fadeout.call.case import Case
from fadeout.engines import engine_of
from fadeout.engines.keeper import Keeper
from fadeout.errors import FadeoutError
from fadeout.racing.checks import fingerprint, settled
from fadeout.racing.field import Field
from fadeout.racing.race import AGAIN, CONTROL, Pace, Race
from fadeout.records import Board, Plan, Trial
from fadeout.render.race.live import RaceDisplay
from fadeout.store.races import Races
from fadeout.treatments.treatment import Treatment

__all__ = ["InterruptedRace", "trial"]

FULL = Pace(first=0.10, best=6, second=0.25)
CHEAP = Pace(first=0.05, best=4, second=0.25)


class InterruptedRace(KeyboardInterrupt):
    """Ctrl-C during a race.

    Attributes:
        trial: What the race has shown so far, without a winner.
    """

    def __init__(self, trial: Trial) -> None:
        super().__init__("trial: the race was interrupted; what it has shown so far stands in .trial of this exception")
        self.trial = trial


def trial(
    case: Case,
    plan: Plan,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int | None = None,
    engine: str = "here",
    cheap: bool = False,
    store: str | os.PathLike[str] | None = None,
    progress: bool | Callable[[Board], None] | None = None,
    treatments: Sequence[Treatment] | Mapping[str, Treatment] | None = None,
    limit: float | None = None,
) -> Trial:
    """Race the treatments of a plan against no treatment, and against one drawn at random.

    All arms run for a tenth of the steps, the best six for a quarter, and the best one to the end, as no treatment
    and the random one do. Arms are scored by skill on held-out rows. The winner must be better than no treatment by
    more than the noise of the program, and worse with no seed; otherwise there is none.

    Args:
        case: The program, as makers; each arm and seed builds its own.
        plan: What to try, as `fadeout.plan` returns it.
        seeds: Of start weights and random draws; every arm runs with each of them.
        steps: Optimizer steps of a whole run; the case's own where None.
        engine: "here" (this process), "processes" (one worker a core) or "ray" (a Ray cluster). The result is
            the same to the bit. "together" trains arms of equal shapes at once in this process; it
            agrees with the others but for rounding.
        cheap: About half the work: all arms for a twentieth of the steps, the best four for a quarter.
        store: A file that keeps every finished piece. The same call goes on there after the process was killed.
        progress: True shows the race in the terminal; or a function that is called with each new `Board`.
        treatments: Where the plan's ids are looked up; fadeout's own catalogue where None.
        limit: Seconds until an arm counts as hanging, for each piece of it; where None, 20 times what no treatment
            takes for as many steps, at least 20.

    Raises:
        FadeoutError: If the program can't be raced: another network each time for one seed, a plan
            that names unknown treatments, a damaged store.
        ModelError: If the program fails without any treatment.
        InterruptedRace: After Ctrl-C, with what there is in `.trial`.
    """
    _check(case, plan, seeds)
    horizon = case.steps if steps is None else steps
    if horizon < 1:
        raise ValueError(f"trial: steps= counts optimizer steps, at least 1; got {horizon}")
    known = _known(treatments, plan)
    case = settled(case)
    pace = CHEAP if cheap else FULL
    told = {
        "case": case.name, "seeds": list(seeds), "steps": horizon, "pace": repr(pace),
        "program": [fingerprint(case, seed) for seed in seeds],
        "treatments": [f"{entry.treatment} {known[entry.treatment]!r}" for entry in plan.entries],
    }  # fmt: skip
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    races = Races(store) if store is not None else None
    display = RaceDisplay() if progress is True else None
    show = display.update if display is not None else progress if callable(progress) else None
    try:
        if races is not None:
            races.begin(key, told)
        begun = engine_of(engine, partial(Keeper, case))
        try:
            field = Field(begun, races, key, tuple(seeds), horizon, show, limit)
            race = Race(case.name, plan, known, pace, field)
            try:
                with display or nullcontext():
                    return race.run()
            except KeyboardInterrupt as stop:
                raise InterruptedRace(race.trial(complete=False)) from stop
        finally:
            begun.close()
    finally:
        if races is not None:
            races.close()


def _check(case: Case, plan: Plan, seeds: Sequence[int]) -> None:
    if not isinstance(case, Case):
        raise TypeError(
            f"trial: expected a Case, got {type(case).__name__}; trial(fadeout.Case(make_model, ...), plan)"
        )
    if not isinstance(plan, Plan):
        raise TypeError(f"trial: expected a Plan, got {type(plan).__name__}; trial(case, fadeout.plan(exam))")
    if not seeds or len(set(seeds)) != len(seeds) or not all(isinstance(s, int) and s >= 0 for s in seeds):
        raise ValueError(f"trial: seeds= needs different whole numbers from 0 on, at least one; got {tuple(seeds)}")


def _known(treatments: Sequence[Treatment] | Mapping[str, Treatment] | None, plan: Plan) -> dict[str, Treatment]:
    given = treatments
    if given is None:
        given = getattr(import_module("fadeout.treatments"), "TREATMENTS", ())
    known = dict(given) if isinstance(given, Mapping) else {t.id: t for t in given}
    missing = [entry.treatment for entry in plan.entries if entry.treatment not in known]
    if missing:
        raise FadeoutError(
            f"trial: the plan names {missing[0]!r}, which is none of the treatments; pass treatments= with its own"
        )
    if taken := {CONTROL, AGAIN} & known.keys():
        raise FadeoutError(f"trial: a treatment can't be called {sorted(taken)[0]!r}; that is the untreated arm's name")
    return known
