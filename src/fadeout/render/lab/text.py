"""The lab in a terminal: the list of experiments, what each has shown, and how far a run is."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from fadeout.records import LabReport, Outcome
from fadeout.render.lab import said
from fadeout.render.layout import PROSE, Page, cell, fit, page_of, wrap

STYLES = {"reproduced": "green", "depends": "yellow", "not reproduced": "red", "failed": "red", "not run": "dim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabList:
    """All experiments, a paragraph each."""

    reports: tuple[LabReport, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        page = page_of(console, options)
        yield from fit(_listed(self.reports, page), page, console)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabResult:
    """What one experiment has shown."""

    report: LabReport

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        page = page_of(console, options)
        yield from fit(_shown(self.report, page), page, console)


def _listed(reports: Sequence[LabReport], page: Page) -> Iterator[Text]:
    width = min(PROSE, page.width) - 4
    chapter = ""
    for report in reports:
        if report.chapter != chapter:
            chapter = report.chapter
            yield Text()
            yield Text(f"  {chapter}", style="bold")
        state = said.verdict(report)
        ran = f"{report.size} run" if report.status != "not run" else ""
        took = said.time(report.expected_seconds)
        line = Text(f"  {cell(report.name, 15)} {cell(state, 15)} {cell(ran, 10)} {cell(took, 7, right=True)}")
        line.stylize("bold", 2, 2 + len(report.name))
        line.stylize(STYLES.get(state, ""), 18, 18 + len(state))
        yield line
        yield from (Text("    " + part) for part in wrap(report.claim, width))
        yield from (Text("    " + part, style="dim") for told in report.told for part in wrap(told, width))
    yield Text()
    whole = sum(report.expected_seconds for report in reports)
    yield Text(f"  Times are of one core at the quick setting, {said.time(whole)} in all.", style="dim")
    yield Text("  Run one: fadeout lab product.   Run all: fadeout lab all", style="dim")


def _shown(report: LabReport, page: Page) -> Iterator[Text]:
    width = min(PROSE, page.width) - 4
    state = said.verdict(report)
    yield Text()
    head = Text(f"  {report.title}: {state}", style="bold")
    head.stylize(STYLES.get(state, ""), 4 + len(report.title))
    yield head
    yield from (Text("  " + part) for part in wrap(report.claim, width))
    yield from (Text("  " + part, style="dim") for part in wrap(said.about(report) + ". " + report.setting, width))
    for line in (report.why, *report.told):
        yield from (Text("  " + part, style="yellow") for part in wrap(line, width))
    for outcome in report.outcomes:
        yield from _outcome(outcome, width)
    if report.compared:
        yield Text()
        yield Text("  the papers beside ours", style="bold")
    for paper in report.compared:
        told = f"{paper.source}. {paper.what}: {paper.theirs}. Ours: {paper.ours}. What differs: {paper.differs}."
        yield from (Text("  " + part) for part in wrap(told, width))


def _outcome(outcome: Outcome, width: int) -> Iterator[Text]:
    if outcome.held is None:
        return
    yield Text()
    mark = said.MARKS[outcome.held]
    style = "green" if outcome.held else "red"
    for i, part in enumerate(wrap(f"{mark}: {outcome.expected}", width)):
        line = Text("  " + part)
        if i == 0:
            line.stylize(style, 2, 2 + len(mark))
        yield line
    yield from (Text("    " + part, style="dim") for part in wrap(outcome.measured, width - 2))


def progress_line(done: int, total: int, now: Sequence[str], left: float) -> str:
    """'12 of 96 done, about 4 min left: depth, residual'."""
    minutes, seconds = divmod(round(left), 60) if math.isfinite(left) else (0, 0)
    ahead = f", about {minutes} min {seconds:02d} s left" if math.isfinite(left) and done < total else ""
    names = ", ".join(now[:3]) + (f" and {len(now) - 3} more" if len(now) > 3 else "")
    return f"lab: {done} of {total} tasks done{ahead}" + (f": {names}" if names else "")
