"""The launcher: starts a script as it is, with the watch in its environment, and leaves it alone until it ends."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SITE = Path(__file__).with_name("site")
FORWARDED = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: as it is, with our folder first on Python's path."""
    before = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join([str(SITE), *([before] if before else [])])
    return {**os.environ, **extra, "PYTHONPATH": path}


def run(command: Sequence[str], extra: Mapping[str, str]) -> int:
    """Run a command to its end; its exit code, negative for the signal that ended it.

    Standard input, output and error are the caller's own. Ctrl-C reaches the script from the terminal itself;
    other signals are handed on.
    """
    child = subprocess.Popen([sys.executable, *command], env=environment(extra))
    before: dict[int, object] = {}

    def hand_on(number: int, frame: object) -> None:
        child.send_signal(number)

    for name in FORWARDED:
        number = getattr(signal, name, None)
        if number is not None:
            before[number] = signal.signal(number, hand_on)
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN if sys.stdin.isatty() else hand_on)
    try:
        return child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


def end_as(code: int) -> int:
    """The exit code to end with; a script that a signal ended ends us by the same signal."""
    if code < 0:
        with contextlib.suppress(OSError, ValueError):  # of SIGKILL there is no handler
            signal.signal(-code, signal.SIG_DFL)
        sys.stdout.flush()
        sys.stderr.flush()
        os.kill(os.getpid(), -code)
    return code if code >= 0 else 128 - code
