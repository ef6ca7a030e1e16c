"""Heats: the engine of a race of scripts.  Every job is the script itself, run once in a process of its own."""

import math
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from fadeout.engines import Job
from fadeout.live.racing.order import Order, Report, Role
from fadeout.live.racing.scale import Scale, Series, losses_of, metric_of, smoothed
from fadeout.live.racing.spelling import spelled
from fadeout.live.racing.start import Ran, start
from fadeout.records import Piece

UNWATCHED = re.compile(r"^fadeout: this process is not watched \((.*)\)$", re.MULTILINE)


class Heats:
    """Runs a script as often as a race asks.

    Attributes:
        ran: Every run, by arm and seed.
        scales: Of each seed, by its untreated run.
        other: Arms whose data were not those of the untreated run.
        several: The optimizers have losses of their own.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, steps: int, *, limit: float, metric: str, decides: bool
    ) -> None:
        self.command, self.folder, self.steps, self.limit = tuple(command), folder, steps, limit
        self.metric, self.decides = metric, decides
        self.ran: dict[tuple[str, int], Ran] = {}
        self.scales: dict[int, Scale] = {}
        self.backwards: dict[int, int] = {}
        self.other: list[str] = []
        self.decades = self.depth = math.nan
        self.several = False
        self._count = 0

    def run(self, jobs: Sequence[Job]) -> Iterator[Piece]:
        """Pieces, one after the other."""
        for job in jobs:
            yield self._piece(job)

    def forget(self, arms: Collection[str]) -> None:
        """Nothing is kept alive between runs."""

    def close(self) -> None:
        """Nothing is left running."""

    def one(self, role: Role, name: str, seed: int, *, command: Sequence[str] = (), **order: Any) -> Ran:
        """One run of the script, or of another command in its place."""
        self._count += 1
        folder = self.folder / f"{self._count}-{_plain(name)}-{seed}"
        told: dict[str, Any] = {"steps": self.steps, "backwards": self.backwards.get(seed, 0), **order}
        return start(command or self.command, Order(role=role, folder=str(folder), seed=seed, **told), self.limit)

    def control(self, seed: int) -> Ran:
        """The untreated run of a seed, which sets the scale; it is run once."""
        if ("none", seed) not in self.ran:
            ran = self.ran["none", seed] = self.one("control", "none", seed)
            if ran.main is not None and ran.main.marks:
                self.backwards[seed] = ran.main.marks[-1][1]
                series = self.series(ran)
                if series is not None:
                    passes = len(ran.main.losses) / len(series.values)
                    self.scales[seed] = Scale(series, math.nan if self.decides else ran.main.constant * passes)
        return self.ran["none", seed]

    def series(self, ran: Ran) -> Series | None:
        """What a run is scored by."""
        if self.decides:
            return metric_in(ran, self.metric)
        parts = losses_of(ran.main) if ran.main is not None else ()
        self.several = self.several or len(parts) > 1
        return Series(name="loss", values=parts[0]) if len(parts) == 1 and parts[0] else None

    def _piece(self, job: Job) -> Piece:
        base = self.control(job.seed)
        if job.arm == "none":
            ran = base
        else:
            treatment = spelled(job.treatment) if job.treatment is not None else None
            ran = self.one("treated" if treatment else "control", job.arm, job.seed, treatment=treatment)
            self.ran[job.arm, job.seed] = ran
        report, broken = ran.main, failure(ran, self.limit)
        if report is None or (broken and not report.marks):
            return job.failed(broken or "it reported nothing", seconds=ran.seconds)
        parts = losses_of(report)
        losses = parts[0] if parts else ()
        if not broken and any(not math.isfinite(v) for v in losses):
            step = next(n for n, v in enumerate(losses, start=1) if not math.isfinite(v))
            broken = f"its loss was not finite at step {step}" if job.treatment is not None else ""
        comparable = base.main is None or same_inputs(report, base.main)
        if not comparable and job.arm not in self.other:
            self.other.append(job.arm)
        series = self.series(ran)
        scale = self.scales.get(job.seed)
        curve: list[tuple[int, float]] = []
        if scale is not None and series is not None and (comparable or self.decides or job.treatment is None):
            curve = _curve(series, scale, job)
        control = job.treatment is None
        return Piece(
            arm=job.arm, seed=job.seed, stop=job.stop, steps=min(report.reached, job.stop) if broken else job.stop,
            losses=losses, curve=tuple(curve), failed=broken, seconds=ran.seconds,
            decades=self.decades if control else math.nan,
            effective_depth=self.depth if control else math.nan,
            recipe=(),
        )  # fmt: skip


def metric_in(ran: Ran, pattern: str) -> Series | None:
    """The metric of a run: in what its script prints, else in what it gives to a tracker."""
    logged = ran.main.logged if ran.main is not None else ()
    found = metric_of(ran.output, pattern)
    return found or metric_of("\n".join(f"{name}={value!r}" for name, value in logged), pattern)


def _curve(series: Series, scale: Scale, job: Job) -> list[tuple[int, float]]:
    if series.name == "loss":
        found = [(n, scale.skill(smoothed(series.values, n))) for n in job.points if n <= len(series.values)]
    else:
        count = len(series.values)
        found = [(round(job.stop * (n + 1) / count), scale.skill(v)) for n, v in enumerate(series.values)]
    if not found or found[-1][0] < job.stop:
        found.append((job.stop, scale.skill(series.end)))
    return found


def failure(ran: Ran, limit: float) -> str:
    """Why a run is no result; "" where it is one."""
    report = ran.main
    if ran.code is None:
        return f"it took longer than {limit:.0f} s; allow more with --timeout"
    if report is not None and report.failed:
        return report.failed
    if ran.code != 0:
        return f"the script ended with exit code {ran.code}: {ran.last_words}"
    if report is None and (said := UNWATCHED.search(ran.output)) is not None:
        return f"fadeout could not begin in the script's process: {said.group(1)}"
    if report is None:
        return "the script never imported torch, or runs under a Python that can't be reached (-I, -S, -E)"
    if not report.steps:
        return "no optimizer of torch.optim ever made a step"
    return ""


def same_inputs(one: Report, other: Report) -> bool:
    """Whether two runs saw the same data, as far as both went."""
    both = min(len(one.inputs), len(other.inputs))
    return one.inputs[:both] == other.inputs[:both]


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)[:40]
