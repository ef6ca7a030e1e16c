"""The launcher: starts a script as it is, with the watch in its environment, and leaves it alone until it ends."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Self

PATIENCE = 0.3  # seconds in which a signal to the whole group reaches every process of it
SITE = Path(__file__).with_name("site")
FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: as it is, with our folder first on Python's path."""
    before = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join([str(SITE), *([before] if before else [])])
    return {**os.environ, **extra, "PYTHONPATH": path}


def run(command: Sequence[str], extra: Mapping[str, str]) -> int:
    """Run a command to its end; its exit code, negative for the signal that ended it.

    Standard input, output and error are the caller's own. A signal that is meant for this process alone is handed on;
    one to the whole group of processes, such as Ctrl-C in a terminal, has reached the script already.
    """
    numbers = [number for name in FORWARDED if (number := getattr(signal, name, None)) is not None]
    with _Bystander(numbers) as bystander:
        child = subprocess.Popen([sys.executable, *command], env=environment(extra))

        def hand_on(number: int, frame: object) -> None:
            if not bystander.got(number):
                child.send_signal(number)

        before = {number: signal.signal(number, hand_on) for number in numbers}
        try:
            return child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Bystander:
    """A process of our group that does nothing but say which signals it got: those went to the whole group.

    Nothing else tells a signal to the group from one to this process: a person in a terminal and `kill` of a group
    look the same to it.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = numbers
        self._process = 0

    def __enter__(self) -> Self:
        if not hasattr(os, "fork"):
            return self
        self._says, says = os.pipe()
        wait, self._life = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self._process = os.fork()
        if not self._process:
            _stand_by(self.numbers, says, wait, (self._says, self._life))
        os.close(says)
        os.close(wait)
        return self

    def __exit__(self, *error: object) -> None:
        if self._process:
            os.close(self._life)
            os.close(self._says)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._process, 0)

    def got(self, number: int) -> bool:
        """Whether it got this signal too; on a terminal without processes to fork, Ctrl-C always does."""
        if not self._process:
            return number == signal.SIGINT and sys.stdin.isatty()
        until = time.monotonic() + PATIENCE
        while select.select([self._says], [], [], max(0.0, until - time.monotonic()))[0]:
            said = os.read(self._says, 1)
            if not said:
                return False  # it was ended by force
            if said[0] == number:
                return True
        return False


def _stand_by(numbers: Sequence[int], says: int, wait: int, others: Sequence[int]) -> NoReturn:
    """The life of a bystander: it ends with the process that started it, and holds none of its files."""
    try:
        for number in numbers:
            signal.signal(number, lambda number, frame: os.write(says, bytes([number])) and None)
        nothing = os.open(os.devnull, os.O_RDWR)
        for place in (0, 1, 2):
            os.dup2(nothing, place)
        for place in others:
            os.close(place)
        os.read(wait, 1)
    finally:
        os._exit(0)


def end_as(code: int) -> int:
    """The exit code to end with; a script that a signal ended ends us by the same signal."""
    if code < 0:
        with contextlib.suppress(OSError, ValueError):  # of SIGKILL there is no handler
            signal.signal(-code, signal.SIG_DFL)
        sys.stdout.flush()
        sys.stderr.flush()
        os.kill(os.getpid(), -code)
    return code if code >= 0 else 128 - code
