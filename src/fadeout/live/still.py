"""Still: while a forward is run again, the script's own hooks are off, nothing it says is heard, no file is written."""

import builtins
import functools
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from fadeout.call import privates
from fadeout.errors import FadeoutError

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class ImpureError(FadeoutError):
    """A forward that must not be run again: it does more than can be put back."""


@contextmanager
def still(modules: Iterable[nn.Module]) -> Iterator[None]:
    """All of it at once."""
    with ExitStack() as stack:
        stack.enter_context(_without_hooks(modules))
        stack.enter_context(_hushed())
        yield


# ---- hooks


@contextmanager
def _without_hooks(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Hooks of modules, parameters and the process off, but those by which torch itself makes what flows."""
    kept: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
    own = list(modules)
    tables = [table for module in own for table in privates.hooks_of(module) if table]
    for module in own:
        for parameter in module.parameters(recurse=False):
            tables += [t for name in privates.TENSOR_HOOKS if (t := getattr(parameter, name, None))]
    tables += [table for table in privates.global_hook_tables() if table]
    try:
        for table in tables:
            kept.append((table, table.copy()))
            for key, hook in list(table.items()):
                if not _is_torchs(hook):
                    del table[key]
        yield
    finally:
        for table, copy in kept:
            table.clear()
            table.update(copy)


def _is_torchs(hook: Any) -> bool:
    """Whether a hook is of torch itself, such as those of weight_norm, pruning and quantisation."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    home = getattr(hook, "__module__", None) or type(hook).__module__
    return str(home).partition(".")[0] == "torch"


# ---- words and files


@contextmanager
def _hushed() -> Iterator[None]:
    """What the forward prints and logs is dropped, and no file can be opened to write; other threads notice nothing."""
    others = {t.ident for t in threading.enumerate()} - {threading.get_ident()}

    def mine() -> bool:
        return threading.get_ident() not in others  # autograd's threads are not known to Python

    kept = [
        (home, name, getattr(home, name))
        for home, name in (
            (sys, "stdout"), (sys, "stderr"), (builtins, "open"), (io, "open"), (os, "open"),
            (torch, "save"), (logging.Logger, "handle"),
        )
    ]  # fmt: skip
    for home, name, was in kept:
        setattr(home, name, _STANDING_IN[name](was, mine))
    try:
        yield
    finally:
        for home, name, was in kept:
            setattr(home, name, was)


class _Mute:
    """A stream into which this thread's words vanish."""

    def __init__(self, stream: Any, mine: Callable[[], bool]) -> None:
        self._stream, self._mine = stream, mine

    def write(self, text: str) -> int:
        """Nothing of ours."""
        return len(text) if self._mine() or self._stream is None else self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Nothing of ours."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing of ours."""
        if not self._mine() and self._stream is not None:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _opened(was: Callable[..., Any], mine: Callable[[], bool]) -> Callable[..., Any]:
    @functools.wraps(was)
    def opens(*args: Any, **kwargs: Any) -> Any:
        how = args[1] if len(args) > 1 else kwargs.get("flags", kwargs.get("mode", "r"))
        writes = bool(how & _WRITING) if isinstance(how, int) else bool(set(str(how)) & set("wax+"))
        if writes and mine():
            raise ImpureError(f"run: the network's forward writes a file, {ENDED}")
        return was(*args, **kwargs)

    return opens


def _saved(was: Callable[..., Any], mine: Callable[[], bool]) -> Callable[..., Any]:
    @functools.wraps(was)
    def saves(*args: Any, **kwargs: Any) -> Any:
        if mine():
            raise ImpureError(f"run: the network's forward saves a file, {ENDED}")
        return was(*args, **kwargs)

    return saves


def _logged(was: Callable[..., Any], mine: Callable[[], bool]) -> Callable[..., Any]:
    def handle(logger: Any, record: Any) -> None:
        if not mine():
            was(logger, record)

    return handle


ENDED = "so it is not run again and the way back is not measured; the norms of the gradients are"
_STANDING_IN: dict[str, Callable[..., Any]] = {
    "stdout": _Mute, "stderr": _Mute, "open": _opened, "save": _saved, "handle": _logged,
}  # fmt: skip
