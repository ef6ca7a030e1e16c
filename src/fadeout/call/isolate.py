"""Isolation: a training step on copies of everything that it reaches, made with one memo.

What is shared stays shared: a scheduler's optimizer, an optimizer's parameters, the cell of two nested
functions.  Python's deepcopy does most of it; taught here are the things that it would leave pointing at
the originals: functions with what they close over and the globals they name, weak references, optimizers
(whose own `__getstate__` forgets every attribute but three), hooks of parameters, and tensors in the
middle of a graph.
"""

import copy
import functools
import sys
import sysconfig
import types
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call import privates
from fadeout.errors import FadeoutError

STATEFUL = (nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, torch.amp.GradScaler)
LARGE = 1 << 24  # elements of a tensor without gradient from which it is data, shared and watched, not copied
DEPTH = 4  # of objects inside objects that are searched for something to copy
MANY = 64  # items of one container that are searched

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type, types.ModuleType, types.BuiltinFunctionType)
_LIBRARIES = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class Isolation:
    """Copies of a training set-up; ask for as many things as belong together."""

    def __init__(self, *, verb: str, share: bool = True) -> None:
        """Args: share: plain data that functions close over is shared; a step that writes into it needs a copy."""
        self.verb = verb
        self.share = share
        self.memo: dict[int, Any] = {}
        self.shared: list[Tensor] = []  # tensors that the copies share with the originals
        self._trained: set[int] = set()  # tensors that training writes into, however large they are
        self._worlds: dict[int, dict[str, Any]] = {}
        self._kept: list[Any] = []  # originals, so that no id is used again

    def copied(self, value: Any) -> Any:
        """A copy that shares with earlier copies what the originals share.

        Raises:
            FadeoutError: If something that trains can't be copied.
        """
        with self._taught():
            return self._copied(value)

    # ---- values

    def _copied(self, value: Any) -> Any:
        if isinstance(value, _ATOMS):
            return value
        if id(value) in self.memo:
            return self.memo[id(value)]
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return types.MethodType(self._copied(value.__func__), self._copied(value.__self__))
        if isinstance(value, functools.partial):
            return functools.partial(
                self._copied(value.func),
                *(self._copied(a) for a in value.args),
                **{name: self._copied(a) for name, a in value.keywords.items()},
            )
        if isinstance(value, torch.utils.data.DataLoader):
            return value
        if self.share and _is_data(value):
            return self._shallow(value)
        try:
            found = copy.deepcopy(value, self.memo)
        except FadeoutError:
            raise
        except Exception as error:  # user code: __deepcopy__ can raise anything; files, sockets, loggers
            if isinstance(value, Iterator):
                raise FadeoutError(
                    f"{self.verb}: train_step= reads from an iterator of its own ({type(value).__name__}), which can't "
                    "be copied; let it take the batch that it is given"
                ) from error
            if self._trains(value):
                raise FadeoutError(
                    f"{self.verb}: steps= trains a copy, and {type(value).__name__} can't be copied "
                    f"({type(error).__name__}: {error}); leave out steps= for one step on the model itself"
                ) from error
            return value
        self._kept.append(value)
        return found

    def _trains(self, value: Any, depth: int = DEPTH) -> bool:
        """Whether an object holds something that training changes."""
        if isinstance(value, (*STATEFUL, Tensor)):
            return True
        if isinstance(value, _ATOMS) or not depth:
            return False
        if isinstance(value, (list, tuple, set, frozenset, dict)):
            items = list(value.values() if isinstance(value, dict) else value)
            return any(self._trains(item, depth - 1) for item in items[:MANY])
        if isinstance(value, types.FunctionType):
            return any(self._trains(item, depth - 1) for item in _cell_values(value))
        inner = getattr(value, "__dict__", None)
        return isinstance(inner, dict) and any(self._trains(item, depth - 1) for item in list(inner.values())[:MANY])

    def _shallow(self, value: Any) -> Any:
        """New containers around the same tensors: a list that a step appends to stays the user's."""
        if isinstance(value, Tensor):
            self.shared.append(value)
            return value
        if id(value) in self.memo:
            return self.memo[id(value)]
        if isinstance(value, tuple):
            return tuple(self._shallow(item) for item in value)
        if not isinstance(value, (list, dict, set)):
            return value
        twin: Any = copy.copy(value)
        self.memo[id(value)] = twin
        self._kept.append(value)
        if isinstance(value, dict):
            twin.update({key: self._shallow(item) for key, item in value.items()})
        elif isinstance(value, list):
            twin[:] = [self._shallow(item) for item in value]
        return twin

    # ---- functions

    def _function(self, function: types.FunctionType) -> types.FunctionType:
        """The same function on copies of its closure, its defaults and the globals that it names."""
        if id(function) in self.memo:
            known: types.FunctionType = self.memo[id(function)]
            return known
        library = function.__code__.co_filename.startswith((*_LIBRARIES, "<frozen"))
        if library and not function.__closure__:
            return function
        cells = [self._cell(cell) for cell in function.__closure__ or ()]
        twin = types.FunctionType(
            function.__code__,
            function.__globals__ if library else self._world(function.__globals__),
            function.__name__,
            function.__defaults__,
            tuple(new for new, _ in cells) or None,
        )
        self.memo[id(function)] = twin  # before what it names: functions call themselves and one another
        self._kept.append(function)
        if not library:
            self._populate(twin.__globals__, function)
        for new, old in cells:
            self._fill(new, old)
        if function.__defaults__:
            twin.__defaults__ = tuple(self._copied(value) for value in function.__defaults__)
        if function.__kwdefaults__:
            twin.__kwdefaults__ = {name: self._copied(value) for name, value in function.__kwdefaults__.items()}
        twin.__dict__.update({name: self._copied(value) for name, value in function.__dict__.items()})
        twin.__qualname__, twin.__module__, twin.__doc__ = function.__qualname__, function.__module__, function.__doc__
        return twin

    def _cell(self, cell: types.CellType) -> tuple[types.CellType, types.CellType | None]:
        """The cell's copy, and the cell itself where the copy is still to be filled."""
        known = self.memo.get(id(cell))
        if known is not None:
            return known, None
        new = self.memo[id(cell)] = types.CellType()
        self._kept.append(cell)
        return new, cell

    def _fill(self, new: types.CellType, old: types.CellType | None) -> None:
        if old is None:
            return
        try:
            value = old.cell_contents
        except ValueError:  # not yet filled
            return
        new.cell_contents = self._copied(value)

    def _world(self, original: dict[str, Any]) -> dict[str, Any]:
        """Globals of a module of the user's, for the copies of its functions."""
        world = self._worlds.get(id(original))
        if world is None:
            world = self._worlds[id(original)] = dict(original)
        return world

    def _populate(self, world: dict[str, Any], function: types.FunctionType) -> None:
        """Copies of the globals that a function names and that training changes."""
        original = function.__globals__
        for name in _named(function.__code__):
            if name not in original or world[name] is not original[name]:
                continue
            value = original[name]
            if isinstance(value, types.FunctionType):
                if not value.__code__.co_filename.startswith((*_LIBRARIES, "<frozen")):
                    world[name] = self._function(value)
            elif not isinstance(value, _ATOMS) and (self._trains(value) or _is_log(value)):
                world[name] = self._copied(value)

    # ---- what deepcopy is taught

    @contextmanager
    def _taught(self) -> Iterator[None]:
        dispatch: dict[Any, Any] = copy._deepcopy_dispatch  # type: ignore[attr-defined]
        lessons = {
            types.FunctionType: lambda f, memo: self._function(f),
            weakref.ref: lambda ref, memo: self._reference(ref),
            Tensor: lambda t, memo: self._tensor(t),
            torch.Generator: lambda g, memo: self._generator(g),
        }
        before = {kind: dispatch.get(kind) for kind in lessons}
        dispatch.update(lessons)
        isolation = self

        def whole(optimizer: torch.optim.Optimizer, memo: dict[int, Any]) -> torch.optim.Optimizer:
            return isolation._optimizer(optimizer)

        def itself(value: Any, memo: dict[int, Any]) -> Any:
            return value

        def buffered(module: nn.Module, memo: dict[int, Any]) -> Any:
            return isolation._module(module, memo)

        classes: list[tuple[Any, Any]] = [
            (nn.Module, buffered),
            (torch.optim.Optimizer, whole),
            (torch.utils.data.DataLoader, itself),
            (torch.utils.data.Dataset, itself),
        ]
        own = [kind.__dict__.get("__deepcopy__") for kind, _ in classes]
        for kind, way in classes:
            kind.__deepcopy__ = way
        try:
            yield
            self._carry_hooks()
        finally:
            for (kind, _), way in zip(classes, own, strict=True):
                if way is None:
                    del kind.__deepcopy__
                else:
                    kind.__deepcopy__ = way
            for key, lesson in before.items():
                if lesson is None:
                    dispatch.pop(key, None)
                else:
                    dispatch[key] = lesson

    def _optimizer(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Every attribute, where torch's own way keeps three: LBFGS, SAM, Lookahead and wrappers have more."""
        twin = object.__new__(type(optimizer))
        self.memo[id(optimizer)] = twin
        self._kept.append(optimizer)
        self._trained |= {id(tensor) for tensor in _held(optimizer.__dict__)}
        for name, value in optimizer.__dict__.items():
            if name == "step" and getattr(value, privates.SCHEDULED, False):
                continue  # a scheduler's counter around the step, bound to the original by a weak reference
            twin.__dict__[name] = copy.deepcopy(value, self.memo)
        return twin

    def _module(self, module: nn.Module, memo: dict[int, Any]) -> Any:
        """As deepcopy does it."""
        self._trained |= {id(b) for b in privates.buffers(module).values()}
        return copy._reconstruct(module, memo, *module.__reduce_ex__(4))  # type: ignore[attr-defined]

    def _reference(self, reference: "weakref.ref[Any]") -> "weakref.ref[Any]":
        target = reference()
        if target is None or not (id(target) in self.memo or isinstance(target, STATEFUL)):
            return reference
        twin = copy.deepcopy(target, self.memo)
        self._kept.append(twin)
        return weakref.ref(twin)

    def _tensor(self, tensor: Tensor) -> Tensor:
        if tensor.numel() >= LARGE and not tensor.requires_grad and id(tensor) not in self._trained:
            self.shared.append(tensor)
            return tensor
        if tensor.is_leaf:
            return tensor.__deepcopy__(self.memo)  # type: ignore[no-any-return, no-untyped-call]
        twin = self.memo[id(tensor)] = tensor.detach().clone()  # in the middle of a graph: its value
        return twin

    def _generator(self, generator: torch.Generator) -> torch.Generator:
        twin = self.memo[id(generator)] = torch.Generator(generator.device)
        twin.set_state(generator.get_state())
        return twin

    def _carry_hooks(self) -> None:
        """Hooks and attributes of parameters, which their own deepcopy drops."""
        for original in self._parameters():
            twin = self.memo[id(original)]
            for name, value in vars(original).items():
                if name not in vars(twin):
                    setattr(twin, name, copy.deepcopy(value, self.memo))
            if original.grad is not None and twin.grad is None:
                twin.grad = original.grad.detach().clone()
            for table in privates.TENSOR_HOOKS:
                hooks = getattr(original, table)
                if not hooks or getattr(twin, table):
                    continue
                register = (
                    twin.register_hook if table == privates.TENSOR_HOOKS[0] else twin.register_post_accumulate_grad_hook
                )
                for hook in list(hooks.values()):
                    register(self._copied(hook))

    def _parameters(self) -> list[nn.Parameter]:
        """Originals of the parameters copied so far (deepcopy keeps every original alive in its memo)."""
        kept = self.memo.get(id(self.memo), [])
        found = {id(p): p for p in kept if isinstance(p, nn.Parameter) and id(p) in self.memo}
        return list(found.values())


def _held(value: Any, depth: int = DEPTH) -> Iterator[Tensor]:
    """The tensors in plain containers."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, (dict, list, tuple, deque)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _held(item, depth - 1)


def _cell_values(function: types.FunctionType) -> list[Any]:
    found = []
    for cell in function.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            continue
    return found


def _named(code: types.CodeType) -> set[str]:
    """Names that a function and the functions inside it may look up among the globals."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _named(constant)
    return found


def _is_log(value: Any) -> bool:
    """Whether a global is something that a step may write into."""
    numpy = sys.modules.get("numpy")
    return type(value) in (list, dict, set) or (numpy is not None and isinstance(value, numpy.ndarray))


def _is_data(value: Any, depth: int = DEPTH) -> bool:
    """Tensors without a gradient, numbers and texts, in plain containers."""
    if isinstance(value, Tensor):
        return type(value) is Tensor and not value.requires_grad
    if isinstance(value, _ATOMS):
        return True
    if not depth or type(value) not in (list, tuple, dict, set):
        return False
    return all(_is_data(item, depth - 1) for item in (value.values() if isinstance(value, dict) else value))
