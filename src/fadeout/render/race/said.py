"""What a trial has shown, in sentences and table rows that terminal and page share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fadeout.records import Arm, Interval, Plan, Trial
from fadeout.render import words

HEADS = ("arm", "skill on held-out rows", "decades", "effective depth", "steps", "seconds")
SCALE = "Skill: 0 is what the best constant output reaches, 1 leaves nothing to learn."
LEARNS = 0.5  # skill: from here on a program is said to learn


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One arm in the table.

    Attributes:
        mark: "winner", "lost", "beaten", or "" for those that are only compared with.
        cells: As `HEADS`.
        why: Below the row; "" for nothing to say.
        short: The arm's id, where there is no room for its title.
    """

    mark: str
    cells: tuple[str, ...]
    why: str
    short: str


def heads(trial: Trial) -> tuple[str, ...]:
    """Of the table's columns."""
    return HEADS if not trial.scale else (HEADS[0], "skill", *HEADS[2:])


def scale(trial: Trial) -> str:
    """What skill means in this race."""
    return SCALE if not trial.scale else f"Skill is made of {words.plain(trial.scale)}."


def rows(trial: Trial) -> tuple[Row, ...]:
    """Winner first, then no treatment and the random one, then the others by how far they came and how well."""
    order = sorted(trial.arms, key=lambda arm: _place(arm, trial))
    return tuple(_row(arm, trial) for arm in order)


def _place(arm: Arm, trial: Trial) -> tuple[float, ...]:
    skill = arm.skill.mean if math.isfinite(arm.skill.mean) else -math.inf
    first = 0 if _won(arm, trial) else 1 if arm.role == "control" else 2 if arm.role == "random" else 3
    return (first, arm.state == "failed", -arm.steps, -skill)


def _won(arm: Arm, trial: Trial) -> bool:
    return arm.treatment == trial.winner


def _row(arm: Arm, trial: Trial) -> Row:
    name = words.plain(arm.title) + (" (drawn at random)" if arm.role == "random" else "")
    mark = (
        "winner" if _won(arm, trial) else "lost" if arm.state == "failed" else "beaten" if arm.role == "planned" else ""
    )
    return Row(
        mark=mark,
        cells=(
            name, skill(arm.skill), words.decades(arm.decades), _depth(arm.effective_depth), f"{arm.steps:,}",
            words.seconds(arm.seconds) if arm.seconds else "",
        ),
        why=f"failed: {words.plain(arm.why)}" if arm.state == "failed" else "",
        short=words.plain(arm.treatment) + (" (random)" if arm.role == "random" else ""),
    )  # fmt: skip


def skill(value: Interval) -> str:
    """'0.93  (0.90 to 0.96)'; one number where there is one seed."""
    if not math.isfinite(value.mean):
        return "-"
    said = f"{value.mean:.2f}".replace("-0.00", "0.00")
    if value.low == value.high:
        return said
    return f"{said}  ({value.low:.2f} to {min(1.0, value.high):.2f})"  # no skill is above 1, whatever Student says


