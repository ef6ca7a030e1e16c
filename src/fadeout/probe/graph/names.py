"""Names: which module, which function and which source line made each operation of a forward."""

import sys
from collections.abc import Callable, Iterable
from threading import get_ident
from types import CodeType, TracebackType
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode

from fadeout.call import privates
from fadeout.call.batch import argument_names, is_target, tensors
from fadeout.call.guard import Guard, forget_keyword_hooks, keyword_hooks
from fadeout.call.interrupts import unbroken
from fadeout.call.writes import may_write, takes_in_place, written
from fadeout.probe.graph.cuts import GOING, Cuts, node_of
from fadeout.probe.graph.inputs import Inputs
from fadeout.probe.graph.paths import in_order, readable_path
from fadeout.probe.graph.unregistered import attribute_of
from fadeout.probe.later import Later

_TORCH = torch.__file__.rsplit("/", 1)[0] + "/"
_OURS = sys.modules["fadeout"].__path__[0] + "/"
# path, owner class, function ("f/" for an inner node of f), code and instruction of the user's line
_Origin = tuple[str, str, str, CodeType | None, int]
_LETS_GO = frozenset({"detach", "detach_"})  # results without a node that listeners still hear of


class Listener(Protocol):
    """Something that wants to see results while a forward runs."""

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None: ...

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None: ...


def _calls_hooks(module: nn.Module) -> bool:
    """Whether calling a module runs its hooks: a class may have a `__call__` of its own."""
    return type(module).__call__ is nn.Module.__call__ or isinstance(module, torch.jit.ScriptModule)


def _has_parameters(module: nn.Module) -> bool:
    return any(privates.parameters(m) for m in module.modules())


