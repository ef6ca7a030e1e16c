"""Imported: something is done with a module once a script has imported it.  Imports nothing heavy itself."""

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

Done = Callable[[ModuleType], None]


def when_imported(todo: Mapping[str, Done]) -> None:
    """Call each function with the module of its name: once it is imported, or now where it was."""
    waiting = dict(todo)
    for name in [name for name in waiting if name in sys.modules]:
        waiting.pop(name)(sys.modules[name])
    sys.meta_path.insert(0, _Awaiting(waiting))


class _Awaiting(importlib.abc.MetaPathFinder):
    """Finds nothing itself; calls back after the modules that it waits for, and is gone after the last."""

    def __init__(self, waiting: dict[str, Done]) -> None:
        self.waiting = waiting

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        done = self.waiting.pop(name, None)
        if done is None:
            return None
        if not self.waiting and self in sys.meta_path:
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            spec.loader.__dict__.pop("exec_module", None)
            done(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
