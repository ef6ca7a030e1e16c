"""Pages: exams side by side, and one exam as a page.  No torch."""

import os
from pathlib import Path

from fadeout.records import Exam
from fadeout.render.html import page
from fadeout.render.comparison_text import CompareTable, side_by_side
from fadeout.store.replace import write_whole


def compare(first: Exam, second: Exam, *, names: tuple[str, str] = ("before", "after")) -> CompareTable:
    """Two exams in a table: prints itself in a terminal through rich or `print`.

    Raises:
        TypeError: If one of them is no exam.
    """
    for exam in (first, second):
        if not isinstance(exam, Exam):
            raise TypeError(
                f"compare: expected two exams, got {type(exam).__name__}; compare(examine(a, ..), examine(b, ..))"
            )
    return side_by_side([first, second], names)


def report(exam: Exam, path: str | os.PathLike[str]) -> Path:
    """Write one self-contained offline HTML page.

    Raises:
        FadeoutError: If the file can't be written.
    """
    if not isinstance(exam, Exam):
        raise TypeError(f"report: expected an Exam, got {type(exam).__name__}; report(exam, path)")
    return write_whole(path, page(exam), verb="report")