def _argument_names(module: nn.Module) -> list[str]:
    return [p.name for p in argument_names(module) if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


class Names(TorchFunctionMode):
    """Records, while a forward runs, the origin of every autograd node it makes.

    Global module hooks keep the stack of modules (so modules outside the examined one are
    seen too, and nothing is left on any of them); a function mode names each new `grad_fn` by
    the module on top, the function called and the innermost frame that is neither torch's nor
    ours.  Interior nodes of a composite function are in no record: the walk gives them the origin
    of what reads them.
    """

    def __init__(
        self,
        model: nn.Module,
        guard: Guard,
        *,
        watched: nn.Module,
        modules: Iterable[tuple[str, nn.Module]],
        track_inputs: bool = True,
        double: bool = False,
        clone_inputs: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.guard = guard
        self.watched = watched
        self.track_inputs = track_inputs
        self.entered_with = Inputs(guard, clone=clone_inputs, double=double)
        self._told: list[tuple[Listener, frozenset[str] | None]] = []  # None: of every function
        self._callers: dict[str, tuple[Callable[..., None], ...]] = {}
        self._leavers: list[Callable[..., None]] = []
        self.enterers: list[Callable[[nn.Module], None]] = []
        self.of: dict[Node, _Origin] = {}
        self.outputs: list[Tensor] = []
        self.entered: list[tuple[Node, int]] = []
        self.entering: list[Tensor] = []  # the tensors that entered the watched module
        self.ran: dict[int, tuple[nn.Module, str, bool, int]] = {}  # with gradients on; nodes made by then
        self.samples = 0
        self.later = Later()  # numbers that observers ask for; read with the tape's
        self.let_go: tuple[CodeType | None, int] = (None, 0)  # code and instruction of the last detach
        self.cuts = Cuts()
        self.others: list[Tensor] = []  # results of parts of the model that were called by themselves
        self.unregistered: dict[int, nn.Module] = {}  # ran inside the model, which does not know them
        self.hooked = False  # a hook on a tensor may change gradients
        self.under_transform = False  # the root was called under torch.func: what enters it is no plain tensor
        self._failed = ""
        self._thread = get_ident()
        self.stack: list[tuple[nn.Module, str]] = []
        self._paths: dict[int, str] = {}
        self._classes: dict[int, str] = {}
        self.modules = modules = list(modules)  # of the model, by path
        self._own = {id(m) for _, m in modules}
        self._add_paths(modules, "")
        self._parameters: dict[int, str] = {}
        self._user: dict[str, bool] = {}
        self._handles: list[Any] = []
        self._root_hooked = False
        self._arguments = _argument_names(watched)

    def _add_paths(self, modules: Iterable[tuple[str, nn.Module]], prefix: str) -> None:
        for path, module in modules:
            full = readable_path(f"{prefix}.{path}" if prefix and path else prefix or path)
            self._paths.setdefault(id(module), full)
            # only a module without parts speaks for its operations: a PreNormBlock is no norm
            self._classes.setdefault(id(module), "" if privates.children(module) else type(module).__name__)

    @unbroken
    def __enter__(self) -> Self:
        self._before = keyword_hooks()
        self._class: type[nn.Module] | None = None
        if not _calls_hooks(self.watched):
            self._class = type(self.watched)
            self.watched.__class__ = self._calling(self._class)
        self._handles = [
            register_module_forward_pre_hook(self._enter_module),
            register_module_forward_hook(self._leave_module, with_kwargs=True, always_call=True),
        ]
        try:
            self._handles.append(
                self.watched.register_forward_pre_hook(self._enter_root, with_kwargs=True, prepend=True)
            )
            self._root_hooked = True
        except (RuntimeError, AttributeError):  # a ScriptModule refuses hooks of its own
            self._root_hooked = False
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    @unbroken
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()
        self._handles = []
        forget_keyword_hooks(self._before)
        if self._class is not None:
            self.watched.__class__ = self._class
            self._class = None

    def path_of(self, module: nn.Module) -> str:
        """Dotted path of a module that ran; one outside the model begins with its class name."""
        return self._paths.get(id(module), type(module).__name__)

    def named(self, parameter: Tensor) -> str:
        """Name of a parameter of the model; "" for any other tensor."""
        if not self._parameters:
            self._parameters = {id(p): readable_path(name) for name, p in self.model.named_parameters()}
        return self._parameters.get(id(parameter), "")

    def listen(self, listener: "Listener", *, calls: frozenset[str] | None = frozenset(), leaves: bool = False) -> None:
        """Tell a listener of results while the forward runs.

        Args:
            calls: Names of the functions whose results it wants; None for all.
            leaves: Whether it wants what modules return.
        """
        if calls is None or calls:
            self._told.append((listener, calls))
            self._callers.clear()
        if leaves:
            self._leavers.append(listener.leave)

    @property
    def given(self) -> set[int]:
        """Ids of the leaves that entered the model."""
        return self.entered_with.given

    @property
    def inputs(self) -> list[tuple[str, Tensor]]:
        """(path, leaf) of every float input."""
        return self.entered_with.found

    @property
    def innermost(self) -> str:
        """Path of the module that was running last: where an exception came from."""
        return self._failed or (self.stack[-1][1] if self.stack else "")

    def release(self) -> None:
        """Drop what keeps the graph and its tensors alive."""
        self.of.clear()
        self.entered_with.release()
        self.outputs = []
        self.entered = []
        self.entering = []
        self.others = []
        self.cuts.release()
        self._told, self._callers, self._leavers, self.enterers = [], {}, [], []

    # ---- modules

    def _calling(self, own: type[nn.Module]) -> type[nn.Module]:
        """The same class for a root whose own `__call__` goes past the module hooks."""

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if module is not self.watched or any(top is module for top, _ in self.stack):
                return own.__call__(module, *args, **kwargs)
            self.stack.append((module, self._paths[id(module)]))
            given = self._enter_root(module, args, kwargs)
            args, kwargs = given if given is not None else (args, kwargs)
            out = own.__call__(module, *args, **kwargs)
            self._leave_module(module, args, kwargs, out)
            return out

        parts = {"__call__": call, "__module__": own.__module__, "__qualname__": own.__qualname__}
        return type(own.__name__, (own,), parts)

    def _enter_module(self, module: nn.Module, args: tuple[Any, ...]) -> Any:
        if get_ident() != self._thread:
            return None
        path = self._paths.get(id(module))
        if path is None:
            outside = list(module.named_modules())
            if any(id(top) in self._own for top, _ in self.stack):
                self.unregistered[id(module)] = module
            self._add_paths(outside, self._attribute(module) or type(module).__name__)
            if not privates.transformed():  # there its parameters may be stand-ins
                self.guard.add(m for _, m in outside)
            path = self._paths[id(module)]
        for enter in self.enterers:
            enter(module)
        outermost = not self.stack and not (module is self.watched and self._root_hooked)
        if outermost and self.track_inputs and self.watched is self.model and not privates.transformed():
            args = self.entered_with.substitute(args, path)
            self.stack.append((module, path))
            return args
        self.stack.append((module, path))
        return None

    def _enter_root(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if privates.transformed():
            self.under_transform = True
            return None
        for tensor in tensors((args, kwargs)):
            if (node := node_of(tensor)) is not None:
                self.entered.append((node, tensor.output_nr))
                self.entering.append(tensor)
        if not self.track_inputs:
            return None
        kept = {k: v for k, v in kwargs.items() if is_target(k)}
        rest = {k: v for k, v in kwargs.items() if k not in kept}
        named = self._arguments
        called = [named[i] if i < len(named) else f"input[{i}]" for i in range(len(args))]
        found = tuple(
            value if is_target(name) else self.entered_with.substitute(value, name)
            for name, value in zip(called, args, strict=True)
        )
        return found, {**self.entered_with.substitute(rest, ""), **kept}

    def _leave_module(self, module: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:
        """rest: keyword arguments and result; the result alone where the module raised."""
        kwargs, out = rest if len(rest) == 2 else ({}, rest[0])
        if get_ident() != self._thread:
            return
        if kwargs:
            args = in_order(module, args, kwargs)
        path = self._paths.get(id(module), "")
        while self.stack:
            top, _ = self.stack.pop()
            if top is module:
                break
        if out is None:  # it raised, or returned nothing: where an exception came from, unless it was caught
            self._failed = self._failed or path
            return
        self._failed = ""
        self.ran.setdefault(id(module), (module, path, torch.is_grad_enabled(), len(self.of)))
        made = False
        found = self.outputs if module is self.watched else None
        if not self.stack and found is None and id(module) in self._own and _has_parameters(module):
            found = self.others
        for tensor in (out,) if isinstance(out, Tensor) else tensors(out):
            node = node_of(tensor)
            if node is not None:
                made = True
                if node not in self.of:
                    self.of[node] = (path, type(module).__name__, "", None, 0)
                if found is not None:
                    found.append(tensor)
        if (made and not self._leavers) or privates.transformed():
            return
        if not made:
            self.cuts.module(tensors(args), path)
        for leave in self._leavers:
            leave(module, path, args, out)

    # ---- operations

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "")
        if (kwargs or may_write(name) or takes_in_place(name)) and not privates.transformed():
            for tensor in written(name, args, kwargs):
                self.guard.before_write(tensor)
            if kwargs and (generator := kwargs.get("generator")) is not None:
                self.guard.before_draw(generator)
        out = func(*args, **kwargs) if kwargs else func(*args)
        if isinstance(out, Tensor):
            self._made_one(func, name, args, out)
        elif isinstance(out, (tuple, list)):
            self._made_several(func, name, args, out)
        elif out is None:
            if name == "__setitem__" and isinstance(args[0], Tensor):
                node = node_of(args[0])
                if node is not None and node not in self.of:
                    self.of[node] = self._origin(name)
            elif name == "register_hook":
                self.hooked = True
        elif name in GOING and not privates.transformed():
            self.cuts.call(func, name, args, self)
        elif name == "register_hook":
            self.hooked = True
        return out

    def _made_one(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], out: Tensor) -> None:
        node = node_of(out)
        if node is not None:
            if node not in self.of:
                self.of[node] = self._origin(name, up=1)
        elif not out.requires_grad and args and not privates.transformed():
            self.cuts.call(func, name, args, self)
            self.cuts.follow(args[:3], out)
        told = self._callers.get(name)
        if told is None:
            told = self._callers[name] = tuple(
                listener.call for listener, wanted in self._told if wanted is None or name in wanted
            )
        if name in _LETS_GO:
            self.let_go = self._origin(name, up=1)[3:]
        elif node is None:
            return
        if told and not privates.transformed():
            path = self.stack[-1][1] if self.stack else ""
            for call in told:
                call(name, args, out, node, path)

    def _made_several(self, func: Callable[..., Any], name: str, args: tuple[Any, ...], out: Any) -> None:
        for item in out:
            if isinstance(item, Tensor):
                if (node := node_of(item)) is None:
                    if not privates.transformed():
                        self.cuts.call(func, name, args, self)
                elif node not in self.of:
                    self.of[node] = self._origin(name, up=1)

    def origin_here(self, name: str) -> _Origin:
        """Origin of a call that the mode does not see, from inside a stand-in for it."""
        return self._origin(name, up=1)

    def origin_of_call(self, name: str) -> _Origin:
        """Origin of the call that a function of another file is told about by the mode."""
        return self._origin(name, up=3)

    def _attribute(self, module: nn.Module) -> str:
        """Path of a module that an attribute of the model holds although it is not registered: "hids[0]"."""
        for top, path in reversed(self.stack):
            found = attribute_of(top, module)
            if found:
                return f"{path}.{found}" if path else found
        return ""

    def _origin(self, function: str, up: int = 0) -> _Origin:
        if self.stack:
            module, path = self.stack[-1]
            owner = self._classes.get(id(module), "")
        else:
            path = owner = ""
        frame = sys._getframe(2 + up)
        user = self._user
        while frame is not None:
            code = frame.f_code
            file = code.co_filename
            inside = user.get(file)
            if inside is None:
                inside = user[file] = not (file.startswith((_TORCH, _OURS)) or file[:1] == "<")
            if inside:
                return path, owner, function, code, frame.f_lasti
            if file.startswith(_OURS):
                break
            frame = frame.f_back  # type: ignore[assignment]
        return path, owner, function, None, 0
