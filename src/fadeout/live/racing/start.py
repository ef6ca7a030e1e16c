"""A start: one run of the script in a process group of its own, ended with it whatever happens."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fadeout.live.launch import environment
from fadeout.live.racing.order import Order, Report, report_from

REPORTS = "report-*.json"
LOOK = 0.5  # seconds between two looks at a run
GRACE = 8.0  # seconds that a script is given to end after the last of its processes was ended
TAIL = 3  # last lines of a script that failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a run ended.

    Attributes:
        code: Exit code; None: it took too long; 0 where we ended all that trained, whatever its
            parent made of it.
        reports: Of its processes, the one with most steps first.
        output: All that it printed.
        folder: What it wrote for us.
    """

    code: int | None
    reports: tuple[Report, ...]
    output: str
    seconds: float
    folder: str = ""

    @property
    def main(self) -> Report | None:
        """Of the process that trained; of several, the first by rank."""
        return self.reports[0] if self.reports else None

    @property
    def last_words(self) -> str:
        """The end of what it printed: of a script that raised, the error."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        error = next((line for line in reversed(lines) if ": " in line and line[0].isalpha() and "Error" in line), "")
        return error or " / ".join(lines[-TAIL:])


def start(command: Sequence[str], order: Order, limit: float) -> Ran:
    """Run the script to the end that the order sets.

    Args:
        limit: Seconds until it counts as hanging.

    Raises:
        KeyboardInterrupt: After its processes were ended.
    """
    folder = Path(order.folder)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "output.txt"
    begun = time.perf_counter()
    with open(log, "wb") as stream:
        child = subprocess.Popen(
            [sys.executable, *command],
            env={**environment(order.environment()), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code: int | None = None
        try:
            code = _waited(child, folder, limit)
        finally:
            end(child)
    reports = []
    for path in sorted(folder.glob(REPORTS)):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            reports.append(report_from(path.read_text(encoding="utf-8")))
    reports = [r for r in reports if r.steps or r.failed or r.losses or r.expected] or reports
    if any(r.steps for r in reports) and all(r.end == "stopped" for r in reports):
        code = 0
    reports.sort(key=lambda r: (-r.reached, r.rank))
    output = log.read_text(encoding="utf-8", errors="replace")
    return Ran(
        code=code, reports=tuple(reports), output=output, seconds=time.perf_counter() - begun, folder=order.folder
    )


def _waited(child: "subprocess.Popen[bytes]", folder: Path, limit: float) -> int | None:
    """Its exit code; None where it is still there at the limit, or long after the last process of it was ended by us.

    A process that waits for an answer of those that train would wait for ever, as we end them before they give one.
    """
    until, seen, quiet = time.perf_counter() + limit, 0, math.inf
    while True:
        now = time.perf_counter()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(max(0.0, min(LOOK, until - now)))
        count = sum(1 for _ in folder.glob(REPORTS))
        if count != seen:
            seen, quiet = count, now + GRACE
        if now > min(until, quiet):
            return None


def end(child: "subprocess.Popen[bytes]") -> None:
    """End the script and what it started: its own process group, and nothing else."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
