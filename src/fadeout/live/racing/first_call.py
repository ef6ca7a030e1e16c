"""The first call: the moment when a script's network is about to run its first training forward.

By then its optimizer is nearly always there, no hook is being walked, nothing is compiled yet, and no step was made:
what is changed now is what the whole run trains.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from fadeout.live.roots import roots_of, unwrapped

MOST = 0.9  # of an optimizer's weights: a part of the root that holds so many, and is called alone, is the network

Met = Callable[["Meeting"], None]


class Meeting:
    """A network and its optimizers as the first call finds them.

    Attributes:
        model: The network, wrappers taken off; a part of it where only this part is ever called and holds nearly all
            that is trained (Lightning calls no whole module).
        called: The module that is called, wrappers included.
        optimizers: Those that hold its parameters.
        whole: The call runs all of `model`.
    """

    def __init__(self, called: nn.Module, args: Any, kwargs: Any, optimizers: list[Optimizer]) -> None:
        self.called, self.args, self.kwargs = called, args, kwargs
        inner = unwrapped(called)
        own = {id(p) for p in inner.parameters()}
        self.optimizers = [o for o in optimizers if any(id(p) in own for p in _parameters(o))]
        trained = {id(p): p.numel() for o in self.optimizers for p in _parameters(o)}
        roots = roots_of([p for o in self.optimizers for p in _parameters(o) if id(p) in own])
        root = next((unwrapped(r) for r in roots if inner in set(r.modules())), inner)
        held = sum(size for key, size in trained.items() if key in own)
        joined = sum(trained[id(p)] for p in root.parameters() if id(p) in trained)
        self.whole = root is inner or held >= MOST * joined
        self.model = inner if self.whole else root


def _parameters(optimizer: Optimizer) -> list[torch.Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


class FirstCalls:
    """Tells of the first training call of every network that an optimizer trains; then modules are called as before.

    While it waits, `nn.Module.__call__` is ours: a hook of the network itself would miss what is registered
    during the very call, and compiled code would see it.
    """

    def __init__(self, tell: Met) -> None:
        self.tell = tell
        self.waiting: list[Optimizer] = []
        self.all: list[Optimizer] = []
        self._depth = 0
        self._original = nn.Module.__call__
        self._patched = False

    def made(self, optimizer: Optimizer) -> None:
        """An optimizer was constructed."""
        if any(optimizer is o for o in self.all):
            return
        self.all.append(optimizer)
        self.waiting.append(optimizer)
        self._begin()

    def close(self) -> None:
        """Wait no more."""
        self.waiting = []
        self._end()

    def _begin(self) -> None:
        if self._patched:
            return
        self._patched, self._depth, watcher = True, 0, self
        original = self._original = nn.Module.__call__

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling() or watcher._depth or not watcher.waiting:
                return original(module, *args, **kwargs)
            watcher._depth = 1
            try:
                if module.training and torch.is_grad_enabled():
                    watcher._meet(module, args, kwargs)
                return original(module, *args, **kwargs)
            finally:
                watcher._depth = 0

        nn.Module.__call__ = call  # type: ignore[method-assign]

    def _end(self) -> None:
        if self._patched:
            nn.Module.__call__ = self._original  # type: ignore[method-assign]
            self._patched = False

    def _meet(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        own = {id(p) for p in module.parameters()}
        if not own or not any(id(p) in own for o in self.waiting for p in _parameters(o)):
            return
        meeting = Meeting(module, args, kwargs, self.all)
        self.waiting = [o for o in self.waiting if not any(o is met for met in meeting.optimizers)]
        if not self.waiting:
            self._end()
        self.tell(meeting)
