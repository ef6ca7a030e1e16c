"""Findings in the terminal: each with its place, evidence and advice, and what helps against the gravest."""

from collections.abc import Iterator

from rich.text import Text

from fadeout.records import Exam, Finding, Level
from fadeout.render import paste, sentences, words
from fadeout.render.layout import PROSE, Page, dim, flow, prose, wrap, wrap_keep

LEVEL_STYLES: dict[Level, str] = {"alarm": "bold red", "warning": "bold yellow", "note": "bold cyan"}
INDENT = " " * 9  # below "  FO101  "


def short(exam: Exam, page: Page) -> Iterator[Text]:
    """A healthy network's warnings in a line each, notes as their number; in full what says why it learns nothing."""
    for finding in exam.findings:
        if sentences.explains(finding, exam):
            yield Text()
            yield from _finding(finding, exam, page, advice=True)
        elif finding.level != "note":
            yield from _claim(finding, page)
    notes = [f.code for f in exam.findings if f.level == "note" and not sentences.explains(f, exam)]
    if notes:
        said = f"{words.count(len(notes), 'note')}: {', '.join(map(words.plain, notes))} (--verbose, or exam.findings)"
        yield from prose(said, page, style="dim")


def _claim(finding: Finding, page: Page) -> Iterator[Text]:
    head = f"{words.plain(finding.code)}  {finding.level}: "
    for i, line in enumerate(wrap(head + words.plain(finding.claim), min(page.width, PROSE) - 4)):
        out = Text(("  " if i == 0 else "    ") + line)
        if i == 0:
            out.stylize(LEVEL_STYLES[finding.level], 2, 2 + len(finding.code))
        yield out


def full(exam: Exam, page: Page, most: int) -> Iterator[Text]:
    """The first `most` findings, and every one that says why nothing is learned."""
    gravest = sentences.gravest(exam)
    shown = [f for i, f in enumerate(exam.findings) if i < most or exam.progress == "does_not_learn"]
    for finding in shown:
        yield Text()
        yield from _finding(finding, exam, page, advice=finding not in gravest)
    left = len(exam.findings) - len(shown)
    if left > 0:
        yield dim(f"  and {words.count(left, 'more finding')}")


def _finding(finding: Finding, exam: Exam, page: Page, *, advice: bool) -> Iterator[Text]:
    head = words.plain(finding.code)
    parts = [words.VERDICT_WORDS[finding.label].lower()] if finding.label != "flows" else []
    if finding.level != "alarm":
        parts.insert(0, finding.level)
    parts += [*sentences.where(finding, exam), sentences.causes(finding)]
    room = page.width - 4 - len(head)
    for i, line in enumerate(w for part in flow([p for p in parts if p], " · ", room) for w in wrap_keep(part, room)):
        out = Text(f"  {head if i == 0 else ' ' * len(head)}  {line}")
        if i == 0:
            out.stylize(LEVEL_STYLES[finding.level], 2, 2 + len(head))
        yield out
    claim = words.plain(finding.claim)
    if claim not in exam.sentence:
        yield from prose(claim, page, indent=INDENT)
    room = min(page.width, PROSE) - len(INDENT)
    said = [*flow(sentences.evidence(finding)[:4], "; ", room), sentences.STATUS_WORDS[finding.status]]
    for line in (part for each in said for part in wrap_keep(each, room)):
        yield dim(INDENT + line)
    if advice:
        yield from _own_advice(finding, exam, page)


def _own_advice(finding: Finding, exam: Exam, page: Page) -> Iterator[Text]:
    if finding.helps:
        helps = "; ".join(words.plain(what) for what in finding.helps)
        for i, out in enumerate(prose(f"will help: {helps}", page, indent=INDENT)):
            if i == 0:
                out.stylize("green", len(INDENT), len(INDENT) + 10)
            yield out
    code = paste.line(finding, exam)
    if code:
        yield _code(INDENT, code)


def _code(indent: str, code: str) -> Text:
    out = Text(f"{indent}{code}")
    out.stylize("bold", len(indent))
    return out


def advice(exam: Exam, page: Page, next_steps: tuple[str, ...]) -> Iterator[Text]:
    """What helps against the gravest finding and what does not, a line to paste, and where to go next."""
    width, most = page.width - 14, min(page.width, PROSE) - 14
    helps = [f"{i}. {what}" for i, what in enumerate(sentences.helps(exam), start=1)]
    code = [line for line in (paste.line(f, exam) for f in sentences.gravest(exam)) if line]
    blocks: list[tuple[str, str, list[str]]] = [
        ("will help", "green", [w for line in flow(helps, "   ", width) for w in wrap_keep(line, width)]),
        ("paste", "green", [w for line in dict.fromkeys(code) for w in wrap_keep(line, width)]),
        ("will not", "yellow", [w for what, why in sentences.wont_help(exam) for w in wrap(f"{what}: {why}", most)]),
        ("next", "cyan", flow([words.plain(step) for step in next_steps], "   |   ", width)),
    ]
    if any(lines for _, _, lines in blocks):
        yield Text()
    for title, style, lines in blocks:
        for i, line in enumerate(lines):
            out = Text(f"  {title if i == 0 else '':<10}  {line}")
            out.stylize(style, 2, 12)
            if title == "paste":
                out.stylize("bold", 14)
            yield out
