"""Pages: exams side by side, and an exam or a trial as a page.  No torch."""

import os
from pathlib import Path

from fadeout.records import Exam, Trial
from fadeout.render.html import page
from fadeout.render.race.page import race_page
from fadeout.render.terminal import CompareTable, compare_table
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
    return compare_table(first, second, names=names)


def report(exam: Exam | Trial, path: str | os.PathLike[str]) -> Path:
    """Write one self-contained offline HTML page of an exam or a trial.

    Raises:
        FadeoutError: If the file can't be written.
    """
    if isinstance(exam, Trial):
        return write_whole(path, race_page(exam), verb="report")
    if not isinstance(exam, Exam):
        raise TypeError(f"report: expected an Exam, got {type(exam).__name__}; report(exam, path)")
    return write_whole(path, page(exam), verb="report")
