"""The report of a trial in a terminal: the outcome, the table, what else there is to know, the patch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from fadeout.records import Trial
from fadeout.render import words
from fadeout.render.layout import PROSE, Page, cell, fit, page_of, wrap
from fadeout.render.printout import plain
from fadeout.render.race import said

STYLES = {"winner": "bold green", "lost": "red", "beaten": "", "": "bold"}
HEAD_STYLES = {"WINNER:": "bold green", "NO WINNER:": "bold yellow", "INTERRUPTED:": "bold yellow"}
SHOWN = 14  # arms: as many have a row; the rest are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceReport:
    """A trial that is laid out when rich prints it: only then width and encoding are known."""

    trial: Trial
    width: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        page = page_of(console, options, width=self.width)
        yield from fit(_lines(self.trial, page), page, console)


def text(trial: Trial, width: int = 100) -> str:
    """The report as plain text."""
    return plain(RaceReport(trial=trial), width)


def _lines(trial: Trial, page: Page) -> Iterator[Text]:
    yield Text()
    yield Text("  " + said.about(trial), style="dim")
    yield Text()
    head, sentence = said.headline(trial)
    width = min(PROSE, page.width) - 2
    for n, line in enumerate(wrap(f"{head} {sentence}", width)):
        shown = Text("  " + line)
        if n == 0:
            shown.stylize(HEAD_STYLES[head], 2, 2 + len(head))
        yield shown
    yield Text()
    yield from _table(trial, page)
    others = said.besides(trial)
    if others:
        yield Text()
    for sentence in others:
        yield from (Text("  " + line) for line in wrap(sentence, width))
    yield from _wont_help(trial, page)
    if trial.patch:
        yield Text()
        yield Text("  what to change", style="bold")
        yield from (_diff(line) for line in trial.patch.splitlines())
    if trial.recipe:
        yield Text()
        yield Text("  what is left to change by hand" if trial.patch else "  what to change", style="bold")
        yield from (Text("    " + line) for line in said.recipe(trial))
    yield Text()


def _table(trial: Trial, page: Page) -> Iterator[Text]:
    rows = said.rows(trial)
    shown = list(rows[:SHOWN])
    widths = [max(len(r.cells[n]) for r in (*shown,)) for n in range(len(said.HEADS))] if shown else []
    heads = ["arm", "skill" if trial.scale else "held-out skill", "decades", "depth", "steps", "seconds"]
    widths = [max(w, len(h)) for w, h in zip(widths, heads, strict=True)]
    rest = sum(widths[1:]) + 2 * len(widths)
    widths[0] = max(12, min(widths[0], page.width - rest - 4))

    def named(title: str, short: str) -> str:
        return words.clip(title if len(title) <= widths[0] else short, widths[0])

    shown = [replace(row, cells=(named(row.cells[0], row.short), *row.cells[1:])) for row in shown]

    def line(cells: tuple[str, ...] | list[str], style: str) -> Text:
        made = [cell(c, w, right=n > 1) for n, (c, w) in enumerate(zip(cells, widths, strict=True))]
        found = Text("    " + "  ".join(made).rstrip())
        if style:
            found.stylize(style, 4, 4 + widths[0])
        return found

    yield Text(line(heads, "").plain, style="dim")
    for row in shown:
        yield line(row.cells, STYLES[row.mark])
        if row.why:
            yield from (Text("      " + part, style="dim") for part in wrap(row.why, page.width - 8))
    if len(rows) > SHOWN:
        yield Text(f"    and {len(rows) - SHOWN} more that were beaten or failed", style="dim")
    yield Text()
    yield from (Text("    " + part, style="dim") for part in wrap(said.scale(trial), page.width - 6))


def _wont_help(trial: Trial, page: Page) -> Iterator[Text]:
    pairs = said.wont_help(trial)
    if not pairs:
        return
    yield Text()
    yield Text("  will not help, by one step of a treated copy", style="bold")
    for name, why in pairs[:6]:
        lines = wrap(f"{name}: {why}", min(PROSE, page.width) - 6)
        yield from (Text(("    " if n == 0 else "      ") + line) for n, line in enumerate(lines))
    if len(pairs) > 6:
        yield Text(f"    and {len(pairs) - 6} more", style="dim")


def _diff(line: str) -> Text:
    style = "green" if line.startswith("+") else "red" if line.startswith("-") else "dim"
    return Text("    " + line, style=style)
