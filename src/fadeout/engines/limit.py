"""A limit of time: ends what hangs in this process, where the system has a timer for it."""

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTime(BaseException):
    """The time of a job is over."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in here after so many seconds; 0 or infinity for no limit.

    Works in the main thread of systems with interval timers (Linux, macOS), where no other timer is set; elsewhere
    there is no limit.  What hangs inside one call of native code is ended when that call returns: `processes` ends it
    at once.
    """
    able = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not able or not 0 < seconds < math.inf or signal.getitimer(signal.ITIMER_REAL)[0] > 0:
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
