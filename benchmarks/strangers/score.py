"""The second scoreboard: programs that were written without sight of the rules, split by program.

python -m benchmarks.strangers.score --half tuned --misses        while tuning: each miss, named
python -m benchmarks.strangers.score --half all --compared        with the other rule sets, as docs/strangers.md
python -m benchmarks.strangers.score --half sealed --advice       trains the first advice of every alarm as well

Measuring takes minutes and is kept under build/truth, as for benchmarks/truth/score.py.  The sealed half prints
figures only, never a case.
"""

import argparse
import math
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.strangers.ground import STORE as GROUND
from benchmarks.strangers.ground import drawn
from benchmarks.truth.case import Case
from benchmarks.truth.score import GRADIENT, Answer, Drawn, figures, kept, measure, misses, ours, path, theirs, wilson

WORKS = 0.9  # of the twin's skill: from here an advice has cured


def cases() -> list[Drawn]:
    """The drawn cases, in the form of the first scoreboard."""
    return [(half, family, case) for half, family, case in drawn()]


def by_label(part: list[Drawn], answer: Callable[[Case], Answer]) -> dict[str, str]:
    """Faults found, by the first accepted label."""
    rows: dict[str, list[bool]] = {}
    for _, _, case in part:
        if case.group == "fault":
            rows.setdefault(case.labels[0], []).append(answer(case).verdict in GRADIENT)
    return {f"... {label}": wilson(sum(hits), len(hits)) for label, hits in sorted(rows.items())}


def table(part: list[Drawn], compared: bool) -> str:
    """All programs, those of today and the classic ones apart; the other rule sets beside them."""
    columns = {"all": part}
    columns |= {family: [row for row in part if row[1] == family] for family in ("today", "classic")}
    shown = {name: figures(rows, ours) | by_label(rows, ours) for name, rows in columns.items()}
    if compared:
        shown |= {
            name: figures(part, theirs(name)) | by_label(part, theirs(name)) for name in kept(part[0][2]).baselines
        }
    lines = [f"| | {' | '.join(shown)} |", f"|---|{'---|' * len(shown)}"]
    lines += [f"| {row} | {' | '.join(found.get(row, '-') for found in shown.values())} |" for row in shown["all"]]
    return "\n".join(lines)


def followed(name: str) -> tuple[str, str, float]:
    """Train a case with the first advice of its alarm: (case, treatment, skill over the twin's; nan: not applied)."""
    import torch
    from benchmarks.treatments import skill_of
    from benchmarks.truth.ground import load

    from fadeout.treatments import BY_ID

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    case = next(case for _, _, case in drawn() if case.name == name)
    for one in ours(case).advice:
        skill = skill_of(case.build(), case.skill, BY_ID[one], case.steps)
        if not math.isnan(skill):
            return name, one, skill / load(GROUND)[name][1]
    return name, "", math.nan


def advice(part: list[Drawn], pool: ProcessPoolExecutor, named: bool) -> str:
    """How often the first advice of an alarm cures, where it is one that can be applied."""
    alarmed = [case.name for _, _, case in part if case.group == "fault" and ours(case).verdict in GRADIENT]
    found = list(pool.map(followed, alarmed))
    tried = [value for _, one, value in found if not math.isnan(value)]
    if named:
        for name, one, value in found:
            print(f"{name:50} {one:20} {value:5.2f}")
    return (
        f"First advice applied and trained: cures {wilson(sum(v >= WORKS for v in tried), len(tried))}; "
        f"{len(found) - len(tried)} of {len(found)} first advices are words that a program can't apply, or don't fit."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--half", default="tuned", choices=("tuned", "sealed", "all"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--fresh", action="store_true", help="measure again what is kept")
    parser.add_argument("--misses", action="store_true", help="name each miss of the tuned half")
    parser.add_argument("--compared", action="store_true", help="run the other rule sets as well")
    parser.add_argument("--advice", action="store_true", help="train the first advice of every alarm")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file as well")
    options = parser.parse_args()
    halves = ("tuned", "sealed") if options.half == "all" else (options.half,)
    every = [found for found in cases() if found[0] in halves]
    todo = [case.name for _, _, case in every if options.fresh or not path(case).exists()]
    begun = time.perf_counter()
    pages = []
    with ProcessPoolExecutor(options.jobs) as pool:
        work = pool.map(partial(measure, source=cases, compared=options.compared), todo)
        for done, (name, _, error) in enumerate(work, 1):
            if error and options.half == "tuned":
                print(f"{name}: {error.splitlines()[0][:150]}")
            if done % 20 == 0:
                print(f"{done} of {len(todo)} measured, {time.perf_counter() - begun:.0f} s", flush=True)
        for half in halves:
            part = [found for found in every if found[0] == half]
            text = f"{half} half, {len(part)} cases\n\n{table(part, options.compared)}"
            if options.advice:
                text += "\n\n" + advice(part, pool, named=half == "tuned" and options.misses)
            pages.append(text)
            print(f"\n{text}")
    print(f"\n{len(todo)} cases measured in {time.perf_counter() - begun:.0f} s")
    if options.markdown:
        options.markdown.write_text("\n\n".join(pages) + "\n", encoding="utf-8")
    if options.misses:
        print("\n".join(misses([found for found in every if found[0] == "tuned"])))


if __name__ == "__main__":
    main()
