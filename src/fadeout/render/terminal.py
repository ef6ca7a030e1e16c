"""The terminal report: verdict first, then where the decades go, layer by layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from fadeout.records import Exam
from fadeout.render import (
    account_text,
    along_text,
    depth_text,
    findings_text,
    loss_terms,
    printout,
    sentences,
    tones,
    views,
)
from fadeout.render.layout import PROSE, Page, dim, fit, flow, page_of, prose, wrap, wrap_keep

VERDICT_STYLES = {"good": "bold green", "open": "bold yellow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report that is laid out when rich prints it: only then width and encoding are known.

    It is a display hook with a record's body, hence the methods.
    """

    exam: Exam
    width: int | None = None
    colour: bool = True
    findings: int = 3
    verbose: bool = False
    next_steps: tuple[str, ...] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        page = page_of(console, options, width=self.width, colour=self.colour)
        yield from fit(_lines(self, page), page, console)

    def __str__(self) -> str:
        return printout.printed(self)


def report(
    exam: Exam,
    *,
    width: int | None = None,
    colour: bool = True,
    findings: int = 3,
    verbose: bool = False,
    next_steps: Sequence[str] = (),
) -> Report:
    """The report of one exam, for a rich console.

    Args:
        width: Columns; the console's own where None.
        colour: Bars and verdict in colour; a console without colours drops it anyway.
        findings: How many findings to spell out.
        verbose: Show profile and account of a healthy network too.
        next_steps: Commands to offer at the end, as the caller knows them.
    """
    return Report(
        exam=exam,
        width=width,
        colour=colour,
        findings=findings,
        verbose=verbose,
        next_steps=tuple(next_steps),
    )


def text(
    exam: Exam,
    width: int = printout.WIDTH,
    *,
    findings: int = 3,
    verbose: bool = False,
    next_steps: Sequence[str] = (),
) -> str:
    """The same report as plain text, no colours, lines without trailing blanks."""
    return printout.plain(report(exam, findings=findings, verbose=verbose, next_steps=next_steps), width)


def _lines(report: Report, page: Page) -> Iterator[Text]:
    exam = report.exam
    yield Text()
    yield from _verdict(exam, page)
    full = report.verbose or exam.verdict not in sentences.HEALTHY
    if not full:
        yield from along_text.short(exam, page)
        yield from findings_text.short(exam, page)
        yield Text()
        return
    yield from account_text.kinds(exam, page)
    yield from prose(sentences.forecast(exam), page, style="dim")
    yield from account_text.stages(exam, page)
    yield from depth_text.profile(views.depth(exam), page)
    yield from along_text.along(exam, page)
    yield from along_text.across(exam, page)
    yield from loss_terms.account(exam, page)
    yield from account_text.unaccounted(exam.ledger, page)
    yield from findings_text.full(exam, page, report.findings)
    yield from findings_text.advice(exam, page, report.next_steps)
    yield Text()


def _verdict(exam: Exam, page: Page) -> Iterator[Text]:
    head, rest = sentences.headline(exam)
    said, *more = sentences.lines_of(rest)
    style = VERDICT_STYLES.get(tones.verdict_tone(exam), "bold red")
    left = len(head)
    for line in wrap(f"{head} {said}", min(page.width, PROSE) - 2):
        out = Text("  " + line)
        out.stylize(style, 2, 2 + min(left, len(line)))
        left = max(0, left - len(line) - 1)
        yield out
    for sentence in more:
        yield from prose(sentence, page)
    for sentence in (sentences.effective_depth(exam), sentences.effective_blocks(exam)):
        yield from prose(sentence, page)
    for line in flow(sentences.about(exam), " · ", page.width - 2):
        yield from (dim("  " + part) for part in wrap_keep(line, page.width - 2))
