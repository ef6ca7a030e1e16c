"""Reach: what of the script's own a forward can get at beside modules, and what of it could not be put back.

Python can't say what a function will touch. So all is followed that the code of the script's own functions names:
globals, closures, defaults, attributes, the objects behind them and their methods. The code of Python and of
installed packages is not followed.
"""

import functools
import io
import logging
import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call import privates
from fadeout.call.failures import is_installed
from fadeout.call.guard import draws
from fadeout.live.code import BY_NAME, OUTSIDE, UNSEEN, names_in
from fadeout.live.places import SMALL, Array, Attribute, Attributes, Cell, Contents, Drawn, Name, Place, Values

MOST = 50_000  # objects that are followed
ALWAYS = frozenset({"forward", "backward", "setup_context"})  # called by torch, not by name
COLLECTIVE = frozenset(
    "all_reduce all_gather all_gather_into_tensor all_to_all all_to_all_single broadcast reduce reduce_scatter "
    "reduce_scatter_tensor barrier send recv isend irecv scatter gather".split()
)
_ATOMS = (
    bool, int, float, complex, str, bytes, type(None), range, slice, CodeType, type(...), type(NotImplemented),
    torch.dtype, torch.device, torch.layout, torch.memory_format, logging.Logger, logging.Handler,
    MethodWrapperType, WrapperDescriptorType, nn.Parameter,
)  # fmt: skip
# Whose state lies outside of Python's objects, or can't be set; by the first part of the name of a type's module.
_OUTSIDE = frozenset(
    "_io _socket socket _ssl ssl _queue queue _sqlite3 sqlite3 mmap select _hashlib _csv array multiprocessing "
    "_multiprocessing subprocess concurrent asyncio tempfile zlib bz2 _lzma zipfile".split()
)


