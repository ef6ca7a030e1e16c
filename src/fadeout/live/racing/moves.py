"""Moves: what a script renames and removes, done in its run's own folder where the user's files are meant.

Many scripts save into a new file and rename it, clear a folder of results before they begin, or keep only their last
few checkpoints.
"""

import functools
import os
import shutil
from collections.abc import Callable
from typing import Any, Protocol

TWO = ("rename", "replace")  # take two paths
NAMED = ("path", "name", "src", "dst")  # how the functions call their paths
PLACED = ("dir_fd", "src_dir_fd", "dst_dir_fd")  # paths are relative to an open folder: part of another function
SLACK = 0.1  # seconds by which a file system's clock may be behind


class Files(Protocol):
    """What stands between the script and its files."""

    instead: dict[str, str]

    def aside(self, path: str) -> str:
        """A place in the run's folder for what the script calls by this path."""

    def free(self, path: str) -> bool:
        """Whether a file is nobody's work."""


class Moves:
    """Renames and removals.

    Args:
        begun: When the run began: what is older is the user's.
    """

    def __init__(self, files: Files, begun: float) -> None:
        self.files, self.begun = files, begun - SLACK
        self._cleared: set[str] = set()  # folders of the user's that the script believes to be gone

    def begin(self) -> None:
        """From now on."""
        for name in ("rename", "replace"):
            self._put(os, name, self._rename)
        for name in ("remove", "unlink"):
            self._put(os, name, self._remove)
        self._put(os, "rmdir", self._rmdir)
        self._put(os, "mkdir", self._mkdir)
        self._put(os, "makedirs", self._mkdir)
        self._put(shutil, "rmtree", self._rmtree)

    def _put(self, home: Any, name: str, instead: Callable[..., bool]) -> None:
        """A function is asked first whether it has done what was to be done."""
        own = getattr(home, name)

        @functools.wraps(own)
        def function(*args: Any, **kwargs: Any) -> Any:
            given = [*args, *(kwargs[key] for key in NAMED if key in kwargs)][: 2 if name in TWO else 1]
            at = any(kwargs.get(key) is not None for key in PLACED)
            if not at and all(isinstance(_spelled(one), str) for one in given) and instead(*map(_spelled, given)):
                return None
            return own(*args, **kwargs)

        setattr(home, name, function)

    def theirs(self, path: str) -> bool:
        """Whether it was there before the run."""
        try:
            return os.lstat(path).st_ctime < self.begun and not self.files.free(path)
        except OSError:
            return False

    def _rename(self, source: str, target: str) -> bool:
        a, b = os.path.abspath(source), os.path.abspath(target)
        kept = self.files.instead.pop(a, None)
        if kept is not None:
            self.files.instead.pop(b, None)
            os.replace(kept, self.files.aside(b))
            return True
        if os.path.isdir(a) or not os.path.lexists(a):
            return self.theirs(a)
        if self.theirs(a):
            shutil.copyfile(a, self.files.aside(b))
        elif self.theirs(b) or b in self.files.instead:
            os.replace(a, self.files.aside(b))
        else:
            return False
        return True

    def _remove(self, path: str) -> bool:
        full = os.path.abspath(path)
        kept = self.files.instead.pop(full, None)
        if kept is not None and os.path.exists(kept):
            os.remove(kept)
        return kept is not None or self.theirs(full)

    def _rmdir(self, path: str) -> bool:
        full = os.path.abspath(path)
        if self.theirs(full):
            self._cleared.add(full)
            return True
        return False

    def _mkdir(self, path: str) -> bool:
        full = os.path.abspath(path)
        return full in self._cleared and os.path.isdir(full)

    def _rmtree(self, path: str) -> bool:
        full = os.path.abspath(path)
        inside = [os.path.join(home, name) for home, folders, names in os.walk(full) for name in (*folders, *names)]
        if not any(self.theirs(one) for one in (full, *inside)):
            return False
        self._cleared |= {full, *(one for one in inside if os.path.isdir(one))}
        for one in inside:
            if not os.path.isdir(one) or os.path.islink(one):
                os.remove(one)  # which keeps the user's
        for one in [one for one in self.files.instead if one.startswith(full + os.sep)]:
            os.remove(one)
        return True


def _spelled(path: Any) -> Any:
    return os.fspath(path) if isinstance(path, os.PathLike) else path
