"""The terminal report: verdict first, then where the decades go, layer by layer."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from fadeout.records import Exam, Finding, Level, Verdict
from fadeout.render import along_text, bars, comparison, depth_text, sentences, views, words
from fadeout.render.layout import PROSE, Page, cell, dim, fit, flow, heading, page_of, prose, wrap, wrap_keep

VERDICT_STYLES: dict[Verdict, str] = {"flows": "bold green", "undetermined": "bold yellow"}
LEVEL_STYLES: dict[Level, str] = {"alarm": "bold red", "warning": "bold yellow", "note": "bold cyan"}


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
        page = page_of(options, self.width)
        for line in _lines(self, page):
            yield fit(line, page, colour=self.colour)

    def __str__(self) -> str:
        return plain(self, self.width or 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareTable:
    """A comparison that is laid out when rich prints it."""

    view: comparison.Comparison
    width: int | None = None
    colour: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        page = page_of(options, self.width)
        for line in _comparison(self.view, page):
            yield fit(line, page, colour=self.colour)

    def __str__(self) -> str:
        return plain(self, self.width or 100)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


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
    width: int = 100,
    *,
    findings: int = 3,
    verbose: bool = False,
    next_steps: Sequence[str] = (),
) -> str:
    """The same report as plain text, no colours, lines without trailing blanks."""
    return plain(report(exam, findings=findings, verbose=verbose, next_steps=next_steps), width)


def compare_table(
    a: Exam,
    b: Exam,
    *,
    names: Sequence[str] = ("before", "after"),
    width: int | None = None,
    colour: bool = True,
) -> CompareTable:
    """Two exams side by side, for a rich console."""
    return side_by_side([a, b], names, width=width, colour=colour)


def side_by_side(
    exams: Sequence[Exam],
    names: Sequence[str],
    *,
    extra: Mapping[str, Sequence[str]] | None = None,
    width: int | None = None,
    colour: bool = True,
) -> CompareTable:
    """Any number of exams side by side; `extra` adds rows from outside, such as accuracies."""
    return CompareTable(view=comparison.compare(exams, names, extra=extra), width=width, colour=colour)


def plain(renderable: Report | CompareTable, width: int = 100) -> str:
    """Anything from this file as plain text."""
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _lines(report: Report, page: Page) -> Iterator[Text]:
    exam = report.exam
    yield Text()
    yield from _verdict(exam, page)
    full = report.verbose or exam.verdict not in sentences.HEALTHY
    if not full:
        yield from along_text.short(exam, page)
        yield from _short_findings(exam, page)
        yield Text()
        return
    yield from _kinds(exam, page)
    yield from prose(sentences.forecast(exam), page, style="dim")
    yield from _stages(exam, page)
    yield from depth_text.profile(views.depth(exam), page)
    yield from along_text.along(exam, page)
    yield from along_text.across(exam, page)
    yield from _unaccounted(exam, page)
    yield from _findings(exam, page, report.findings)
    yield from _advice(exam, page, report.next_steps)
    yield Text()


def _verdict(exam: Exam, page: Page) -> Iterator[Text]:
    head, rest = sentences.headline(exam)
    said, *more = sentences.lines_of(rest)
    for i, line in enumerate(wrap(f"{head} {said}", min(page.width, PROSE) - 2)):
        out = Text("  " + line)
        if i == 0:
            out.stylize(VERDICT_STYLES.get(exam.verdict, "bold red"), 2, 2 + len(head))
        yield out
    for sentence in more:
        yield from prose(sentence, page)
    for sentence in (sentences.effective_depth(exam), sentences.effective_blocks(exam)):
        yield from prose(sentence, page)
    for line in flow(sentences.about(exam), " · ", page.width - 2):
        yield dim("  " + line)


def _kinds(exam: Exam, page: Page) -> Iterator[Text]:
    every = views.kinds(exam)
    rows = [r for r in every if r.kind != "loss" and abs(r.decades) >= 0.05]
    if not rows or views.carried_by_skips(every):
        return
    labels = [_operations(row, page.width) for row in rows]
    column = max(len(label) for label in labels)
    parts = [words.share(r.part) if r.decades < 0 and math.isfinite(r.part) else "" for r in rows]
    numbers = [words.decades(r.decades) for r in rows]
    wide = max(len(n) for n in numbers)
    room = page.width - 4 - column - 2 - wide - 2 - 2 - max(len(p) for p in parts)
    room = max(8, min(room, 50))
    finite = [abs(r.decades) for r in rows if math.isfinite(r.decades)]
    most = max(finite, default=1.0)
    yield Text()
    yield heading("where the decades go", "on the way from the last layer to the data", 26)
    for row, label, part, value in zip(rows, labels, parts, numbers, strict=True):
        size = min(1.0, abs(row.decades) / most)
        drawn = bars.bar(size, room, ascii_only=page.ascii_only, full="█" if row.decades < 0 else "░")
        out = Text(f"    {label:<{column}}  {value:>{wide}}  ")
        out.append(cell(drawn, room), "red" if row.decades < 0 else "green")
        out.append(f"  {part}" if part else "")
        yield out


def _operations(row: views.KindRow, width: int) -> str:
    shown = ", ".join(f"{n:,} {op}" for n, op in row.operations[: 2 if width >= 100 else 1])
    more = len(row.operations) - (2 if width >= 100 else 1)
    if more > 0:
        shown += f", {more} more"
    return f"{row.label} ({shown})" if shown else row.label


def _stages(exam: Exam, page: Page) -> Iterator[Text]:
    """The stages that change the gradient most; a chain's stages are its layers, drawn already."""
    total = len(exam.ledger.stages)
    joined = views.carried_by_skips(views.kinds(exam))
    rows = [
        row
        for row in views.stages(exam, most=6)
        if (row.stage.branches or joined) and row.stage.start != "loss" and not abs(row.stage.log_gain) < 0.005
    ]
    if not any(row.stage.branches for row in rows):
        return
    yield Text()
    yield heading(f"largest of {total:,} stages" if total > len(rows) else "stages", "loss side first", 24)
    names = [f"{words.plain(r.stage.start)} → {words.plain(r.stage.to)}" for r in rows]
    index = len(f"{rows[-1].number}")
    column = min(max(len(name) for name in names), page.width * 2 // 5 - 4 - index)
    for row, name in zip(rows, names, strict=True):
        said = [f"{who or 'input'} {words.share(share)}" for who, share in views.branches(row.stage)]
        shares = _parts(said, page.width - column - index - 18)
        out = Text(f"    {row.number:>{index}}  {cell(name, column)}  {words.decades(row.stage.log_gain):>6}  ")
        out.append(shares, "dim")
        yield out


def _parts(said: Sequence[str], width: int) -> str:
    """As many parts as fit, and how many more there are."""
    for n in range(len(said), 0, -1):
        tail = f" and {len(said) - n} more" if n < len(said) else ""
        line = ", ".join(said[:n]) + tail
        if len(line) <= width:
            return line
    return words.shorten(said[0], width) if said else ""


def _unaccounted(exam: Exam, page: Page) -> Iterator[Text]:
    lines = sentences.unaccounted(exam)
    if not lines:
        return
    yield Text()
    yield heading("not in the account")
    for line in lines[:3]:
        yield from prose(line, page, indent="    ")
    if len(lines) > 3:
        yield dim(f"    and {len(lines) - 3:,} more")


def _short_findings(exam: Exam, page: Page) -> Iterator[Text]:
    """A healthy network's warnings in a line each; notes only as their number."""
    for finding in exam.findings:
        if finding.level != "note":
            yield from _claim(finding, page)
    notes = [words.plain(finding.code) for finding in exam.findings if finding.level == "note"]
    if notes:
        yield dim(f"  {words.count(len(notes), 'note')}: {', '.join(notes)} (--verbose, or exam.findings)")


def _claim(finding: Finding, page: Page) -> Iterator[Text]:
    head = f"{words.plain(finding.code)}  {finding.level}: "
    for i, line in enumerate(wrap(head + words.plain(finding.claim), min(page.width, PROSE) - 4)):
        out = Text(("  " if i == 0 else "    ") + line)
        if i == 0:
            out.stylize(LEVEL_STYLES[finding.level], 2, 2 + len(finding.code))
        yield out


def _findings(exam: Exam, page: Page, most: int) -> Iterator[Text]:
    if not exam.findings:
        return
    for finding in exam.findings[:most]:
        yield Text()
        head = words.plain(finding.code)
        parts = [words.VERDICT_WORDS[finding.label].lower()] if finding.label != "flows" else []
        if finding.level != "alarm":
            parts.insert(0, finding.level)
        parts += [*sentences.where(finding, exam), sentences.causes(finding)]
        room = page.width - 4 - len(head)
        lines = flow([words.clip(part, room) for part in parts if part], " · ", room)
        for i, line in enumerate(lines):
            out = Text(f"  {head if i == 0 else ' ' * len(head)}  {line}")
            if i == 0:
                out.stylize(LEVEL_STYLES[finding.level], 2, 2 + len(head))
            yield out
        indent = " " * (len(head) + 4)
        claim = words.plain(finding.claim)
        if claim not in exam.sentence:
            yield from prose(claim, page, indent=indent)
        room = min(page.width, PROSE) - len(indent)
        said = [*flow(sentences.evidence(finding)[:4], "; ", room), sentences.STATUS_WORDS[finding.status]]
        for line in (part for each in said for part in wrap_keep(each, room)):
            yield dim(indent + line)
    left = len(exam.findings) - most
    if left > 0:
        yield dim(f"  and {words.count(left, 'more finding')}")


def _advice(exam: Exam, page: Page, next_steps: tuple[str, ...]) -> Iterator[Text]:
    helps, wont = sentences.helps(exam), sentences.wont_help(exam)
    blocks: list[tuple[str, str, list[str]]] = []
    width = page.width - 14
    if helps:
        numbered = [f"{i}. {what}" for i, what in enumerate(helps, start=1)]
        blocks.append(("will help", "green", [w for f in flow(numbered, "   ", width) for w in wrap_keep(f, width)]))
    if wont:
        blocks.append(
            (
                "will not",
                "red",
                [w for what, why in wont for w in wrap(f"{what}: {why}", min(width, PROSE - 14))],
            )
        )
    if next_steps:
        blocks.append(("next", "cyan", flow([words.plain(step) for step in next_steps], "   |   ", width)))
    if blocks:
        yield Text()
    for title, style, lines in blocks:
        for i, line in enumerate(lines):
            out = Text(f"  {title if i == 0 else '':<10}  {line}")
            out.stylize(style, 2, 12)
            yield out


def _comparison(view: comparison.Comparison, page: Page) -> Iterator[Text]:
    changes = any(row.change for row in view.rows)
    heads = (*view.names, "change") if changes else view.names
    rows = [(r.quantity, (*r.values, r.change) if changes else r.values) for r in (*view.rows, *view.layers)]
    first = min(max(len(quantity) for quantity, _ in rows), max(18, page.width // 3))
    room = (page.width - 2 - first - 2 * len(heads)) // len(heads)
    columns = [
        min(max(len(head), *(len(values[i]) for _, values in rows)), max(6, room)) for i, head in enumerate(heads)
    ]
    yield Text()
    head = Text("  " + " " * first)
    for title, column in zip(heads, columns, strict=True):
        head.append("  " + cell(words.clip(words.plain(title), column), column, right=True), "bold")
    yield head
    for i, (quantity, values) in enumerate(rows):
        if i == len(view.rows):
            yield dim("  layers that changed most, log10 of the gradient norm")
        out = Text("  " + cell(quantity, first))
        for value, column in zip(values, columns, strict=True):
            out.append("  " + cell(words.clip(value, column), column, right=True))
        out.rstrip()
        yield out
    yield Text()