class Reach:
    """Follows what a forward can get at.

    Args:
        given: Its arguments.
        before: What was reached in an earlier step, to begin with its names.

    Attributes:
        places: Where values lie that it may change.
        unfit: What can't be put back, in words; "" where there is nothing.
    """

    def __init__(self, modules: Iterable[nn.Module], given: Any, before: "Reach | None" = None) -> None:
        roots = list(modules)
        self._roots = {id(m) for m in roots}
        self._names: set[str] = set(before._names if before is not None else ALWAYS)
        self._any: bool = before is not None and before._any
        while True:  # names that are found late may be attributes of what was seen early
            known = (len(self._names), self._any)
            self.places: list[Place] = []
            self.unfit = ""
            self._seen: dict[int, Any] = {}
            self._waiting: deque[tuple[Any, str, bool]] = deque((m, "", False) for m in roots)
            self._waiting.append((given, "an argument", True))
            while self._waiting and not self.unfit:
                self._visit(*self._waiting.popleft())
            if self.unfit or known == (len(self._names), self._any):
                break
        if not self.unfit and self._names & COLLECTIVE and _several():
            self.unfit = f"{min(self._names & COLLECTIVE)}(), which waits for the other processes"

    def _visit(self, value: Any, name: str, whole: bool) -> None:
        """One object.

        Args:
            name: Under which it was found.
            whole: All its attributes count, and not only those that some code names.
        """
        kind = type(value)
        if issubclass(kind, _ATOMS) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if len(self._seen) > MOST:
            self.unfit = "more objects than can be kept"
        elif issubclass(kind, (torch.jit.ScriptModule, torch.jit.ScriptFunction)):  # optimised after some runs
            self.unfit = f"{name or 'modules'} (torch.jit), which counts its runs and rounds differently after some"
        elif issubclass(kind, Tensor):
            self.places.append(Values(value))
        elif issubclass(kind, nn.Module):
            self._module(value)
        elif issubclass(kind, type):
            self._class(value)
        elif kind in _FOLLOWED:
            for part in _FOLLOWED[kind](value):
                self._follow(part, name, whole)
        elif kind is FunctionType:
            self._function(value)
        elif kind is ModuleType:
            self._package(value)
        elif draws(value):
            self.places.append(Drawn(value))
        elif issubclass(kind, (tuple, frozenset)):
            self._all(value, name, whole)
        elif issubclass(kind, (list, dict, set, deque, bytearray)):
            self._container(value, name, whole)
        elif (numpy := sys.modules.get("numpy")) is not None and issubclass(kind, numpy.ndarray):
            self._array(value, name)
        else:
            self._object(value, name, whole)

    def _follow(self, value: Any, name: str, whole: bool) -> None:
        self._waiting.append((value, name, whole))

    def _all(self, values: Iterable[Any], name: str, whole: bool) -> None:
        for value in values:
            if not issubclass(type(value), _ATOMS):
                self._waiting.append((value, name, whole))

    def _container(self, value: Any, name: str, whole: bool) -> None:
        self.places.append(Contents(value))
        if len(value) > MOST:
            self.unfit = f"{name} ({type(value).__name__}), which holds more than can be kept"
        elif not isinstance(value, bytearray):
            self._all(value.values() if isinstance(value, dict) else value, name, whole)
        if hasattr(value, "__dict__"):
            self._object(value, name, whole)

    def _array(self, value: Any, name: str) -> None:
        self.places.append(Array(value))
        if value.size > SMALL:
            self.unfit = f"{name} (a numpy array), which is too large to be kept"
        elif value.dtype == object:
            self._all(value.ravel().tolist(), name, True)

    def _module(self, module: nn.Module) -> None:
        own = vars(module)
        self._all(privates.children(module).values(), "", False)
        if id(module) not in self._roots:  # those of the roots are kept with the call
            self.places.extend(Values(b) for b in privates.buffers(module).values() if b is not None)
        theirs = _written_by_user(type(module))
        if not theirs and type(module).__module__.partition(".")[0] == "torch" and "forward" not in own:
            return
        self.places.append(Attributes(module))
        for name, value in own.items():
            if name not in privates.TABLES and (not theirs or self._named(name)):
                self._follow(value, name, False)
        if theirs:
            self._methods(type(module))

    def _named(self, name: str) -> bool:
        return self._any or name in self._names

    def _class(self, kind: type) -> None:
        """A class that some code names, and may make objects of."""
        if _written_by_user(kind):
            self._methods(kind)
            for base in kind.__mro__:
                self._follow(vars(base).get("__init__"), "__init__", False)

    def _methods(self, kind: type) -> None:
        """What code can reach through a class: methods and values that are named, and methods that Python calls."""
        for base in kind.__mro__:
            if not _written_by_user(base):
                continue
            for name, value in list(vars(base).items()):
                special = name[:2] == "__" and name[-2:] == "__"
                if special and (name == "__init__" or not callable(value) or isinstance(value, type)):
                    continue
                callable_ = isinstance(value, (FunctionType, staticmethod, classmethod, property))
                if name in self._names or special or (self._any and not callable_):
                    if not special:
                        self.places.append(Attribute(base, name))
                    self._follow(value, name, False)

    def _function(self, function: FunctionType) -> None:
        theirs = not is_installed(function.__code__.co_filename)
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:
                continue
            if theirs:
                self.places.append(Cell(cell))
            if theirs or isinstance(value, _CALLABLE):  # a decorator of a package, around a function of the script's
                self._follow(value, function.__name__, False)
        if not theirs:
            return
        names = names_in(function.__code__)
        self._names |= names.attributes
        self._any = self._any or bool(BY_NAME & names.globals)
        space = function.__globals__
        for name in names.globals:
            if name in space or name not in vars(_BUILTINS):
                self.places.append(Name(space, name))
                self._follow(space.get(name), name, False)
            elif name in UNSEEN | OUTSIDE:
                self.unfit = f"{name}() in {function.__qualname__}"
        for name in names.imports:
            self._follow(sys.modules.get(name), name, False)
        self._all(function.__defaults__ or (), function.__name__, False)
        self._all((function.__kwdefaults__ or {}).values(), function.__name__, False)
        if vars(function):
            self._container(vars(function), function.__name__, False)
        elif function.__name__ in self._names or self._any:
            self.places.append(Contents(vars(function)))

    def _package(self, package: ModuleType) -> None:
        """A module of Python's, of which the names count that some code reads."""
        file = getattr(package, "__file__", None)
        if file is None or is_installed(file):
            return
        space = vars(package)
        for name in self._names & space.keys():
            self.places.append(Name(space, name))
            self._follow(space[name], name, False)

    def _object(self, value: Any, name: str, whole: bool) -> None:
        """Of any other class."""
        kind = type(value)
        if _is_outside(value):
            self.unfit = f"{name} ({kind.__module__}.{kind.__qualname__})".replace("builtins.", "")
            return
        theirs = _written_by_user(kind)
        own = getattr(value, "__dict__", None)
        slots = [s for base in kind.__mro__ for s in _slots(base)]
        if type(own) is dict:
            self.places.append(Contents(own))
            for part, inner in list(own.items()):
                if whole or not theirs or self._named(part):
                    self._follow(inner, part, whole)
        elif not slots and not _is_known(kind):
            self.unfit = f"{name} ({kind.__module__}.{kind.__qualname__})"
        for slot in slots:
            self.places.append(Attribute(value, slot))
            self._follow(getattr(value, slot, None), slot, whole)
        if theirs:
            self._methods(kind)


