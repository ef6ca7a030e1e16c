"""How often a treatment works: the race, the first of the plan, a random one, AutoTrainer's first, and none.

python -m benchmarks.treatments --sick 40 --healthy 12 --markdown docs/treating-table.md

Programs are those of benchmarks/truth that training showed to be sick, or healthy.  A treatment works where the
treated program reaches 0.9 of its repaired twin's skill in the program's own steps; skill is the program's own metric.
Every arm runs with one seed.  Results are kept under build/treatments, so that a stopped run goes on.
"""

import argparse
import json
import random
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.truth.draw import drawn
from benchmarks.truth.ground import load, program_of
from benchmarks.truth.score import wilson

STORE = Path("build/treatments")
WORKS = 0.9
FAMILIES = ("vanishing", "exploding", "dead", "saturated", "bad_init", "not_finite")
PUBLISHED = ("selu", "relu", "critical_init", "batch_norm", "clip", "slower")  # AutoTrainer's order
BEYOND = {  # faults that no change of the network reaches, by the beginning of their names; listed after looking
    "large-targets": "skill is judged on targets of another scale than those trained on",
    "raw-inputs": "skill is judged on inputs of another scale than those trained on",
    "poisoned-batch": "a batch of the data holds nan",
    "norm-root": "the objective has an infinite slope at 0",
    "masked-softmax": "the model masks a whole row before its softmax",
    "log-zero": "the objective takes the logarithm of 0",
}
LONGEST = 250  # steps of a program that is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What each policy reached on one program, as its own skill over the twin's; nan: nothing was to be applied."""

    name: str
    family: str
    none: float
    drawn: float
    first: float
    published: float
    raced: float
    winner: str
    seconds: float
    error: str = ""


def skill_after(case: Any, treatment: Any, steps: int) -> float:
    """Skill of a fresh program, treated and trained; nan where the treatment does not apply."""
    return skill_of(case.build(0), case.skill, treatment, steps)


def skill_of(made: Any, skill: Callable[[Any], float], treatment: Any, steps: int) -> float:
    """The same of a program that was just built."""
    from benchmarks.truth.case import Setup
    from benchmarks.truth.program import advance

    from fadeout.errors import FadeoutError
    from fadeout.treatments import Patient

    optimizer = made.optimizer
    if treatment is not None:
        try:
            receipt = treatment.apply(
                Patient(model=made.model, optimizer=optimizer, batch=made.batches[0], loss=made.loss)
            )
        except (FadeoutError, ValueError, TypeError):  # it does not fit this program
            return float("nan")
        optimizer = receipt.optimizer if receipt.optimizer is not None else optimizer
    setup = Setup(
        model=made.model, batches=list(made.batches), loss=made.loss, optimizer=optimizer, train_step=made.train_step
    )
    try:
        advance(setup, steps)
        return float(skill(made.model))
    except (RuntimeError, ValueError):
        return -1.0


def measure(name: str) -> Outcome:
    """Every policy on one program."""
    import torch

    import fadeout
    from fadeout.treatments import BY_ID

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    _, family, found = next(entry for entry in drawn() if entry[2].name == name)
    program = program_of(found.build)
    twin = load()[name][1] if found.group == "fault" else 1.0
    case = fadeout.Case(
        program.model, program.batches, program.loss, program.optimizer, (), program.train_step, program.skill,
        found.steps, name,
    )  # fmt: skip
    begun = time.perf_counter()
    made = case.build(0)
    try:
        plan = fadeout.plan(made.model, made.batches[0], loss=made.loss, optimizer=made.optimizer)
        race = fadeout.trial(case, plan, seeds=(0,))
    except (fadeout.FadeoutError, ValueError, TypeError, RuntimeError) as error:
        value = skill_after(case, None, found.steps) / twin
        return Outcome(
            name=name, family=family, none=value, drawn=value, first=value, published=value, raced=value, winner="",
            seconds=time.perf_counter() - begun, error=f"{type(error).__name__}: {error}"[:200],
        )  # fmt: skip
    none = next(arm.skill.mean for arm in race.arms if arm.role == "control")
    best = next((a.skill.mean for a in race.arms if a.treatment == race.winner and a.role == "planned"), None)
    if race.winner is not None and best is None:
        best = next(a.skill.mean for a in race.arms if a.treatment == race.winner)
    applicable = [*plan.entries, *plan.wont_help]
    draw = random.Random(name)
    lucky = draw.choice(applicable).treatment if applicable else None
    published = next((BY_ID[i] for i in PUBLISHED if any(e.treatment == i for e in applicable)), None)
    steps = found.steps
    return Outcome(
        name=name,
        family=family,
        none=none / twin,
        drawn=skill_after(case, BY_ID[lucky], steps) / twin if lucky else none / twin,
        first=skill_after(case, BY_ID[plan.first], steps) / twin if plan.entries else none / twin,
        published=skill_after(case, published, steps) / twin if published is not None else none / twin,
        raced=(best if best is not None else none) / twin,
        winner=race.winner or "",
        seconds=time.perf_counter() - begun,
    )


