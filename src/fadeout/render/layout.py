"""The layout of a terminal report: lines of text that fit the page and never part a number."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
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
    colour: bool


def page_of(console: Console, options: ConsoleOptions, *, width: int | None = None, colour: bool = True) -> Page:
    return Page(
        width=max(LEAST, min(options.max_width, width or MOST, MOST)),
        ascii_only=options.ascii_only,
        colour=colour and console.color_system is not None and not console.no_color,
    )


def fit(lines: Iterable[Text], page: Page, console: Console) -> Iterator[Text]:
    """Lines that use only what the console can show; one that is too long goes on below itself, never cut."""
    for line in lines:
        shown = line.plain
        if page.ascii_only:
            shown = shown.translate(ASCII).encode("ascii", "replace").decode()
        kept = Text(shown, spans=list(line.spans) if page.colour else None)
        for part in _broken(kept, page.width, console):
            part.no_wrap, part.overflow = True, "crop"
            yield part


def _broken(line: Text, width: int, console: Console) -> Iterator[Text]:
    if cell_len(line.plain) <= width:
        yield line
        return
    start = len(line.plain) - len(line.plain.lstrip())
    indent = min(start + 2, width // 2)
    for i, part in enumerate(line[start:].wrap(console, width - indent, overflow="fold")):
        yield Text(" " * (min(start, indent) if i == 0 else indent)).append_text(part)


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


def heading(title: str, page: Page, right: str = "") -> Iterator[Text]:
    """A title, with what qualifies it beside it, or below it where there is no room."""
    out = Text("  " + title)
    out.stylize("bold", 2, 2 + len(title))
    if right and len(title) + len(right) + 5 <= page.width:
        out.append("   " + right, "dim")
        right = ""
    yield out
    yield from prose(right, page, style="dim")
