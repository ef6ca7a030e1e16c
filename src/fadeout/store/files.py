"""Files: exams and trials saved as JSON, and read back; runs are read from where they were written."""

import os
from pathlib import Path
from typing import Any

from fadeout.errors import FadeoutError
from fadeout.records import Exam, Trial
from fadeout.store.contract import TRIAL_SCHEMA, from_dict, parsed, to_json, trial_from_dict
from fadeout.store.replace import write_whole
from fadeout.store.runs import Runs

LARGEST = 1 << 28  # bytes


def save(exam: Exam | Trial, path: str | os.PathLike[str]) -> Path:
    """Write an exam or a trial as JSON; an existing file is replaced only once the new one is whole.

    Returns:
        The path written.

    Raises:
        FadeoutError: If the folder does not exist or can't be written.
    """
    if not isinstance(exam, (Exam, Trial)):
        raise TypeError(f"save: expected an Exam, got {type(exam).__name__}; save(exam, path)")
    return write_whole(path, to_json(exam), verb="save")


def load(path: str | os.PathLike[str]) -> Any:
    """Read what `save` or `--json` wrote: an Exam or a Trial; or the file of a run: a Run.

    Raises:
        FadeoutError: If the file is missing or is neither.
    """
    source = Path(path)
    if is_database(source):
        runs = Runs(source)
        try:
            return runs.read()
        finally:
            runs.close()
    try:
        if source.is_file() and source.stat().st_size > LARGEST:
            raise FadeoutError(f"load: {source} is larger than any exam ({LARGEST >> 20} MiB); pass a file of `save`")
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        raise FadeoutError(f"load: can't read {source}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise FadeoutError(f"load: {source} is not text; pass a JSON file that fadeout saved") from error
    data = parsed(text)
    if isinstance(data, dict) and data.get("schema") == TRIAL_SCHEMA:
        return trial_from_dict(data)
    return from_dict(data)


def is_database(path: Path) -> bool:
    """Whether a file is one of SQLite's."""
    try:
        with open(path, "rb") as stream:
            return stream.read(16) == b"SQLite format 3\0"
    except OSError:
        return False
