"""Arrival: in a process of a launched script, wait for torch and begin to watch.  Imports nothing heavy itself."""

import atexit
import functools
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from fadeout.live.imported import when_imported

AWAITED: list[tuple[str, Callable[[], None]]] = []  # (variable of the environment, what to do once torch is there)


def await_torch() -> None:
    """Begin to watch once torch is imported."""
    when_imported({"torch": lambda module: _arrived()})


def _arrived() -> None:
    try:
        if os.environ.get("FADEOUT_WATCH"):
            install()
        if os.environ.get("FADEOUT_RACE"):
            importlib.import_module("fadeout.live.racing.entrant").install()
    except Exception as error:
        print(f"fadeout: this process is not watched ({type(error).__name__}: {error})", file=sys.stderr)


def install() -> None:
    """Watch this process until it ends."""
    from torch.optim import Optimizer

    from fadeout.live.options import handed
    from fadeout.live.watch import Watch

    options = handed()
    if options is None:
        return
    watch = Watch(options)
    watch.begin()
    made = Optimizer.__init__

    @functools.wraps(made)
    def told(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        watch.made(self)

    Optimizer.__init__ = told  # type: ignore[method-assign]
    atexit.register(watch.end, exit_code=None)
