"""Running: tasks to an engine, what is finished to the store, and a report of every experiment."""

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fadeout.engines import engine_of
from fadeout.errors import FadeoutError
from fadeout.lab import EXPERIMENTS, code
from fadeout.lab.bench import Bench
from fadeout.lab.data import NAMES
from fadeout.lab.experiment import SIZES, Experiment, Result, Task
from fadeout.records import Compared, LabReport, Outcome, Size, Table, verdict_of
from fadeout.store.lab import Results

FILE = "lab.sqlite"
TRIES = 2  # a task whose worker was lost, or that failed once, is given out again


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        now: Experiments with work under way or ahead.
        left: Seconds until all is done; nan while nobody knows.
    """

    done: int
    total: int
    now: tuple[str, ...]
    left: float


class InterruptedLab(KeyboardInterrupt):
    """Ctrl-C during a run: what was finished is kept, and the same call goes on there."""

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"lab: stopped; {done} of {total} tasks are done and kept, the same command goes on there")


def run(
    experiments: Sequence[Experiment] = EXPERIMENTS,
    *,
    size: Size = "quick",
    engine: str = "processes",
    folder: str | os.PathLike[str] = "fadeout-lab",
    data: str = "digits",
    fresh: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[LabReport, ...]:
    """Run experiments, and keep and report what they have measured.

    What the folder holds already, of the same code and setting, is not measured again.

    Args:
        size: "smoke" (seconds; asks only what needs no training), "quick" or "full".
        engine: "here", "processes" or "ray"; the rows are the same on each.
        folder: Where results are kept; made where it is missing.
        data: A data set, for experiments that can run on it; the others use their own.
        fresh: Measure everything again.
        progress: Called after each task.

    Raises:
        FadeoutError: If the folder, the engine or the data can't be used.
        InterruptedLab: After Ctrl-C.
    """
    if size not in SIZES:
        raise FadeoutError(f"lab: a run is one of {', '.join(SIZES)}, not {size!r}")
    if data not in NAMES:
        raise FadeoutError(f"lab: there is no data set {data!r}; it is one of {', '.join(NAMES)}")
    if engine == "together":
        raise FadeoutError("lab: engine 'together' trains arms of one case only; use here, processes or ray")
    store = _store(folder)
    try:
        if fresh:
            for experiment in experiments:
                store.forget(experiment.name)
        wanted = {experiment.name: _tasks(experiment, size, data) for experiment in experiments}
        kept = {experiment.name: store.found(code.version(experiment)) for experiment in experiments}
        waiting = [t for name, tasks in wanted.items() for t in tasks if _key(t) not in kept[name]]
        failed = _work(waiting, experiments, store, engine, progress, sum(map(len, wanted.values())))
        return tuple(_report(experiment, size, data, store, failed) for experiment in experiments)
    finally:
        store.close()


def known(
    experiments: Sequence[Experiment] = EXPERIMENTS, *, folder: str | os.PathLike[str] = "fadeout-lab"
) -> tuple[LabReport, ...]:
    """What the folder holds of each experiment, at the largest size that is complete; nothing is run or written."""
    if not (Path(folder) / FILE).exists():
        return tuple(blank(experiment) for experiment in experiments)
    store = _store(folder)
    try:
        found = []
        for experiment in experiments:
            kept = store.found(code.version(experiment))
            whole = [size for size in SIZES if all(_key(t) in kept for t in _tasks(experiment, size, "digits"))]
            report = _report(experiment, whole[-1], "digits", store, {}) if whole else blank(experiment)
            old = 0 if whole else store.old(experiment.name, code.version(experiment))
            told = (f"{old} results of an older version of fadeout are left aside",) if old else ()
            found.append(replace(report, told=report.told + told))
        return tuple(found)
    finally:
        store.close()


def blank(experiment: Experiment, size: Size = "quick") -> LabReport:
    """An experiment that has not been run."""
    return LabReport(
        name=experiment.name,
        title=experiment.title,
        chapter=experiment.chapter,
        claim=experiment.claim,
        source=experiment.source,
        story=experiment.story,
        setting=experiment.setting[size],
        lesson=experiment.lesson,
        expectations=tuple(e.says for e in experiment.expectations),
        status="not run",
        figures=experiment.figures,
        expected_seconds=experiment.seconds["quick"],
        size=size,
    )


def _store(folder: str | os.PathLike[str]) -> Results:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FadeoutError(f"lab: can't make the folder {folder} ({error.strerror}); pass another --folder") from error
    return Results(Path(folder) / FILE)


def _tasks(experiment: Experiment, size: Size, data: str) -> tuple[Task, ...]:
    able = data if data in experiment.data else experiment.data[0]
    return tuple(replace(task, data=able) for task in experiment.tasks(size))


def _key(task: Task) -> str:
    told = asdict(task)
    told.pop("limit")
    return json.dumps(told, sort_keys=True)


def _work(
    waiting: list[Task],
    experiments: Sequence[Experiment],
    store: Results,
    engine: str,
    progress: Callable[[Progress], None] | None,
    total: int,
) -> dict[str, str]:
    """Do all tasks; why each failed that did, by key."""
    failed: dict[str, str] = {}
    if not waiting:
        return failed
    size = waiting[0].size
    versions = {experiment.name: code.version(experiment) for experiment in experiments}
    cost = {e.name: e.seconds[size] / len(e.tasks(size)) for e in experiments}
    order = sorted(waiting, key=lambda task: -cost[task.experiment])  # long ones first: no core is idle at the end
    done, begun = total - len(order), time.monotonic()
    open_ = {_key(task): task for task in order}
    doing = engine_of(engine, Bench, verb="lab")
    try:
        for _ in range(TRIES):
            again = []
            for result in doing.run(order):
                if result.failed:
                    again.append(result.task)
                    failed[_key(result.task)] = result.failed
                else:
                    failed.pop(_key(result.task), None)
                    _keep(store, versions, result)
                    done += 1
                    open_.pop(_key(result.task), None)
                if progress is not None:
                    progress(_progress(done, total, tuple(open_.values()), waiting, cost, begun))
            order = again
            if not order:
                break
    except KeyboardInterrupt as stop:
        raise InterruptedLab(done, total) from stop
    finally:
        doing.close()
    return failed


def _keep(store: Results, versions: dict[str, str], result: Result) -> None:
    task = result.task
    store.keep(_key(task), versions[task.experiment], task.experiment, result.seconds, result.rows)


def _progress(
    done: int, total: int, open_: Sequence[Task], order: Sequence[Task], cost: dict[str, float], begun: float
) -> Progress:
    ahead = sum(cost[task.experiment] for task in open_)
    behind = sum(cost[task.experiment] for task in order) - ahead
    passed = time.monotonic() - begun
    left = passed * ahead / behind if behind > 0 else math.nan
    return Progress(done=done, total=total, now=tuple(dict.fromkeys(t.experiment for t in open_)), left=left)


def _report(experiment: Experiment, size: Size, data: str, store: Results, failed: dict[str, str]) -> LabReport:
    tasks = _tasks(experiment, size, data)
    kept = store.found(code.version(experiment))
    found = [kept[_key(task)] for task in tasks if _key(task) in kept]
    rows = tuple(row for rows, _ in found for row in rows)
    seconds = sum(s for _, s in found)
    seeds = tuple(sorted({task.seed for task in tasks}))
    report = replace(blank(experiment, size), table=Table(rows=rows), seconds=seconds, seeds=seeds, data=tasks[0].data)
    lost = [failed[_key(task)] for task in tasks if _key(task) in failed]
    if len(found) < len(tasks):
        why = f"{len(tasks) - len(found)} of {len(tasks)} tasks failed: {lost[0]}" if lost else "not all tasks were run"
        return replace(report, status="failed", why=why)
    return judged(experiment, report)


def judged(experiment: Experiment, report: LabReport) -> LabReport:
    """The report with the outcome of every expectation, the papers' figures and the verdict."""
    try:
        outcomes = tuple(_outcomes(experiment, report))
        compared = tuple(_compared(experiment, report.table)) if report.size != "smoke" else ()
    except (KeyError, ValueError, ZeroDivisionError, StopIteration) as error:
        return replace(report, status="failed", why=f"the measured rows don't answer what was expected: {error}")
    return replace(report, status="done", outcomes=outcomes, compared=compared, verdict=verdict_of(outcomes))


def _outcomes(experiment: Experiment, report: LabReport) -> Iterable[Outcome]:
    for expectation in experiment.expectations:
        if SIZES.index(report.size) < SIZES.index(expectation.needs):
            yield Outcome(expected=expectation.says, measured="", held=None)
            continue
        found = expectation.check(report.table)
        yield Outcome(expected=expectation.says, measured=found.measured, held=bool(found.held))


def _compared(experiment: Experiment, table: Table) -> Iterable[Compared]:
    for paper in experiment.published:
        yield Compared(
            source=paper.source, what=paper.what, theirs=paper.theirs, ours=paper.ours(table), differs=paper.differs
        )
