"""The scoreboard: what the rules say of every drawn case, beside AutoTrainer's rule and fixed thresholds.

python -m benchmarks.truth.score --half tuned --misses        while tuning: each miss, named
python -m benchmarks.truth.score --half all --markdown docs/truth-table.md

Measuring takes minutes and is kept under build/truth (not committed; --fresh measures again); rules are judged on
what was kept, in seconds.  The sealed half prints figures only, never a case.
"""

import argparse
import pickle
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

from benchmarks.truth.case import Case
from benchmarks.truth.draw import drawn

STORE = Path("build/truth")
GRADIENT = ("vanishing", "exploding", "dead", "saturated", "bad_init", "severed", "not_finite")
Drawn = tuple[str, str, Case]  # half, family, case


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one rule set said of one case."""

    verdict: str
    where: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    code: str = ""
    progress: str = "unknown"
    advice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What was measured of one case: the reading with its course as plain data, or what went wrong; the baselines."""

    reading: dict[str, Any] | None
    error: str
    seconds: float
    baselines: dict[str, tuple[str, str | None]]


def measure(name: str, source: Callable[[], list[Drawn]] = drawn, compared: bool = True) -> tuple[str, float, str]:
    """Measure one case and keep the result; (name, seconds, error).

    Args:
        source: Gives the cases, each name once among all sources.
        compared: Run the other rule sets as well.
    """
    import torch
    from benchmarks.truth.baselines import BASELINES

    from fadeout.call.question import Question
    from fadeout.course.training import take_course
    from fadeout.store.contract import plain

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    case = next(case for _, _, case in source() if case.name == name)
    begun = time.perf_counter()
    error, found = "", None
    try:
        torch.manual_seed(0)
        setup = case.build()
        question = Question(
            verb="examine",
            model=setup.model,
            batch=setup.batches,
            loss=setup.loss,
            optimizer=setup.optimizer,
            train_step=setup.train_step,
            steps=case.steps,
        )
        found = take_course(question).reading
    except Exception as trouble:
        error = f"{type(trouble).__name__}: {trouble}\n{traceback.format_exc()}"
    seconds = time.perf_counter() - begun
    baselines: dict[str, tuple[str, str | None]] = {}
    for rule, run in BASELINES.items() if compared else ():
        try:
            torch.manual_seed(0)
            baselines[rule] = run(case.build(), case.steps)
        except Exception:  # the program itself raises in training
            baselines[rule] = ("flows", None)
    STORE.mkdir(parents=True, exist_ok=True)
    path(case).write_bytes(
        pickle.dumps(
            Kept(reading=None if found is None else plain(found), error=error, seconds=seconds, baselines=baselines)
        )
    )
    return name, seconds, error


def path(case: Case) -> Path:
    """Where a case's measurement is kept."""
    return STORE / f"{case.name.replace('/', '_')}.pickle"


def kept(case: Case) -> Kept:
    """What was measured of a case."""
    found = pickle.loads(path(case).read_bytes())
    assert isinstance(found, Kept)
    return found


@cache
def ours(case: Case, steps: int | None = None) -> Answer:
    """The rules' answer on the kept reading; `steps` cuts its course short, 0 leaves one step."""
    from fadeout.records import Reading
    from fadeout.rules import diagnose, progress, verdict
    from fadeout.store.contract import build

    found = kept(case)
    if found.reading is None:
        return Answer(verdict="error", code=found.error.splitlines()[0][:90])
    reading: Reading = build(Reading, found.reading)
    if steps is not None:
        reading = shortened(reading, steps)
    findings = diagnose(reading)
    first = next((f for f in findings if f.level == "alarm"), None)
    return Answer(
        verdict=verdict(reading, findings),
        where=first.where if first else (),
        causes=tuple(c.kind for c in first.cause) if first else (),
        code=first.code if first else "",
        advice=tuple(t for a in first.advice[:1] for t in a.treatments) if first else (),
        progress=progress(reading, findings),
    )


