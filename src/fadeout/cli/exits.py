"""Exits: the codes a command ends with, and what is said of an error."""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

import typer

from fadeout.errors import FadeoutError
from fadeout.version import VERSION


class Exit(IntEnum):
    """Exit codes.

    FINE: the gradient flows, or nothing could be said. FINDING: the verdict is a fault. USAGE: the call is wrong.
    MODEL: the user's model raised. FAULT: we did. STOPPED: Ctrl-C.
    """

    FINE = 0
    FINDING = 1
    USAGE = 2
    MODEL = 3
    FAULT = 70
    STOPPED = 130


def is_fault(error: Exception) -> bool:
    """Whether a ValueError or TypeError is a fault of ours, and no word of ours on a wrong call ("examine: ...")."""
    if isinstance(error, FadeoutError):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    here = trace is not None and trace.tb_frame.f_code.co_filename.startswith(str(Path(__file__).parents[1]))
    return not (here and re.match(r"[a-z_]{3,}: ", str(error)))


def fault(error: BaseException) -> NoReturn:
    """A fault of fadeout's own: one line, the traceback in a file, and an exit code that is not a finding's."""
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="fadeout-", suffix=".txt", delete=False, encoding="utf-8", errors="replace"
        ) as kept:
            kept.write(f"fadeout {VERSION}, {shlex.join(sys.argv)}\n{text}")
        where = f"the traceback is in {kept.name}"
    except OSError:
        where = f"its traceback could not be written:\n{text}"
    first = (str(error).splitlines() or [""])[0]
    fail(f"a fault of fadeout, please report it: {type(error).__name__}: {first}; {where}", Exit.FAULT)


def leave_quietly(code: Exit, message: str = "") -> NoReturn:
    """End without the interpreter's own complaint about an output that is gone."""
    if message:
        print(f"fadeout: {message}", file=sys.stderr)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - what is left in the buffer goes nowhere
    sys.exit(code)


def fail(message: str, code: Exit) -> NoReturn:
    typer.echo(f"fadeout: {visible(message)}", err=True)
    sys.exit(code)


def visible(text: str) -> str:
    """A text with the control characters of other people's messages made visible, not sent to the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else repr(c)[1:-1] for c in text)


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """A reader that closes the pipe has seen enough: the exit code stays that of the verdict."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
