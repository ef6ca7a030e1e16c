"""The twin: copies of model, optimizer and the user's training step, which are trained in their place."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.call.batch import closure, fresh
from fadeout.call.failures import at_line, first_line, hint
from fadeout.call.guard import Guard
from fadeout.call.isolate import Isolation
from fadeout.call.modes import under_autocast
from fadeout.call.question import Question
from fadeout.call.train_step import bound
from fadeout.course.capture import which_backward
from fadeout.course.trespass import Originals, ReachedError, WritesDataError, no_steps_on, no_writes_into
from fadeout.errors import FadeoutError, ModelError

Step = Callable[[nn.Module, Any, Any], Any]  # (model, batch, optimizer) -> loss, or anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """What is trained instead of the user's own.

    Attributes:
        own: The copy of the user's training step, before its arguments are told apart; None for the plain one.
        shares: Plain data that the step closes over is the user's own, and is watched.
        originals: What must stay as it is.
        which: The backward pass of a step that trains most parameters.
        backwards: Backward passes a step.
        trains: Names of the parameters that an optimizer moves after that pass; None where none does before the next.
    """

    model: nn.Module
    optimizer: Any
    step: Step
    own: Callable[..., Any] | None = None
    shares: bool = True
    originals: Originals | None = None
    which: int = 0
    backwards: int = 1
    trains: frozenset[str] | None = None


def twin_of(question: Question, model: nn.Module, batch: Any) -> Twin:
    """The copy that is trained; a training step of the user's has been tried on a copy of it.

    Args:
        model: The question's, without wrappers.
        batch: The first one.

    Raises:
        FadeoutError: If something can't be copied.
        ValueError: If the step trains the original, or its arguments can't be told.
    """
    verb, train_step = question.verb, question.train_step
    if train_step is not None:
        bound(train_step, verb=verb)  # which says what is wrong with it
    for share in (True, False):
        isolation = Isolation(verb=verb, share=share)
        copied, own = isolation.copied((model, question.optimizer))
        if train_step is None:
            return Twin(model=copied, optimizer=own, step=plain_step(question.loss, question.autocast, verb))
        isolated = isolation.copied(train_step)
        twin = Twin(
            model=copied,
            optimizer=own,
            step=bound(isolated, verb=verb),
            own=isolated,
            shares=share,
            originals=(originals := Originals(model.modules(), isolation.shared)),
        )
        spare = spare_of(twin, verb)
        try:
            with Guard([]), no_writes_into(originals, verb=verb), no_steps_on(originals), calm():
                which, backwards, moved = which_backward(lambda spare=spare: ran(spare, fresh(batch), 1, verb))  # type: ignore[misc]
            ids = {id(p) for p in moved}
            trains = frozenset(name for name, p in spare.model.named_parameters() if id(p) in ids)
            return replace(twin, which=which, backwards=backwards, trains=trains or None)
        except WritesDataError:
            continue
    raise FadeoutError(
        f"{verb}: train_step= writes into a tensor that it closes over and that is too large to copy; "
        "let it work on what it is given"
    )


def spare_of(twin: Twin, verb: str) -> Twin:
    """A copy of the copy, with what the user's step closes over: a probe may call it and leave no trace."""
    isolation = Isolation(verb=verb, share=twin.shares)
    model, optimizer = isolation.copied((twin.model, twin.optimizer))
    assert twin.own is not None
    return Twin(model=model, optimizer=optimizer, step=bound(isolation.copied(twin.own), verb=verb))


def plain_step(loss: Callable[..., Tensor] | None, autocast: torch.dtype | bool | None, verb: str) -> Step:
    """zero_grad, loss, backward, step."""

    def step(m: nn.Module, batch: Any, o: Optimizer) -> Tensor:
        def value() -> Tensor:
            o.zero_grad()
            with under_autocast(m, autocast):
                found = closure(m, batch, loss=loss, step=None, verb=verb).run(m)
            found.backward()  # type: ignore[no-untyped-call]
            return found.detach()

        if isinstance(o, torch.optim.LBFGS):
            first: Tensor = o.step(value)  # type: ignore[no-untyped-call]
            return first
        found = value()
        o.step()
        return found

    return step


@contextmanager
def calm() -> Iterator[None]:
    """Without torch's warning that a copy of a scheduler no longer marks its optimizer's step."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Seems like `optimizer.step|.*lr_scheduler.step")
        yield


def ran(twin: Twin, batch: Any, n: int, verb: str) -> Any:
    """What the step returned.

    Raises:
        ModelError: If it raises, with the step and the user's line.
    """
    try:
        return twin.step(twin.model, batch, twin.optimizer)
    except ReachedError:
        raise ValueError(
            f"{verb}: train_step= trains the model outside instead of the one it is given, in step {n}; "
            "use its arguments, or write it as one function that names what it trains"
        ) from None
    except (Exception, SystemExit) as error:
        if isinstance(error, (FadeoutError, ValueError, TypeError)) and str(error).startswith(f"{verb}: "):
            raise
        first = first_line(error)
        raise ModelError(
            f"{verb}: training step {n} failed: {type(error).__name__}: {first}{hint(first, 'step')}{at_line(error)}"
        ) from error