def shortened(reading: Any, steps: int) -> Any:
    """The same reading as an exam of fewer steps would have left it."""
    course = reading.course
    if course is None or not steps:
        return replace(reading, course=None)
    kept_probes = [n for n, probe in enumerate(course.probes) if probe.step <= steps]
    done = min(course.steps, max(course.probes[n].step for n in kept_probes))
    broken = course.broken if course.broken is not None and course.broken <= done else None
    return replace(
        reading,
        course=replace(
            course,
            steps=done,
            losses=course.losses[: max(1, done)],
            probes=tuple(course.probes[n] for n in kept_probes),
            learned=tuple(course.learned[n] for n in kept_probes),
            broken=broken,
            growth=course.growth if done == course.steps else 1.0,
        ),
    )


def horizons(cases: list[Drawn]) -> str:
    """How the verdict comes about with the steps, as markdown."""
    lines = ["| | step 0 only | 21 steps | the user's own horizon |", "|---|---|---|---|"]
    ways: tuple[Callable[[Case], Answer], ...] = (lambda c: ours(c, 0), lambda c: ours(c, 21), ours)
    rows = [figures(cases, way) for way in ways]
    lines += [f"| {name} | {' | '.join(row[name] for row in rows)} |" for name in rows[0] if name != "cause right"]
    right = []
    for way in ways:
        alarms = [(c, way(c)) for _, _, c in cases if way(c).verdict in GRADIENT]
        right.append(wilson(sum(c.group == "fault" and a.verdict in c.labels for c, a in alarms), len(alarms)))
    lines.append(f"| alarms that are right, with their label | {' | '.join(right)} |")
    same = [
        wilson(sum((way(c).verdict in GRADIENT) == (ours(c).verdict in GRADIENT) for _, _, c in cases), len(cases))
        for way in ways
    ]
    return "\n".join([*lines, f"| agrees with the end | {' | '.join(same)} |"])


def alarms(cases: list[Drawn]) -> str:
    """How often an alarm is right, with an accepted label on a sick program: by its code, as markdown.

    src/fadeout/rules/confidence.py holds the lower ends of these intervals, of the sealed half.
    """
    lines = ["| alarm | one step | the user's own horizon |", "|---|---|---|"]
    ways: tuple[Callable[[Case], Answer], ...] = (lambda c: ours(c, 0), ours)
    said = [[(c, way(c)) for _, _, c in cases if way(c).verdict in GRADIENT] for way in ways]
    codes = sorted({a.code for part in said for _, a in part})
    for code in ("any", *codes):
        counts = []
        for part in said:
            mine = [(c, a) for c, a in part if code in ("any", a.code)]
            counts.append(wilson(sum(c.group == "fault" and a.verdict in c.labels for c, a in mine), len(mine)))
        lines.append(f"| {code} | {' | '.join(counts)} |")
    return "\n".join(lines)


def theirs(rule: str) -> Callable[[Case], Answer]:
    """A baseline's answers."""

    def answer(case: Case) -> Answer:
        word, layer = kept(case).baselines[rule]
        return Answer(verdict=word, where=(layer,) if layer else ())

    return answer


def wilson(hits: int, total: int) -> str:
    """'45/51 .88 [.77, .95]', the interval at 95 %."""
    if not total:
        return "-"
    p, z = hits / total, 1.96
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return f"{hits}/{total} {p:.2f} [{max(0.0, middle - half):.2f}, {min(1.0, middle + half):.2f}]"


def near(found: tuple[str, ...], accepted: tuple[str, ...]) -> bool:
    """Whether the first place named is an accepted one, or inside one."""
    return any(f == a or (a and f.startswith(f"{a}.")) for f in found[:1] for a in accepted)


