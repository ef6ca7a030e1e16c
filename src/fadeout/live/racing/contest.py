"""A contest: a race of treatments on a script, from the scout to the record."""

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from fadeout.errors import FadeoutError, ModelError
from fadeout.live.racing.heats import Heats, failure
from fadeout.live.racing.notes import notes_of, undecided
from fadeout.live.racing.order import Report
from fadeout.live.racing.proof import Proof, proven
from fadeout.live.racing.scouting import Scouted
from fadeout.live.racing.start import Ran
from fadeout.racing.field import Field
from fadeout.racing.race import Pace, Race
from fadeout.records import Board, Plan, Trial, interval
from fadeout.render.race.live import RaceDisplay
from fadeout.store.contract import build
from fadeout.treatments import BY_ID, Treatment
from fadeout.trials import InterruptedRace

TO_THE_END = Pace(first=1.0, best=1000, second=1.0)  # a start costs more than the steps, so no arm is run in parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """How scripts race.

    Attributes:
        case: As the user calls it.
        command: What Python is started with.
        steps: Optimizer steps of every run, at most.
        arms: Treatments of the plan that race; 0 for all of them.
        limit: Seconds until a run counts as hanging.
        metric: A pattern whose last group is the metric that decides; "" for the losses.
        treatments: Ids that race whatever the plan says; () for the plan's.
    """

    case: str
    command: tuple[str, ...]
    steps: int = 300
    seeds: tuple[int, ...] = (0,)
    arms: int = 8
    limit: float = 600.0
    metric: str = ""
    treatments: tuple[str, ...] = ()


def contest(asked: Contest, *, progress: bool | Callable[[Board], None] = False) -> Trial:
    """Race.

    Raises:
        ModelError: If the script fails without any treatment.
        FadeoutError: If nothing can be raced: no step, no loss.
        InterruptedRace: After Ctrl-C, with what there is in `.trial`.
    """
    with tempfile.TemporaryDirectory(prefix="fadeout-race-") as folder:
        heats = Heats(
            asked.command, Path(folder), asked.steps, limit=asked.limit, metric=asked.metric, decides=bool(asked.metric)
        )
        display = RaceDisplay() if progress is True else None
        show = display.update if display is not None else progress if callable(progress) else None
        if show is not None:
            show(_board("the scout: two steps, and a look at the network"))
        seen, scouted = _scouted(heats)
        if show is not None:
            show(_board("no treatment, which sets the scale"))
        horizon = _horizon(heats, asked)
        plan = _raced(scouted, asked)
        known: dict[str, Treatment] = {**BY_ID}
        heats.decades, heats.depth = scouted.decades, scouted.depth
        field = Field(heats, None, "", asked.seeds, horizon, show, asked.limit)
        if scouted.why:  # a treatment that is drawn at random must be allowed as well
            known = {entry.treatment: BY_ID[entry.treatment] for entry in plan.entries}
        race = Race(asked.case, plan, known, TO_THE_END, field)
        try:
            with display or nullcontext():
                trial = race.run()
        except KeyboardInterrupt as stop:
            raise InterruptedRace(_told(race.trial(complete=False), heats, seen, scouted)) from stop
        trial = _told(trial, heats, seen, scouted)
        if trial.winner is None:
            return trial
        if show is not None:
            show(_board("the patch, and a run of the patched script"))
        try:
            proof: Proof = proven(heats, trial, known, seen)
        except KeyboardInterrupt as stop:
            raise InterruptedRace(
                replace(trial, notes=(*trial.notes, "There is no patch, as it was stopped."))
            ) from stop
        return replace(trial, patch=proof.diff or None, recipe=proof.recipe, notes=(*trial.notes, *proof.notes))


def _scouted(heats: Heats) -> tuple[Report, Scouted]:
    """What the scout brings back."""
    ran = heats.one("scout", "scout", 0, steps=2)
    report, why = ran.main, failure(ran, heats.limit)
    if why:
        raise _as_error(ran, why)
    assert report is not None
    if not report.scouted:
        raise FadeoutError(
            "race: the script made steps, but its network was never seen: it must be a torch.nn.Module that is called "
            "in training mode, with gradients, after its optimizer was made"
        )
    try:
        return report, build(Scouted, report.scouted, at="scout")
    except (ValueError, KeyError, TypeError) as error:  # a child of another version
        raise FadeoutError(
            f"race: the scout's report can't be read ({error}); is another fadeout on the path?"
        ) from error


def _as_error(ran: Ran, why: str) -> FadeoutError:
    raised = ran.code not in (0, None)
    return ModelError(f"race: {why}") if raised else FadeoutError(f"race: {why}")


def _horizon(heats: Heats, asked: Contest) -> int:
    """Steps that the untreated script makes, at most those that were asked for."""
    steps = []
    for seed in asked.seeds[:1]:
        ran = heats.control(seed)
        why = failure(ran, heats.limit)
        if why or ran.main is None:
            raise _as_error(ran, f"the script fails without any treatment: {why}")
        steps.append(ran.main.reached)
    if heats.decides and not heats.scales:
        raise FadeoutError(
            f"race: --metric {asked.metric!r} matches nothing that the script prints, or gives to a tracker, "
            f"in {min(steps)} steps; race it for more --steps, or leave --metric out"
        )
    return max(1, min(steps))


def _raced(scouted: Scouted, asked: Contest) -> Plan:
    plan = scouted.plan
    if asked.treatments:
        rows = {one.treatment: one for one in (*plan.entries, *plan.wont_help)}
        missing = [name for name in asked.treatments if name not in rows]
        if missing:
            raise FadeoutError(f"race: {missing[0]!r} is none of the treatments that apply here: {', '.join(rows)}")
        return replace(plan, entries=tuple(rows[name] for name in asked.treatments))
    return replace(plan, entries=plan.entries[: asked.arms] if asked.arms else plan.entries)


def _told(trial: Trial, heats: Heats, seen: Report, scouted: Scouted) -> Trial:
    scale = next(iter(heats.scales.values()), None)
    why = undecided(heats)
    if why:  # what was measured of single arms must not look like a ranking
        unknown = interval([])
        trial = replace(
            trial,
            winner=None,
            over_control=None,
            needed=(),
            arms=tuple(replace(arm, skill=unknown, curve=()) for arm in trial.arms),
        )
    return replace(
        trial,
        scale=scale.said if scale is not None else "the script's own losses",
        undecided=why,
        notes=(*trial.notes, *notes_of(heats, seen, scouted, trial)),
    )


def _board(stage: str) -> Board:
    return Board(stage=stage, lanes=(), done=0, total=0, seconds=0.0, left=float("nan"))
