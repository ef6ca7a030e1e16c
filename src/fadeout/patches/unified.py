"""A unified diff that `git apply` and `patch -p1` take."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path


def root_of(files: list[str], root: str | os.PathLike[str] | None) -> Path:
    """The folder that names in a diff start from: the given one, or the current one, or one that holds all files."""
    wished = Path(root if root is not None else Path.cwd()).resolve()
    if all(Path(f).is_relative_to(wished) for f in files):
        return wished
    return Path(os.path.commonpath([Path(f).parent for f in files]))


def diff_of(old: Mapping[str, str], new: Mapping[str, str], root: Path) -> str:
    """All changes of all files."""
    return "".join(_one(old[f], new[f], Path(f).relative_to(root).as_posix()) for f in sorted(new))


def _one(old: str, new: str, name: str) -> str:
    lines = difflib.unified_diff(_lines(old), _lines(new), f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(text: str) -> list[str]:
    """Split at \\n alone: a \\r belongs to its line, a form feed ends none."""
    rows = text.split("\n")
    return [f"{row}\n" for row in rows[:-1]] + ([rows[-1]] if rows[-1] else [])