_CALLABLE = (FunctionType, MethodType, functools.partial)
_BUILTINS = sys.modules["builtins"]


def _bound(value: Any) -> Iterator[Any]:
    """The object of a method that is written in C; a module of Python's holds no state there."""
    if not isinstance(value.__self__, ModuleType):
        yield value.__self__


_FOLLOWED: dict[type, Any] = {
    MethodType: lambda m: (m.__func__, m.__self__),
    BuiltinFunctionType: _bound,
    functools.partial: lambda p: (p.func, p.args, p.keywords),
    staticmethod: lambda m: (m.__func__,),
    classmethod: lambda m: (m.__func__,),
    property: lambda p: (p.fget, p.fset),
    functools.cached_property: lambda p: (p.func,),
    type(functools.lru_cache(len)): lambda f: (f.__wrapped__,),
}


def _written_by_user(kind: type) -> bool:
    """Whether a class, or one that it inherits from, was written by the script's author."""
    known = _USERS.get(kind)
    if known is None:
        known = _USERS[kind] = any(_file_is_users(base) for base in kind.__mro__)
    return known


_USERS: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def _file_is_users(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    if module is None or kind.__module__ == "builtins":
        return kind.__module__ == "__main__"
    file = getattr(module, "__file__", None)
    if file is None:
        return kind.__module__ == "__main__"
    return not is_installed(file) and not file.endswith((".so", ".pyd"))


def _slots(base: type) -> tuple[str, ...]:
    slots = vars(base).get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(
        f"_{base.__name__.lstrip('_')}{n}" if n.startswith("__") and not n.endswith("__") else n
        for n in names
        if n not in ("__dict__", "__weakref__")
    )


def _is_outside(value: Any) -> bool:
    """Whether an object can't be put back: files, sockets, threads, iterators that are written in C."""
    kind = type(value)
    if isinstance(value, (io.IOBase, threading.Thread)) or kind.__module__.partition(".")[0] in _OUTSIDE:
        return True
    step = getattr(kind, "__next__", None)
    return step is not None and not isinstance(step, FunctionType)


def _is_known(kind: type) -> bool:
    """Whether what has no attributes is at least of Python, torch or numpy, of which the rest is told apart above."""
    first = kind.__module__.partition(".")[0]
    return first in sys.stdlib_module_names or first in ("torch", "numpy") or issubclass(kind, BaseException)


def _several() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
