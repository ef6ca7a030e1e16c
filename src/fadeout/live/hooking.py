"""Hooking: the calls of some modules are seen without a hook that stands on them.

A hook on the user's module would be pickled and copied with it, and torch.jit.script fails at it. So torch's
global hooks are used, and only while a probe is due. torch.compile warns of these; from the moment that something
is compiled, hooks on the modules are used instead, which vanish in a copy.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from fadeout.call import privates

Before = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]
After = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]


class Hooking:
    """Calls `before` and `after` around every call of some modules, between `put_on` and `take_off`."""

    def __init__(self, before: Before, after: After) -> None:
        self._before, self._after = before, after
        self._modules: dict[int, nn.Module] = {}
        self._find: Callable[[], Iterable[nn.Module]] = tuple
        self._handles: list[Any] = []

    def put_on(self, find: Callable[[], Iterable[nn.Module]]) -> None:
        """Begin, with the modules that are found now."""
        self.take_off()
        self._find = find
        self._modules = {id(m): m for m in find()}
        if privates.compiled():
            self._on_modules()
        else:
            self._everywhere()

    def take_off(self) -> None:
        """End."""
        _COMPILE.forget(self)
        for handle in self._handles:
            handle.remove()
            privates.forget_hook(handle.id)
        self._handles, self._modules = [], {}

    def _on_modules(self) -> None:
        before, after = _Hook(self._before), _Hook(self._after)
        for module in self._modules.values():
            if privates.compiled_call(module) is not None:
                self._handles.append(_Around(module, self._before, self._after))
                continue
            self._handles.append(module.register_forward_pre_hook(before, with_kwargs=True, prepend=True))
            self._handles.append(module.register_forward_hook(after, with_kwargs=True, always_call=True))

    def _everywhere(self) -> None:
        def before(module: nn.Module, args: Any) -> None:
            if id(module) in self._modules:
                given = args if isinstance(args, tuple) else (args,)
                self._before(module, given, privates.keywords_of_call())

        def after(module: nn.Module, args: Any, *rest: Any) -> None:
            if id(module) in self._modules:  # after a forward that raised torch gives no keywords
                self._after(module, args, rest[0] if len(rest) == 2 else {}, rest[-1])

        self._handles.append(register_module_forward_pre_hook(before))
        self._handles.append(register_module_forward_hook(after, with_kwargs=True, always_call=True))
        _COMPILE.tell(self)

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Something is compiled inside: from now on by hooks, on the modules that are found afterwards."""
        find = self._find
        self.take_off()
        try:
            yield
        finally:
            self._find = find
            self._modules = {id(m): m for m in find()}
            self._on_modules()


class _Around:
    """Around the calls of a module that was compiled in place, whose own hooks would be compiled with it."""

    def __init__(self, module: nn.Module, before: Before, after: After) -> None:
        self.id = -1
        self._module = module
        self._original = original = privates.compiled_call(module)

        @functools.wraps(original)
        def run(*args: Any, **kwargs: Any) -> Any:
            before(module, args, kwargs)
            out = None
            try:
                out = original(*args, **kwargs)
                return out
            finally:
                after(module, args, kwargs, out)

        self._ours = run
        privates.set_compiled_call(module, run)

    def remove(self) -> None:
        """The module is called as it was."""
        if privates.compiled_call(self._module) is self._ours:
            privates.set_compiled_call(self._module, self._original)


class _Compile:
    """torch.compile, which says beforehand that it is called, while somebody asks for it."""

    def __init__(self) -> None:
        self._asking: list[Hooking] = []
        self._original: Any = None
        self._ours: Any = None

    def tell(self, hooking: Hooking) -> None:
        """This one asks."""
        self._asking.append(hooking)
        if self._ours is None:
            self._original = original = torch.compile

            @functools.wraps(original)
            def compile_(*args: Any, **kwargs: Any) -> Any:
                if not args and kwargs.get("model") is None:  # torch.compile(mode=...)(model)
                    return functools.partial(compile_, **kwargs)
                inside = getattr(args[0] if args else None, "__self__", None)
                with contextlib.ExitStack() as stack:
                    for one in list(self._asking):
                        stack.enter_context(one.compiling())
                    made = original(*args, **kwargs)
                    if not (isinstance(inside, nn.Module) and args[0] == inside._call_impl):
                        return made
                    privates.set_compiled_call(inside, made)  # module.compile() is about to keep what we return
                return privates.compiled_call(inside)

            self._ours = torch.compile = compile_

    def forget(self, hooking: Hooking) -> None:
        """It asks no more; torch is as it was after the last."""
        self._asking = [one for one in self._asking if one is not hooking]
        if not self._asking and self._ours is not None:
            if torch.compile is self._ours:
                torch.compile = self._original
            self._ours = self._original = None


_COMPILE = _Compile()


class _Hook:
    """A hook that is nothing in a copy of its module: there it does nothing, and needs no fadeout to be loaded."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function

    def __call__(self, *given: Any) -> None:
        self.function(*given)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return _inert()

    def __reduce__(self) -> Any:
        return getattr, (contextlib.nullcontext(), "__exit__")


def _inert() -> Any:
    """Of Python's own, takes anything, returns None."""
    return contextlib.nullcontext().__exit__
