"""The layout of a terminal report: lines of text that fit the page and never part a number."""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import ConsoleOptions
from rich.text import Text

from fadeout.render import words

PROSE = 100  # characters: longer lines of text are hard to read
LEAST, MOST = 40, 160
ASCII = str.maketrans({"·": "-", "…": "~", "→": ">", "—": "-", "×": "x", "²": "2", "░": "-", "█": "="})


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The space a report is laid out for."""

    width: int
    ascii_only: bool


def page_of(options: ConsoleOptions, width: int | None) -> Page:
    return Page(
        width=max(LEAST, min(options.max_width, width or MOST, MOST)),
        ascii_only=options.ascii_only,
    )


def fit(line: Text, page: Page, *, colour: bool) -> Text:
    """One line that neither wraps nor uses what the console can't show."""
    shown = line.plain
    if page.ascii_only:
        shown = shown.translate(ASCII).encode("ascii", "replace").decode()
    fitted = Text(shown, no_wrap=True, overflow="crop", spans=list(line.spans) if colour else None)
    return fitted


def wrap(sentence: str, width: int) -> list[str]:
    """Lines of at most `width` characters; a number is never parted from its sign or unit."""
    glued = re.sub(r"(?<=\d) (?=(decades|%|layers|s)\b|%)", "\N{NO-BREAK SPACE}", sentence)
    glued = re.sub(r"(?<=<) (?=\d)|(?<=\blayers) (?=\d)|(?<=\blayer) (?=\d)", "\N{NO-BREAK SPACE}", glued)
    lines = textwrap.wrap(glued, max(20, width), break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def flow(parts: Sequence[str], separator: str, width: int) -> list[str]:
    """Parts set one after the other, broken only between parts."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(separator) + len(part) <= width:
            lines[-1] += separator + part
        else:
            lines.append(part)
    return lines


def wrap_keep(line: str, width: int) -> list[str]:
    """The line as it is where it fits, wrapped where it doesn't."""
    return [line] if len(line) <= width else wrap(line, width)


def cell(text: str, width: int, *, right: bool = False) -> str:
    """A table cell exactly `width` columns wide."""
    if cell_len(text) > width:
        text = words.shorten(text, width)
    if cell_len(text) > width:  # wide characters
        text = set_cell_size(text, width)
    gap = " " * (width - cell_len(text))
    return gap + text if right else text + gap


def dim(line: str) -> Text:
    out = Text(line)
    out.stylize("dim")
    return out


def prose(sentence: str, page: Page, *, style: str = "", indent: str = "  ") -> Iterator[Text]:
    if not sentence:
        return
    for line in wrap(sentence, min(page.width, PROSE) - len(indent)):
        out = Text(indent + line)
        if style:
            out.stylize(style)
        yield out


def heading(title: str, right: str = "", at: int = 0) -> Text:
    out = Text("  " + title)
    out.stylize("bold", 2, 2 + len(title))
    if right:
        out.append(" " * max(1, at - len(title) - 2))
        out.append(right, "dim")
    return out