def kept(name: str) -> Outcome:
    """Measured now, or before."""
    path = STORE / f"{name.replace('/', '_')}.json"
    if path.exists():
        return Outcome(**json.loads(path.read_text()))
    found = measure(name)
    STORE.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(found)))
    return found


def table(sick: list[Outcome], healthy: list[Outcome]) -> str:
    """Both tables as markdown."""
    lines = ["| policy | works on sick programs |", "|---|---|"]
    for title, key in (
        ("no treatment", "none"), ("a random applicable treatment", "drawn"), ("AutoTrainer's first", "published"),
        ("the first of the plan, no race", "first"), ("the winner of the race", "raced"),
    ):  # fmt: skip
        lines.append(f"| {title} | {wilson(sum(getattr(o, key) >= WORKS for o in sick), len(sick))} |")
    within = [o for o in sick if not o.name.startswith(tuple(BEYOND))]
    reached = wilson(sum(o.raced >= WORKS for o in within), len(within))
    lines.append(f"| the same, of the programs that a change of the network can cure | {reached} |")
    slower = sum(0.6 <= o.raced < WORKS for o in sick)
    lines += [
        "",
        f"Of those where the race's winner does not work, {slower} learn, but slower than their twin (0.6 to 0.9 of "
        f"its skill); {sum(not o.winner for o in sick)} races had no winner.",
        "",
        "| fault | works after the race |",
        "|---|---|",
    ]
    for family in FAMILIES:
        mine = [o for o in sick if o.family == family]
        if mine:
            lines.append(f"| {family} | {wilson(sum(o.raced >= WORKS for o in mine), len(mine))} |")
    lines += ["", "| healthy programs | |", "|---|---|"]
    harmed = sum(o.raced < o.none - 0.01 for o in healthy)
    lines.append(f"| harmed by the race's winner | {wilson(harmed, len(healthy))} |")
    lines.append(f"| improved | {wilson(sum(o.raced > o.none + 0.02 for o in healthy), len(healthy))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sick", type=int, default=40)
    parser.add_argument("--healthy", type=int, default=12)
    parser.add_argument("--half", choices=("tuned", "sealed"), default="sealed")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    able = [(f, c) for h, f, c in drawn() if h == options.half and c.steps <= LONGEST]
    able = [(f, c) for f, c in able if program_of(c.build).prepare is None]
    order = random.Random(0)
    sick = [c.name for f, c in able if c.group == "fault" and f in FAMILIES]
    well = [c.name for _, c in able if c.group == "healthy"]
    order.shuffle(sick)
    order.shuffle(well)
    names = [*sick[: options.sick], *well[: options.healthy]]
    done: dict[str, Outcome] = {}
    with ProcessPoolExecutor(2) as pool:
        for n, found in enumerate(pool.map(kept, names), start=1):
            done[found.name] = found
            print(
                f"{n}/{len(names)} {found.name:48} none {found.none:5.2f} drawn {found.drawn:5.2f} "
                f"first {found.first:5.2f} raced {found.raced:5.2f} {found.winner} {found.error}",
                flush=True,
            )
    text = table([done[n] for n in sick[: options.sick]], [done[n] for n in well[: options.healthy]])
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
