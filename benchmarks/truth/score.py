"""The scoreboard: what the rules say of every drawn case, beside AutoTrainer's rule and fixed thresholds.

python -m benchmarks.truth.score [--half tuned|sealed|all] [--every N] [--jobs 2] [--fresh] [--misses]

Measuring takes minutes and is kept (build/truth, not committed); rules are judged on what was kept, in seconds.
"""

import argparse
import pickle
import sys
import time
import traceback
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from benchmarks.truth.case import Case
from benchmarks.truth.draw import drawn

STORE = Path("build/truth")
GRADIENT = ("vanishing", "exploding", "dead", "saturated", "bad_init", "severed", "not_finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one rule set said of one case."""

    verdict: str
    where: tuple[str, ...]
    causes: tuple[str, ...]
    code: str = ""


def measure(name: str) -> tuple[str, float, str]:
    """Measure one case and keep the reading; (name, seconds, error)."""
    import torch

    from fadeout.probe.course import take_course

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    case = next(case for _, _, case in drawn() if case.name == name)
    begun = time.perf_counter()
    error = ""
    try:
        torch.manual_seed(0)
        setup = case.build()
        taken = take_course(
            setup.model,
            setup.batches,
            loss=setup.loss,
            optimizer=setup.optimizer,
            train_step=setup.train_step,
            steps=case.steps,
            within=None,
            autocast=None,
            reach=0,
            verb="examine",
        )
        found: object = taken.reading
    except Exception as trouble:
        found, error = None, f"{type(trouble).__name__}: {trouble}\n{traceback.format_exc()}"
    STORE.mkdir(parents=True, exist_ok=True)
    path(case).write_bytes(pickle.dumps((found, error, time.perf_counter() - begun)))
    return name, time.perf_counter() - begun, error


def path(case: Case) -> Path:
    """Where a case's reading is kept."""
    return STORE / f"{case.name.replace('/', '_')}.pickle"


def answer(case: Case) -> Answer:
    """The rules' answer on the kept reading."""
    from fadeout.rules import diagnose, verdict

    reading, error, _ = pickle.loads(path(case).read_bytes())
    if reading is None:
        return Answer(verdict="error", where=(), causes=(), code=error.splitlines()[0][:90])
    findings = diagnose(reading)
    alarms = [f for f in findings if f.level == "alarm"]
    first = alarms[0] if alarms else None
    return Answer(
        verdict=verdict(reading, findings),
        where=first.where if first else (),
        causes=tuple(c.kind for c in first.cause) if first else (),
        code=first.code if first else "",
    )


def wilson(hits: int, total: int) -> str:
    """'45/51 .88 [.77, .95]', the interval at 95 %."""
    if not total:
        return "-"
    p, z = hits / total, 1.96
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return f"{hits}/{total} {p:.2f} [{low:.2f}, {high:.2f}]"


def near(found: tuple[str, ...], accepted: tuple[str, ...]) -> bool:
    """Whether the first place named is an accepted one, or inside one."""
    return any(f == a or f.startswith(f"{a}.") for f in found[:1] for a in accepted)


def row(cases: list[tuple[str, str, Case]], answers: dict[str, Answer]) -> dict[str, str]:
    """The figures of one rule set over some cases."""
    faults = [c for _, _, c in cases if c.group == "fault"]
    healthy = [c for _, _, c in cases if c.group == "healthy"]
    elsewhere = [c for _, _, c in cases if c.group == "elsewhere"]
    alarmed = [c for c in faults if answers[c.name].verdict in GRADIENT]
    placed = [c for c in alarmed if c.where]
    caused = [c for c in alarmed if c.causes and answers[c.name].causes]
    return {
        "found": wilson(len(alarmed), len(faults)),
        "label": wilson(sum(answers[c.name].verdict in c.labels for c in faults), len(faults)),
        "place": wilson(sum(near(answers[c.name].where, c.where) for c in placed), len(placed)),
        "cause": wilson(sum(answers[c.name].causes[0] in c.causes for c in caused), len(caused)),
        "false, healthy": wilson(sum(answers[c.name].verdict in GRADIENT for c in healthy), len(healthy)),
        "false, elsewhere": wilson(sum(answers[c.name].verdict in GRADIENT for c in elsewhere), len(elsewhere)),
    }


def main() -> None:
    """Parse, measure what is not kept, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--half", default="tuned", choices=("tuned", "sealed", "all"))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--misses", action="store_true")
    options = parser.parse_args()
    every = drawn()
    cases = [found for found in every if options.half in ("all", found[0])][:: options.every]
    todo = [case.name for _, _, case in cases if options.fresh or not path(case).exists()]
    begun = time.perf_counter()
    with ProcessPoolExecutor(options.jobs) as pool:
        for done, (name, seconds, error) in enumerate(pool.map(measure, todo)):
            if error:
                print(name if options.half != "sealed" else "a case", error.splitlines()[0][:150])
            if done % 20 == 0:
                print(f"{done}/{len(todo)} {time.perf_counter() - begun:.0f} s, last {seconds:.1f} s", file=sys.stderr)
    answers = {case.name: answer(case) for _, _, case in cases}
    print(f"{len(cases)} cases, {options.half}; {time.perf_counter() - begun:.0f} s")
    for name, figures in row(cases, answers).items():
        print(f"  {name:18} {figures}")
    if options.misses and options.half != "sealed":
        for _, family, case in cases:
            said = answers[case.name]
            wrong = (said.verdict in GRADIENT) != (case.group == "fault")
            label = case.group == "fault" and said.verdict not in case.labels
            place = case.group == "fault" and bool(case.where) and not near(said.where, case.where)
            if wrong or label or place:
                marks = "".join(m for m, on in zip("WLP", (wrong, label, place), strict=True) if on)
                print(f"{marks:3} {case.group:9} {family:10} {case.name:50} {case.labels} {said.verdict} "
                      f"{said.code} {said.where[:2]} {case.where[:3]}")  # fmt: skip
    print(Counter((c.group, answers[c.name].verdict) for _, _, c in cases))


if __name__ == "__main__":
    main()
