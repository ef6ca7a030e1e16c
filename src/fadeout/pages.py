"""Pages: exams side by side, and an exam or a trial as a page.  No torch."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from fadeout.records import Exam, Run, Trial
from fadeout.render.comparison_text import CompareTable, side_by_side
from fadeout.render.page import document
from fadeout.render.race.page import race_page
from fadeout.render.run.page import run_page
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


def report(exam: Exam | Trial | Run, path: str | os.PathLike[str]) -> Path:
    """Write one self-contained offline HTML page of an exam, a trial or a run.

    Raises:
        FadeoutError: If the file can't be written.
    """
    if isinstance(exam, Trial):
        return write_whole(path, race_page(exam), verb="report")
    if isinstance(exam, Run):
        return write_whole(path, run_page(exam), verb="report")
    if not isinstance(exam, Exam):
        raise TypeError(f"report: expected an Exam, got {type(exam).__name__}; report(exam, path)")
    return write_whole(path, document.page(exam), verb="report")


def report_side_by_side(
    exams: Sequence[Exam],
    path: str | os.PathLike[str],
    *,
    names: Sequence[str],
    extra: Mapping[str, Sequence[str]] | None = None,
    title: str = "Networks side by side",
) -> Path:
    """Write several exams as one offline HTML page, their profiles beside each other.

    Args:
        extra: More rows of the comparison, "test accuracy" -> one word for each exam.

    Raises:
        FadeoutError: If the file can't be written.
    """
    text = document.side_by_side(exams, names, extra=extra, title=title)
    return write_whole(path, text, verb="report")
