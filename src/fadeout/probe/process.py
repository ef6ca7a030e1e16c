"""The process: what a measurement changes beyond the model, put back when it is over, however it ends."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.nn.utils as torch_nn_utils
import torch.utils.checkpoint as torch_checkpoint

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
        self.modes = torch._C._len_torch_function_stack()
        self.grad = torch.is_grad_enabled()
        self.collecting = gc.isenabled()
        self.backward = torch.autograd.backward
        self.clip = torch_nn_utils.clip_grad_norm_
        self.checkpoint = torch_checkpoint.CheckpointFunction
        self.hooks = keyword_hooks()
        self.autocast = [(d, torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in _devices()]
        frames = sys.modules.get("torch._dynamo.eval_frame")
        self.stance = None if frames is None else frames._stance

    @unbroken
    def put_back(self) -> None:
        """Everything, whether it was left or not."""
        while torch._C._len_torch_function_stack() > self.modes:
            torch._C._pop_torch_function_stack()
        if torch.is_grad_enabled() != self.grad:
            torch.set_grad_enabled(self.grad)
        if self.collecting:
            gc.enable()
        torch.autograd.backward = self.backward
        torch_nn_utils.clip_grad_norm_ = self.clip
        torch_checkpoint.CheckpointFunction = self.checkpoint  # type: ignore[misc]
        for table in (_torch_module()._global_forward_pre_hooks, _torch_module()._global_forward_hooks):
            for key, hook in list(table.items()):
                if isinstance(getattr(hook, "__self__", None), Names):
                    del table[key]
                    _torch_module()._global_forward_hooks_always_called.pop(key, None)
        forget_keyword_hooks(self.hooks)
        for device, enabled, dtype in self.autocast:
            if torch.is_autocast_enabled(device) != enabled:
                torch.set_autocast_enabled(device, enabled)
            if torch.get_autocast_dtype(device) != dtype:
                torch.set_autocast_dtype(device, dtype)
        frames = sys.modules.get("torch._dynamo.eval_frame")
        if frames is not None:
            wanted = self.stance or frames.DynamoStance()
            if frames._stance != wanted:
                frames._set_stance(wanted)


def _devices() -> tuple[str, ...]:
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def _torch_module() -> Any:
    return sys.modules["torch.nn.modules.module"]
