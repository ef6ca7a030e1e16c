"""The process: what a measurement changes beyond the model, put back when it is over, however it ends."""

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
import torch.nn.utils as torch_nn_utils
import torch.utils.checkpoint as torch_checkpoint

from fadeout.call import privates
from fadeout.call.alone import one_at_a_time
from fadeout.call.guard import forget_keyword_hooks, keyword_hooks
from fadeout.call.interrupts import deferred, unbroken
from fadeout.probe.graph.names import Names

_P = ParamSpec("_P")
_R = TypeVar("_R")


def leaves_no_trace(verb: Callable[_P, _R]) -> Callable[_P, _R]:
    """A public verb: one at a time, Ctrl-C waits for what is put back, the process is left as it was."""

    @wraps(verb)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with ExitStack() as stack:
            stack.enter_context(one_at_a_time())
            stack.enter_context(deferred())
            stack.enter_context(_kept())
            gc.disable()  # amid thousands of small new objects it doubles the time of a measurement
            return verb(*args, **kwargs)

    return run


@contextmanager
def _kept() -> Iterator[None]:
    state = _State()
    try:
        yield
    finally:
        state.put_back()


class _State:
    """What may be left behind where an exception strikes between two statements."""

    def __init__(self) -> None:
        self.modes = privates.open_modes()
        self.grad = torch.is_grad_enabled()
        self.collecting = gc.isenabled()
        self.backward = torch.autograd.backward
        self.clip = torch_nn_utils.clip_grad_norm_
        self.checkpoint = torch_checkpoint.CheckpointFunction
        self.hooks = keyword_hooks()
        self.autocast = [(d, torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in _devices()]
        self.stance = privates.stance()

    @unbroken
    def put_back(self) -> None:
        """Everything, whether it was left or not."""
        while privates.open_modes() > self.modes:
            privates.leave_mode()
        if torch.is_grad_enabled() != self.grad:
            torch.set_grad_enabled(self.grad)
        if self.collecting:
            gc.enable()
        torch.autograd.backward = self.backward
        torch_nn_utils.clip_grad_norm_ = self.clip
        torch_checkpoint.CheckpointFunction = self.checkpoint  # type: ignore[misc]
        before, after, always = privates.forward_hook_tables()
        for table in (before, after):
            for key, hook in list(table.items()):
                if isinstance(getattr(hook, "__self__", None), Names):
                    del table[key]
                    always.pop(key, None)
        forget_keyword_hooks(self.hooks)
        for device, enabled, dtype in self.autocast:
            if torch.is_autocast_enabled(device) != enabled:
                torch.set_autocast_enabled(device, enabled)
            if torch.get_autocast_dtype(device) != dtype:
                torch.set_autocast_dtype(device, dtype)
        privates.set_stance(self.stance)


def _devices() -> tuple[str, ...]:
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