def figures(cases: Iterable[Drawn], answer: Callable[[Case], Answer]) -> dict[str, str]:
    """The figures of one rule set over some cases."""
    said = [(case, answer(case)) for _, _, case in cases]
    faults = [(c, a) for c, a in said if c.group == "fault"]
    healthy = [(c, a) for c, a in said if c.group == "healthy"]
    alarmed = [(c, a) for c, a in faults if a.verdict in GRADIENT]
    placed = [(c, a) for c, a in alarmed if c.where]
    caused = [(c, a) for c, a in alarmed if c.causes and a.causes]

    def false(group: list[tuple[Case, Answer]]) -> str:
        return wilson(sum(a.verdict in GRADIENT for _, a in group), len(group))

    return {
        "faults found": wilson(len(alarmed), len(faults)),
        "accepted label": wilson(sum(a.verdict in c.labels for c, a in faults), len(faults)),
        "place right": wilson(sum(near(a.where, c.where) for c, a in placed), len(placed)),
        "cause right": wilson(sum(a.causes[0] in c.causes for c, a in caused), len(caused)),
        "false, healthy as they are": false([(c, a) for c, a in healthy if c.fault is None]),
        "false, harmless perturbations": false([(c, a) for c, a in healthy if c.fault is not None]),
        "could not be examined": wilson(sum(a.verdict == "error" for _, a in said), len(said)),
        "false, fails elsewhere": false([(c, a) for c, a in said if c.group == "elsewhere"]),
    }


def families(cases: Iterable[Drawn], answer: Callable[[Case], Answer]) -> dict[str, str]:
    """Faults found, by family."""
    rows: dict[str, list[bool]] = {}
    for _, family, case in cases:
        if case.group == "fault":
            rows.setdefault(family, []).append(answer(case).verdict in GRADIENT)
    return {f"... {family}": wilson(sum(hits), len(hits)) for family, hits in sorted(rows.items())}


def table(cases: list[Drawn]) -> str:
    """All rule sets side by side, as markdown."""
    rules: dict[str, Callable[[Case], Answer]] = {"fadeout": ours}
    rules |= {name: theirs(name) for name in kept(cases[0][2]).baselines}
    columns = {name: figures(cases, rule) | families(cases, rule) for name, rule in rules.items()}
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    lines += [f"| {row} | {' | '.join(c[row] for c in columns.values())} |" for row in columns["fadeout"]]
    return "\n".join(lines)


def misses(cases: list[Drawn]) -> list[str]:
    """One line for each wrong verdict (W), label (L) or place (P)."""
    lines = []
    for _, family, case in cases:
        said = ours(case)
        fault = case.group == "fault"
        marks = "W" * ((said.verdict in GRADIENT) != fault) + "L" * (fault and said.verdict not in case.labels)
        marks += "P" * (fault and bool(case.where) and not near(said.where, case.where))
        if marks:
            lines.append(
                f"{marks:3} {case.group:9} {family:10} {case.name:48} {'/'.join(case.labels)} -> {said.verdict} "
                f"{said.code} at {', '.join(said.where[:2])} (wanted {', '.join(case.where[:3])}) {said.progress}"
            )
    return lines


def main() -> None:
    """Parse, measure what is not kept, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--half", default="tuned", choices=("tuned", "sealed", "all"))
    parser.add_argument("--every", type=int, default=1, help="only every Nth case")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--fresh", action="store_true", help="measure again what is kept")
    parser.add_argument("--misses", action="store_true", help="name each miss of the tuned half")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file as well")
    options = parser.parse_args()
    halves = ("tuned", "sealed") if options.half == "all" else (options.half,)
    cases = [found for found in drawn() if found[0] in halves][:: options.every]
    todo = [case.name for _, _, case in cases if options.fresh or not path(case).exists()]
    begun = time.perf_counter()
    with ProcessPoolExecutor(options.jobs) as pool:
        for done, (name, _, error) in enumerate(pool.map(measure, todo), 1):
            if error and options.half == "tuned":
                print(f"{name}: {error.splitlines()[0][:150]}")
            if done % 40 == 0:
                print(f"{done} of {len(todo)} measured, {time.perf_counter() - begun:.0f} s", flush=True)
    pages = []
    for half in halves:
        part = [found for found in cases if found[0] == half]
        pages.append(f"{half} half, {len(part)} cases\n\n{table(part)}\n\n{horizons(part)}\n\n{alarms(part)}")
        print(f"\n{pages[-1]}")
    print(f"\n{len(todo)} cases measured in {time.perf_counter() - begun:.0f} s")
    if options.markdown:
        options.markdown.write_text("\n\n".join(pages) + "\n")
    if options.misses:
        print("\n".join(misses([found for found in cases if found[0] == "tuned"])))


if __name__ == "__main__":
    main()