def _depth(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else words.UNKNOWN


def headline(trial: Trial) -> tuple[str, str]:
    """(the outcome in capitals, the sentence)."""
    if trial.winner is None:
        return _without_winner(trial)
    arm, over, control = trial.arm(trial.winner), trial.over_control, _control(trial)
    said = f"{_capital(arm.title)}. "
    measured = "skill" if trial.scale else "skill on held-out rows"
    if control is not None and math.isfinite(control.skill.mean):
        said += f"It raises the {measured} from {control.skill.mean:.2f} to {arm.skill.mean:.2f}."
    else:
        said += f"With it the {measured} is {arm.skill.mean:.2f}."
    if over is not None and over.low != over.high:
        said += (
            f" Over {words.count(len(trial.seeds), 'seed')} the gain is {over.difference:.2f}, with 95 % confidence "
            f"between {over.low:.2f} and {over.high:.2f}."
        )
        if over.low <= 0:
            said += " That includes zero: the seeds differ much, so run more of them before you rely on it."
    elif len(trial.seeds) == 1:
        said += " This is one seed; run several before you rely on it."
    if arm.skill.mean < LEARNS:
        said += " It learns, but has not come far: the arm may need more steps."
    return "WINNER:", said


def _without_winner(trial: Trial) -> tuple[str, str]:
    if not trial.complete:
        return "INTERRUPTED:", "The race was stopped before its end. The table shows how far each arm had come."
    if trial.undecided:
        return "NO WINNER:", words.plain(trial.undecided)
    control = _control(trial)
    if control is not None and control.state != "failed" and control.skill.mean >= LEARNS:
        return "NO WINNER:", (
            f"The program learns as it is (skill {control.skill.mean:.2f}), and no treatment was clearly better. "
            "Leave it as it is."
        )
    tried = sum(arm.role == "planned" for arm in trial.arms)
    return "NO WINNER:", (
        f"None of {words.count(tried, 'treatment')} was clearly better than no treatment on this program. The fault "
        "may lie in the data, the objective or the number of steps, which no treatment changes."
    )


def _capital(text: str) -> str:
    shown = words.plain(text)
    return shown[:1].upper() + shown[1:]


def _control(trial: Trial) -> Arm | None:
    return next((arm for arm in trial.arms if arm.role == "control"), None)


def besides(trial: Trial) -> tuple[str, ...]:
    """What else a reader should know, a sentence each."""
    found = []
    if trial.winner is not None and trial.needed:
        parts = trial.arm(trial.winner).title
        found.append(f"Of {words.plain(parts)!r} these parts are needed: {words.series(trial.needed)}.")
    drawn = next((arm for arm in trial.arms if arm.role == "random" and arm.state != "failed"), None)
    planned = {arm.treatment for arm in trial.arms if arm.role == "planned"}
    if trial.winner is not None and drawn is not None:
        also = drawn.treatment in planned
        if drawn.treatment != trial.winner:
            rest = ", and the plan chose the same one" if also else ""
            found.append(f"A treatment drawn at random reaches {skill(drawn.skill)}{rest}.")
        elif not also:
            found.append("The winner was drawn at random, not chosen by the plan.")
    if trial.noise:
        found.append(
            f"The program is not deterministic: two runs without treatment differ by up to {trial.noise:.2f} in skill. "
            "A winner must gain more than that."
        )
    if not trial.complete and trial.winner is not None:
        found.append("The race was interrupted before the winner's parts were tried one by one.")
    return (*found, *(words.plain(note) for note in trial.notes))


def wont_help(trial: Trial) -> tuple[tuple[str, str], ...]:
    """(treatment, why it was not raced)."""
    return tuple((words.plain(one.treatment), words.plain(one.reason)) for one in trial.wont_help)


def about(trial: Trial) -> str:
    """One line of what was raced."""
    seeds = words.count(len(trial.seeds), "seed")
    name = [words.plain(trial.case)] if trial.case else []
    total = sum(arm.seconds for arm in trial.arms)
    parts = [*name, words.count(len(trial.arms), "arm"), seeds, f"{trial.steps:,} steps at most"]
    return " · ".join([*parts, words.seconds(total)] if total else parts)


def recipe(trial: Trial) -> Sequence[str]:
    """Lines to change by hand."""
    return tuple(words.plain(line) for line in trial.recipe)


def plan_lines(plan: Plan) -> tuple[str, ...]:
    """A plan as text: what to try, in order, and what won't help, each with what one step of a copy shows."""
    lines = ["to try, in this order; only a race tells which one works:"]
    for n, entry in enumerate(plan.entries, start=1):
        lines.append(f"  {n:2}. {entry.treatment:24} {words.decades(entry.measured.decades):>6} decades  {entry.title}")
    if plan.wont_help:
        lines += ["", "will not help:"]
        lines += [f"      {entry.treatment:24} {entry.reason}" for entry in plan.wont_help]
    return tuple(words.plain(line) for line in lines)
