"""Trespass: a training step that reaches the user's own model instead of its copy is stopped at the first write."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode

from fadeout.call import privates
from fadeout.call.guard import Guard, address
from fadeout.call.writes import written


class ReachedError(BaseException):
    """The step was about to write into something of the user's; no `except Exception` of theirs stops it."""


class WritesDataError(BaseException):
    """The step was about to write into data that the copies share with the originals: it needs copies of that, too."""


class Originals:
    """What no training step may write into.

    Args:
        modules: The user's own.
        shared: Tensors that the copies share with the originals.
    """

    def __init__(self, modules: Iterable[nn.Module], shared: Iterable[Tensor]) -> None:
        self.modules = list(modules)
        self.parameters = [p for m in self.modules for p in privates.parameters(m).values() if p is not None]
        buffers = [b for m in self.modules for b in privates.buffers(m).values() if b is not None]
        self._ids = {id(p) for p in self.parameters}
        self._own = {address(t) for t in (*self.parameters, *buffers) if t.numel()}
        self._shared = {address(t) for t in shared if t.numel()}

    def check(self, tensors: Iterable[Tensor]) -> None:
        """Before a write into these.

        Raises:
            ReachedError, WritesDataError: If one is the user's.
        """
        for tensor in tensors:
            if tensor.layout != torch.strided or not tensor.numel():
                continue
            at = address(tensor)
            if at in self._own:
                raise ReachedError
            if at in self._shared:
                raise WritesDataError

    def check_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Before an optimizer's step."""
        if any(id(p) in self._ids for group in optimizer.param_groups for p in group["params"]):
            raise ReachedError


class _Watch(TorchFunctionMode):
    def __init__(self, originals: Originals) -> None:
        super().__init__()
        self.originals = originals

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.originals.check(written(getattr(func, "__name__", ""), args, kwargs))
        return func(*args, **(kwargs or {}))


@contextmanager
def no_steps_on(originals: Originals) -> Iterator[None]:
    """No optimizer steps on the originals in here."""
    handle = register_optimizer_step_pre_hook(originals.check_step)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def no_writes_into(originals: Originals, *, verb: str) -> Iterator[None]:
    """Every write of a training step is looked at, and what slips through is put back.

    Raises:
        ValueError: If the step trains the original.
        WritesDataError: If it writes into shared data; nothing has been written.
    """
    wrong = (
        f"{verb}: train_step= trains the model outside instead of the one it is given; use its arguments, "
        "or write it as one function that names what it trains"
    )
    values = [(p, p.detach().clone(), p.grad) for p in originals.parameters if p.layout == torch.strided]
    try:
        with Guard(originals.modules), _Watch(originals):
            yield
    except ReachedError:
        raise ValueError(wrong) from None
    finally:
        touched = False
        for p, value, grad in values:
            with torch.no_grad():
                if not (torch.equal(p, value) or bool(torch.isnan(value).any())):
                    touched = True
                    p.data.copy_(value)
            touched = touched or p.grad is not grad
            p.grad = grad
    if touched:
        raise ValueError(wrong)
