"""Ground truth by training: each candidate and its twin at the user's own horizon, and what follows from it.

python -m benchmarks.truth.ground          trains what ground.json does not hold yet
python -m benchmarks.truth.ground --all    trains everything again

How it is judged, with s the skill of the case and t the skill of its twin (task.py says what skill is):

- fault: the twin learns (t >= bar) and the case clearly does not (s <= t / 2, or its output is not finite).
  Where the fault does no harm (s >= 0.9 t) it becomes a healthy control, a trap, if the family allows it; a cut, a dead
  layer or a rate too hot is real even where the rest of the net makes up for it: those are dropped.
- healthy: s >= bar.
- elsewhere: the program it came from learns and this one clearly does not, by the same half.

Everything between is dropped, and so is a program that raises. What one seed puts into a group is trained again from
another start, and stays only if both agree.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from benchmarks.truth.case import Case, Setup
from benchmarks.truth.program import Program, advance, build
from benchmarks.truth.task import NO_SKILL
from torch import nn

STORE = Path(__file__).with_name("ground.json")
HALF = 0.5  # of the twin's skill: up to here a fault has done its harm
HARMLESS = 0.9  # of the twin's skill: from here it has done none
Verdict = Literal["fault", "healthy", "elsewhere", "dropped"]
# case -> [skill, twin's skill or -9 without a twin, seconds of the case], and where that puts it into a group
# [.., skill, twin's skill] from the second start; skill -9: it raises
Truths = dict[str, list[float]]
RAISES = -9.0
SECOND = 101  # added to the program's seed for the second start


def load(store: Path = STORE) -> Truths:
    """What training has shown so far; empty before the first run."""
    if not store.exists():
        return {}
    found: Truths = json.loads(store.read_text())
    return found


def save(truths: Truths, store: Path = STORE) -> None:
    """One line a case, sorted."""
    lines = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(truths.items()))
    store.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def judge(case: Case, truth: list[float]) -> Verdict:
    """Which group training puts a case into, by both starts."""
    word = judge_once(case, truth[0], truth[1])
    if word == "dropped" or len(truth) < 5:
        return word
    return word if judge_once(case, truth[3], truth[4]) == word else "dropped"


def judge_once(case: Case, skill: float, twin: float) -> Verdict:
    """Which group one start puts a case into."""
    if skill == RAISES:
        return "dropped"
    if case.group == "healthy":
        return "healthy" if skill >= case.bar else "dropped"
    if twin < case.bar:
        return "dropped"
    if skill <= HALF * twin:
        return case.group
    harmless = skill >= HARMLESS * twin and skill >= case.bar
    return "healthy" if case.group == "fault" and case.trap and harmless else "dropped"


def train(make: Callable[[], Setup], steps: int, skill: Callable[[nn.Module], float]) -> float:
    """Skill after the user's own steps; RAISES where the program stops with an error."""
    try:
        setup = make()
        advance(setup, steps)
        return max(NO_SKILL, round(skill(setup.model), 3))
    except (RuntimeError, ValueError, IndexError) as error:
        print(f"  raises: {str(error)[:150]}", flush=True)
        return RAISES


def reseeded(make: Callable[[], Setup]) -> Callable[[], Setup]:
    """The same program from another start."""
    program = program_of(make)
    return partial(build, replace(program, seed=program.seed + SECOND))


def program_of(make: Callable[[], Setup]) -> Program:
    """The program behind a case's maker, which is always partial(build, program)."""
    program: object = getattr(make, "args", (None,))[0]
    assert isinstance(program, Program)
    return program


def run(cases: Iterable[Case], truths: Truths, store: Path = STORE) -> None:
    """Train what is missing and write it down as it comes."""
    todo = [c for c in cases if _unfinished(c, truths.get(c.name, []))]
    twins: dict[tuple[str, int, bool], float] = {}
    start = time.perf_counter()

    def train_twin(case: Case, second: bool) -> float:
        if case.twin is None:
            return RAISES
        key = (case.program, case.steps, second)
        if key not in twins:
            make = reseeded(case.twin) if second else case.twin
            twins[key] = train(make, case.steps, program_of(case.twin).skill)
        return twins[key]

    for i, case in enumerate(todo):
        truth = truths.get(case.name, [])
        if not truth:
            began = time.perf_counter()
            skill = train(case.build, case.steps, case.skill)
            seconds = round(time.perf_counter() - began, 2)
            truth = [skill, train_twin(case, False), seconds]
        if _unfinished(case, truth):
            truth = [*truth, train(reseeded(case.build), case.steps, case.skill), train_twin(case, True)]
        truths[case.name] = truth
        words = " ".join(f"{v:6.2f}" for v in truth)
        passed = time.perf_counter() - start
        print(
            f"{i + 1}/{len(todo)} {passed:5.0f} s  {case.name:52} {words}  {case.group} -> {judge(case, truth)}",
            flush=True,
        )
        if i % 20 == 19:
            save(truths, store)
    save(truths, store)


def _unfinished(case: Case, truth: list[float]) -> bool:
    return len(truth) < 3 or (len(truth) < 5 and judge_once(case, truth[0], truth[1]) != "dropped")


def main() -> None:
    from benchmarks.truth.draw import candidates  # draw reads this module's judgement

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    cases = [case for _, case in candidates()]
    truths = {} if "--all" in sys.argv else {k: v for k, v in load().items() if k in {c.name for c in cases}}
    run(cases, truths)


if __name__ == "__main__":
    main()
