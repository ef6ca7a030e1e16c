"""The pictures of the findings, drawn from the runs of their examples.

python docs/findings/pictures.py [CODE ...]        writes docs/findings/FO101.svg and its like
"""

import io
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from examples import EXAMPLES, Example, run
from rich.console import Console
from rich.segment import Segment, Segments

from fadeout.render.terminal import report

HERE = Path(__file__).parent
WIDTH, HEIGHT = 100, 40  # columns and lines of a picture
Line = list[Segment]


def main(codes: Sequence[str]) -> None:
    for example in EXAMPLES:
        if not codes or example.code in codes:
            (HERE / f"{example.code}.svg").write_text(draw(example), encoding="utf-8")


def draw(example: Example) -> str:
    """The report of one example with this finding alone, cropped to what says something about it."""
    exam = run(example)
    only = replace(exam, findings=tuple(f for f in exam.findings if f.code == example.code))
    lines = _console().render_lines(report(only, verbose=True), pad=False)
    console = _console()
    for line in (*_cropped(_sections(lines), example.code), []):
        console.print(Segments([*line, Segment.line()]))
    drawn = console.export_svg(title=f"print(exam)  # {example.code}", unique_id=example.code)
    return re.sub(r"@font-face\s*{[^}]*}", "", drawn)  # no fonts from the network


def _console() -> Console:
    return Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")


def _sections(lines: Sequence[Line]) -> list[list[Line]]:
    """Runs of lines between blank ones."""
    found: list[list[Line]] = [[]]
    for line in lines:
        if _words(line):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [section for section in found if section]


def _cropped(sections: Sequence[list[Line]], code: str) -> list[Line]:
    """The verdict, the finding, what helps, and of the rest what fits, in their order."""
    must = [i == 0 or _words(part[0]).startswith((code, "will help", "will not")) for i, part in enumerate(sections)]
    room = HEIGHT - sum(len(part) + 1 for part, kept in zip(sections, must, strict=True) if kept)
    shown: list[Line] = []
    for part, kept in zip(sections, must, strict=True):
        if not kept:
            if len(part) + 1 > room:
                continue
            room -= len(part) + 1
        shown += [*([[]] if shown else []), *part]
    return shown


def _words(line: Line) -> str:
    return "".join(segment.text for segment in line).strip()


if __name__ == "__main__":
    main(sys.argv[1:])
