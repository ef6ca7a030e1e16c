"""Files: exams saved as JSON, and read back."""

import os
from pathlib import Path

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.store.contract import from_json, to_json
from fadeout.store.replace import write_whole

LARGEST = 1 << 28  # bytes


def save(exam: Exam, path: str | os.PathLike[str]) -> Path:
    """Write an exam as JSON; an existing file is replaced only once the new one is whole.

    Returns:
        The path written.

    Raises:
        FadeoutError: If the folder does not exist or can't be written.
    """
    if not isinstance(exam, Exam):
        raise TypeError(f"save: expected an Exam, got {type(exam).__name__}; save(exam, path)")
    return write_whole(path, to_json(exam), verb="save")


def load(path: str | os.PathLike[str]) -> Exam:
    """Read an exam that `save` or `--json` wrote.

    Raises:
        FadeoutError: If the file is missing or is no exam.
    """
    source = Path(path)
    try:
        if source.is_file() and source.stat().st_size > LARGEST:
            raise FadeoutError(f"load: {source} is larger than any exam ({LARGEST >> 20} MiB); pass a file of `save`")
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        raise FadeoutError(f"load: can't read {source}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise FadeoutError(f"load: {source} is not text; pass a JSON file that fadeout saved") from error
    return from_json(text)
