"""Arrival: in a process of a launched script, wait for torch and begin to watch.  Imports nothing heavy itself."""

import atexit
import functools
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

AWAITED: list[tuple[str, Callable[[], None]]] = []  # (variable of the environment, what to do once torch is there)


class _AfterTorch(importlib.abc.MetaPathFinder):
    """Calls back once torch has been imported, and is gone."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "torch":
            return None
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            spec.loader.__dict__.pop("exec_module", None)
            self.call()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def await_torch() -> None:
    """Begin to watch once torch is imported."""
    sys.meta_path.insert(0, _AfterTorch(_arrived))


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
