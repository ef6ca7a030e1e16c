"""Interrupts: Ctrl-C waits until what is being put back is back."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])
_UNBROKEN: set[CodeType] = set()


def unbroken(function: _Function) -> _Function:
    """Mark a function that Ctrl-C may not end half way; it is raised when the measurement is over."""
    _UNBROKEN.add(function.__code__)
    return function


@contextmanager
def deferred() -> Iterator[None]:
    """While in here, Ctrl-C inside an unbroken function is kept until the end of this block.

    Python calls signal handlers in the main thread alone; in another one there is nothing to do.
    """
    before = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if not callable(before):
        yield
        return
    kept: list[tuple[int, FrameType | None]] = []

    def handle(number: int, frame: FrameType | None) -> None:
        here = frame
        while here is not None:
            if here.f_code in _UNBROKEN:
                kept.append((number, frame))
                return
            here = here.f_back
        before(number, frame)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if kept:
            before(*kept[0])
