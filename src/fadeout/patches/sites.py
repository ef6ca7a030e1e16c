"""A site: the expression in the user's source that was running when something was made."""

import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import fadeout


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One call in the user's source.

    Attributes:
        file: Absolute path; a name like "<stdin>" where there is no file.
        line, end_line: From 1.
        column, end_column: From 0, in bytes of UTF-8 as Python counts them; -1 where Python kept none.
        direct: The call itself makes the object; False: something that is not the user's makes it inside this call.
    """

    file: str
    line: int
    end_line: int
    column: int
    end_column: int
    direct: bool

    @property
    def place(self) -> str:
        """'net.py:12'; "" for what was typed by hand."""
        return f"{Path(self.file).name}:{self.line}" if self.in_file else ""

    @property
    def in_file(self) -> bool:
        """Whether there is a file to write into."""
        return Path(self.file).is_file()


@cache
def is_users(file: str) -> bool:
    """Whether a file may be the user's own: not Python's, torch's, fadeout's or an installed package's."""
    if file.startswith("<frozen"):
        return False
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not any(path.is_relative_to(folder) for folder in _foreign())


@cache
def _foreign() -> tuple[Path, ...]:
    paths = [sysconfig.get_paths()[k] for k in ("stdlib", "platstdlib", "purelib", "platlib")]
    packages = [str(Path(p.__file__).parent) for p in (torch, fadeout) if p.__file__]
    return tuple(Path(p).resolve() for p in (*paths, *packages))


def site_of(made: Any) -> Site | None:
    """Where `made`, whose `__init__` is running now, is constructed; None outside the user's source."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _builds(frame, made):
        frame = frame.f_back  # the hook's own frames
    while frame is not None and _builds(frame, made):
        frame = frame.f_back
    direct = frame is not None and is_users(frame.f_code.co_filename)
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else _site(frame, direct)


def _builds(frame: FrameType, made: Any) -> bool:
    """Whether a frame is an `__init__` of the object, or a wrapper of one."""
    held = frame.f_locals.values()
    return any(v is made or (type(v) is tuple and any(x is made for x in v)) for v in held)


def _site(frame: FrameType, direct: bool) -> Site:
    code = frame.f_code
    file = code.co_filename if code.co_filename.startswith("<") else str(Path(code.co_filename).resolve())
    line, end_line, column, end_column = next(islice(code.co_positions(), frame.f_lasti // 2, None))
    return Site(
        file=file,
        line=line or frame.f_lineno,
        end_line=end_line or line or frame.f_lineno,
        column=-1 if column is None else column,
        end_column=-1 if end_column is None else end_column,
        direct=direct,
    )
