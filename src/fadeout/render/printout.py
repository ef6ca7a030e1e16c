"""Printouts: anything that rich can lay out, as text - plain, or as the terminal in front of the reader has it."""

import io
import os
import sys

from rich.console import Console, RenderableType

WIDTH = 100  # columns where there is no terminal to ask


def plain(renderable: RenderableType, width: int = WIDTH) -> str:
    """No colours, lines without trailing blanks."""
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def printed(renderable: RenderableType) -> str:
    """For `print`: width and colours of the terminal; plain text where standard output is no terminal.

    NO_COLOR and COLUMNS are heeded, as rich does.
    """
    if not _is_terminal():
        columns = os.environ.get("COLUMNS", "")
        return plain(renderable, int(columns) if columns.isdecimal() and int(columns) > 0 else WIDTH)
    console = Console(file=sys.stdout)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get().rstrip("\n") + "\n"


def _is_terminal() -> bool:
    try:
        return sys.stdout.isatty()
    except (AttributeError, ValueError):  # closed, or no stream at all
        return False
