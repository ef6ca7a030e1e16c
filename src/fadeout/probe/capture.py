"""Capture: the scalar that a user's training step sends backward, caught before it goes."""

import copy
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.errors import FadeoutError

_MODEL = ("model", "net", "network", "module", "m")
_BATCH = ("batch", "data", "b", "inputs", "xy", "sample")
_OPTIMIZER = ("optimizer", "optimizers", "optim", "opt", "o")


_STATEFUL = (nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, torch.amp.GradScaler)


class Caught(BaseException):
    """Carries the scalar out of a training step; no `except Exception` of the user's stops it."""

    def __init__(self, loss: Tensor) -> None:
        super().__init__("fadeout: the training step's backward was caught")
        self.loss = loss


def bound(train_step: Callable[..., Any], *, verb: str) -> Callable[[nn.Module, Any, Any], Any]:
    """A training step as a function of (model, batch, optimizer), by its parameters' names or their order.

    One that takes nothing must close over what it trains (`isolated` gives it copies).

    Raises:
        ValueError: If it takes more than three arguments.
    """
    try:
        parameters = [
            p
            for p in inspect.signature(train_step).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.default is p.empty
        ]
    except (TypeError, ValueError):
        return train_step
    names = [p.name for p in parameters]
    if len(names) > 3:
        raise ValueError(
            f"{verb}: train_step= must take (model, batch, optimizer), or fewer of them; "
            f"this one takes ({', '.join(names)})"
        )
    roles: list[int] = []
    for place, name in enumerate(names):
        known = [i for i, words in enumerate((_MODEL, _BATCH, _OPTIMIZER)) if name.lower() in words]
        roles.append(known[0] if known else place)
    if sorted(set(roles)) != sorted(roles):  # names that say nothing: the documented order
        roles = list(range(len(names)))
    only_keywords = [p.kind is p.KEYWORD_ONLY for p in parameters]

    def run(model: nn.Module, batch: Any, optimizer: Any) -> Any:
        given = (model, batch, optimizer)
        arguments = [given[role] for role in roles]
        plain = [a for a, only in zip(arguments, only_keywords, strict=True) if not only]
        named = {n: a for n, a, only in zip(names, arguments, only_keywords, strict=True) if only}
        return train_step(*plain, **named)

    return run


@contextmanager
def unharmed(model: nn.Module, *, verb: str) -> Iterator[None]:
    """Watches the user's own parameters while their step runs for the first time on a copy.

    Raises:
        ValueError: If the step trained the original; its parameters and gradients are put back.
    """
    kept = [(p, p.detach().clone(), p.grad) for p in model.parameters() if p.layout == torch.strided]
    try:
        yield
    finally:
        touched = False
        for p, value, grad in kept:
            trained = not (torch.equal(p.detach(), value) or bool(torch.isnan(value).any()))
            if trained or p.grad is not grad:
                touched = True
                p.data.copy_(value)
                p.grad = grad
        if touched:
            raise ValueError(
                f"{verb}: train_step= trains the model outside instead of the one it is given; use its arguments, "
                "or write it as one function that names what it trains"
            )


def isolated(train_step: Callable[..., Any], memo: dict[int, Any]) -> Callable[..., Any]:
    """The same function on copies of the modules, optimizers and schedulers that it closes over.

    Copied are those in its closure, its own object, a partial's arguments, and the globals it names;
    what functions called by it reach is not.

    Args:
        memo: Of the deepcopy that made the model's and optimizer's copies: what they share stays shared.
    """
    if isinstance(train_step, functools.partial):
        return functools.partial(
            isolated(train_step.func, memo),
            *(_copied(a, memo) for a in train_step.args),
            **{name: _copied(a, memo) for name, a in train_step.keywords.items()},
        )
    if isinstance(train_step, types.MethodType):
        return types.MethodType(train_step.__func__, copy.deepcopy(train_step.__self__, memo))
    if not isinstance(train_step, types.FunctionType):
        return train_step
    cells = tuple(_new_cell(cell, memo) for cell in train_step.__closure__ or ())
    world = train_step.__globals__
    named = {name: world[name] for name in train_step.__code__.co_names if name in world}
    stateful = {name: _copied(value, memo) for name, value in named.items() if isinstance(value, _STATEFUL)}
    twin = types.FunctionType(
        train_step.__code__,
        {**world, **stateful},
        train_step.__name__,
        train_step.__defaults__,
        cells or None,
    )
    twin.__kwdefaults__ = train_step.__kwdefaults__
    return twin


def _new_cell(cell: types.CellType, memo: dict[int, Any]) -> types.CellType:
    try:
        value = cell.cell_contents
    except ValueError:  # not yet filled
        return cell
    if value is None or isinstance(value, (bool, int, float, str)):
        return types.CellType(value)  # a counter that the step writes stays the user's
    new = _copied(value, memo)
    return cell if new is value else types.CellType(new)


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of what training changes; anything else as it is."""
    if isinstance(value, _STATEFUL):
        return copy.deepcopy(value, memo)
    if type(value) in (list, tuple, dict):
        inner = value.values() if isinstance(value, dict) else value
        if any(isinstance(item, _STATEFUL) for item in inner):
            return copy.deepcopy(value, memo)
    return value


@contextmanager
def backwards(see: Callable[[Tensor], None]) -> Iterator[None]:
    """Calls `see` with every scalar that is sent backward, before it is."""
    original = torch.autograd.backward

    def watched(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        first = tensors[0] if isinstance(tensors, (tuple, list)) else tensors
        if isinstance(first, Tensor):
            see(first)
        return original(tensors, *args, **kwargs)

    torch.autograd.backward = watched
    try:
        yield
    finally:
        torch.autograd.backward = original


def which_backward(step: Callable[[], Any]) -> tuple[int, int]:
    """(index of the backward pass that trains most parameters, how many there are), from one real step.

    Raises:
        FadeoutError: If the step sends nothing backward.
    """
    reached: list[int] = []
    with backwards(lambda loss: reached.append(_leaves(loss))):
        step()
    if not reached:
        raise FadeoutError(
            "examine: train_step= never called backward(); it must do once what the training loop does once"
        )
    return reached.index(max(reached)), len(reached)


def caught(step: Callable[[], Any], which: int) -> Tensor:
    """The scalar that the step's backward pass number `which` would start from."""
    seen = 0

    def see(loss: Tensor) -> None:
        nonlocal seen
        if seen == which:
            raise Caught(loss)
        seen += 1

    try:
        with backwards(see):
            step()
    except Caught as stop:
        return stop.loss
    raise FadeoutError(f"examine: train_step= called backward() {seen} times, {which + 1} before")


def _leaves(loss: Tensor) -> int:
    """Parameters that a scalar depends on."""
    waiting = [loss.grad_fn] if loss.grad_fn is not None else []
    seen = set(waiting)
    count = 0
    while waiting:
        node = waiting.pop()
        count += node.name().endswith("AccumulateGrad")
        for below, _ in node.next_functions:
            if below is not None and below not in seen:
                seen.add(below)
                waiting.append(below)
    return count


@contextmanager
def clipping(seen: list[bool]) -> Iterator[None]:
    """Notes for every clip_grad_norm_ called by its module's name whether it bit."""
    original = torch.nn.utils.clip_grad_norm_

    def watched(parameters: Any, max_norm: float, *args: Any, **kwargs: Any) -> Tensor:
        total = original(parameters, max_norm, *args, **kwargs)
        seen.append(float(total) > float(max_norm))
        return total

    torch.nn.utils.clip_grad_norm_ = watched
    try:
        yield
    finally:
        torch.nn.utils.clip_grad_norm_ = original
