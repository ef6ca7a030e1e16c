"""Alone: one measurement at a time in a process, and no other thread training the model meanwhile.

A measurement sets gradients aside and puts state back; another thread that trains the same model in
between would end the process with a segmentation fault.  So exams wait for one another, and threads
that were there before wait at their next call of the model, `backward` or optimizer step.
"""

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from fadeout.call import privates
from fadeout.errors import FadeoutError

PATIENCE = 60.0  # seconds that a thread in the middle of a step is waited for, and waits itself
_ONE = threading.RLock()  # one measurement at a time


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Other measurements in this process wait until this one is over."""
    with _ONE:
        yield


@contextmanager
def undisturbed(modules: Iterable[nn.Module], *, verb: str) -> Iterator[None]:
    """Threads that were there before wait with whatever touches these modules.

    Raises:
        FadeoutError: If one is in the middle of a step that does not end.
    """
    others = {t.ident for t in threading.enumerate()} - {threading.get_ident(), None}
    if not others:
        yield
        return
    gate = _Gate(list(modules), others)
    handles = [
        register_module_forward_pre_hook(gate.module),
        register_optimizer_step_pre_hook(gate.optimizer),
    ]
    original = torch.autograd.backward

    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        gate.backward(tensors)
        return original(tensors, *args, **kwargs)

    torch.autograd.backward = backward
    try:
        gate.drain(verb)
        yield
    finally:
        if torch.autograd.backward is backward:
            torch.autograd.backward = original
        for handle in handles:
            handle.remove()
        gate.open.set()


class _Gate:
    """Lets the measuring thread and its children pass, and holds the others back."""

    def __init__(self, modules: Iterable[nn.Module], others: set[int | None]) -> None:
        self.open = threading.Event()
        self._others = others
        self._modules = {id(m) for m in modules}
        self._parameters = {id(p) for m in modules for p in privates.parameters(m).values() if p is not None}
        self._busy: set[int | None] = set()  # in the middle of a step: may end it

    def drain(self, verb: str) -> None:
        """Wait for threads that are in the middle of a step on the modules."""
        until = time.monotonic() + PATIENCE
        while self._in_flight():
            if time.monotonic() > until:
                raise FadeoutError(
                    f"{verb}: another thread is in the middle of a step on this model; "
                    "stop it first, or examine a copy.deepcopy of the model"
                )
            time.sleep(0.0005)

    def _in_flight(self) -> bool:
        frames = sys._current_frames()
        self._busy = {ident for ident in self._others if ident in frames and self._touches(frames[ident])}
        return bool(self._busy)

    def _touches(self, frame: FrameType | None) -> bool:
        """Whether a thread's stack holds a call of the modules, of their optimizer, or a backward through them."""
        while frame is not None:
            file, name = frame.f_code.co_filename, frame.f_code.co_name
            if file.endswith("torch/nn/modules/module.py") and name == privates.CALL:
                if id(frame.f_locals.get("self")) in self._modules:
                    return True
            elif file.endswith("torch/autograd/__init__.py") and name in ("backward", "grad"):
                given = frame.f_locals.get("tensors", frame.f_locals.get("outputs"))
                if self._reaches(given):
                    return True
            elif "torch/optim/" in file and self._holds(frame.f_locals.get("self")):
                return True
            frame = frame.f_back
        return False

    def _holds(self, optimizer: Any) -> bool:
        if not isinstance(optimizer, Optimizer):
            return False
        return any(id(p) in self._parameters for group in optimizer.param_groups for p in group["params"])

    def _reaches(self, tensors: Any) -> bool:
        """Whether a backward from these tensors arrives at the modules' parameters."""
        given = tensors if isinstance(tensors, (tuple, list)) else (tensors,)
        waiting = [t.grad_fn for t in given if isinstance(t, Tensor) and t.grad_fn is not None]
        seen = set(waiting)
        while waiting:
            node = waiting.pop()
            if id(getattr(node, "variable", None)) in self._parameters:
                return True
            for below, _ in node.next_functions:
                if below is not None and below not in seen:
                    seen.add(below)
                    waiting.append(below)
        return False

    def _foreign(self) -> bool:
        ident = threading.get_ident()
        return ident in self._others and ident not in self._busy

    def module(self, module: nn.Module, args: Any) -> None:
        """A module is called."""
        if self._foreign() and id(module) in self._modules:
            self.open.wait(PATIENCE)

    def optimizer(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """An optimizer steps."""
        if self._foreign() and self._holds(optimizer):
            self.open.wait(PATIENCE)

    def backward(self, tensors: Any) -> None:
        """A backward begins."""
        if self._foreign() and self._reaches(tensors):
            self.open.wait(PATIENCE)
