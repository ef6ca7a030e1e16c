"""Passes: one instrumented forward and backward, tried in another way where the model refuses the first."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call import privates
from fadeout.call.batch import Closure
from fadeout.call.failures import model_error
from fadeout.call.guard import Guard
from fadeout.call.modes import autocast_dtype, autocast_of
from fadeout.call.subject import Subject
from fadeout.errors import FadeoutError
from fadeout.probe.account.front import Front, sweep
from fadeout.probe.account.tape import Tape, Watcher, record
from fadeout.probe.graph.checkpoints import opened
from fadeout.probe.graph.graph import Graph, build
from fadeout.probe.graph.names import Names
from fadeout.records import Unaccounted

FLOAT32_FLOOR = -37.9  # decades: smallest normal float32
HALF_FLOOR = -7.2  # decades: smallest subnormal float16


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One way to run a pass.

    Attributes:
        scale: Seed of the backward, an exact power of two.
        exact: Norms are summed in float64.
        double: The network is a float64 copy.
        track_inputs: Float inputs are replaced by leaves that require a gradient.
        clone_inputs: What is handed on is a clone of that leaf, which may be written in place.
        by_backward: `.backward` with `.grad` put back, where `autograd.grad` is refused.
        spared: Saved tensors are not read before the backward, which could read them only once.
    """

    scale: float = 1.0
    exact: bool = False
    double: bool = False
    track_inputs: bool = True
    clone_inputs: bool = False
    by_backward: bool = False
    spared: bool = False


@dataclass(slots=True)
class Pass:
    """One forward and backward, written down.

    Attributes:
        tolls: Per node: decades that its gradient left at nearly shut gates; None where there are none.
    """

    names: Names
    graph: Graph
    tape: Tape
    front: Front
    loss: float
    parameters: list[tuple[str, nn.Parameter]]
    floor: float
    attempt: Attempt
    notes: list[str] = field(default_factory=list)
    tolls: list[float] | None = None

    @property
    def in_double(self) -> bool:
        """The network is in float64 already."""
        return all(p.dtype is torch.float64 for _, p in self.parameters)

    @property
    def half(self) -> bool:
        """Gradients pass through float16 on the way."""
        return self.floor > FLOAT32_FLOOR / 2

    @property
    def gradients(self) -> dict[int, Tensor | None]:
        """Gradient of each parameter by its id; scaled by the tape's seed."""
        return {id(p): g for (_, p), g in zip(self.parameters, self.tape.parameters, strict=True)}


class Observer:
    """Sees one pass while it runs; the default sees nothing."""

    def forward(self, names: Names) -> None:
        """Before the forward: may add listeners."""

    def leave_saved(self) -> None:
        """Saved tensors can't be read without spoiling the backward, as under a checkpoint."""

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        """Between forward and backward: may read saved slopes and ask to see gradients."""
        return {}


class Several(Observer):
    """Several observers of one pass."""

    def __init__(self, *observers: Observer) -> None:
        self.observers = observers

    def forward(self, names: Names) -> None:
        for observer in self.observers:
            observer.forward(names)

    def leave_saved(self) -> None:
        for observer in self.observers:
            observer.leave_saved()

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        found: dict[int, Watcher] = {}
        for observer in self.observers:
            for i, watcher in observer.graph(graph).items():
                found[i] = _both(found[i], watcher) if i in found else watcher
        return found


def _both(first: Watcher, second: Watcher) -> Watcher:
    def watch(i: int, gradients: Any) -> None:
        first(i, gradients)
        second(i, gradients)

    return watch


class RefusalError(Exception):
    """An attempt that the user's code ended.

    Attributes:
        where: "forward" or "backward".
        error: What was raised.
        failure: The same, as the user is told.
    """

    def __init__(self, where: str, error: BaseException, failure: FadeoutError) -> None:
        super().__init__(str(error))
        self.where, self.error, self.failure = where, error, failure


def take(
    subject: Subject,
    closure: Closure,
    guard: Guard,
    *,
    verb: str,
    observer: Observer | None = None,
    autocast: torch.dtype | bool | None = None,
    attempt: Attempt = Attempt(),
) -> Pass:
    """One instrumented forward and backward; where it is refused, the next way that may do.

    Raises:
        ModelError: If the user's code raises, with the module it happened in.
        FadeoutError: If there is nothing to account for.
    """
    observer = observer or Observer()
    first: RefusalError | None = None
    while True:
        try:
            done = _once(subject, closure, guard, attempt, verb=verb, observer=observer, autocast=autocast)
        except RefusalError as refused:
            first = first or refused
            following = _next(attempt, refused)
            if following is None:
                raise first.failure from first.error
            if following.spared and not attempt.spared:
                observer.leave_saved()
            guard.rewind()
            attempt = following
            continue
        if first is not None and not attempt.track_inputs:
            why = "the model does not run when its input requires a gradient: the account stops at the first weights"
            done.graph.unaccounted.append(Unaccounted(path="", op="input", why=why))
        return done


def _next(attempt: Attempt, refused: RefusalError) -> Attempt | None:
    """What to try after a refusal; None where nothing is left."""
    text = str(refused.error)
    if refused.where == "forward":
        if not attempt.clone_inputs and "leaf" in text and "in-place" in text:
            return replace(attempt, clone_inputs=True)
    elif not attempt.by_backward and any(word in text for word in _NEEDS_BACKWARD):
        return replace(attempt, by_backward=True)
    elif "already unpacked" in text and not attempt.spared:
        return replace(attempt, spared=True)
    if attempt.track_inputs:  # does it run where nobody asks for the input's gradient?
        return replace(attempt, track_inputs=False)
    return None


# What a checkpoint of somebody's own, and hooks over several leaves, say of autograd.grad.
_NEEDS_BACKWARD = ("use_reentrant", "Checkpointing is not compatible", "currently running autograd.grad")


def _once(
    subject: Subject,
    closure: Closure,
    guard: Guard,
    attempt: Attempt,
    *,
    verb: str,
    observer: Observer,
    autocast: torch.dtype | bool | None,
) -> Pass:
    names = Names(
        subject.model,
        guard,
        modules=subject.modules,
        watched=subject.watched,
        track_inputs=attempt.track_inputs,
        double=attempt.double,
        clone_inputs=attempt.clone_inputs,
    )
    names.samples = closure.samples
    guard.set_gradients_aside()
    observer.forward(names)
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            if privates.compiler_loaded():
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            if autocast:
                stack.enter_context(autocast_of(subject.model, autocast))
            stack.enter_context(opened(names))
            stack.enter_context(names)
            loss = closure.run(subject.model)
    except FadeoutError:
        raise
    except (Exception, SystemExit) as error:
        if str(error).startswith(f"{verb}: "):  # our own word on the call
            raise
        returned = not names.innermost and id(names.watched) in names.ran
        place = "loss" if returned else "forward"
        raise RefusalError("forward", error, model_error(verb, place, error, names.innermost)) from error
    loss = _checked(loss, subject, names, verb)
    if subject.prefix and id(subject.watched) not in names.ran:
        raise FadeoutError(
            f"{verb}: {subject.prefix!r} did not run on this batch; examine a part that the forward calls as a module"
        )
    try:
        graph = build(loss, names, subject.modules, within=subject.prefix != "")
    except RecursionError as error:
        raise FadeoutError(f"{verb}: the autograd graph could not be walked: {error}") from error
    if not graph.opaque and not graph.parameters_reached & {id(p) for _, p in subject.parameters}:
        raise FadeoutError(
            f"{verb}: the loss does not depend on any parameter of {type(subject.watched).__name__}; "
            "check for detach(), no_grad(), .item() or an argmax between them"
        )
    names.release()
    watch = observer.graph(graph)
    try:
        with torch.enable_grad(), _kept(graph.variables if attempt.by_backward else []):
            tape = record(
                graph,
                loss,
                [p for _, p in subject.parameters],
                scale=attempt.scale,
                exact=attempt.exact,
                watch=watch,
                by_backward=attempt.by_backward,
                later=names.later,
            )
    except (Exception, SystemExit) as error:
        raise RefusalError("backward", error, model_error(verb, "backward", error, names.innermost)) from error
    graph.nodes = []
    half = tape.half or (_is_half(subject, autocast) and not attempt.double)
    return Pass(
        names=names,
        graph=graph,
        tape=tape,
        front=sweep(graph, tape),
        loss=tape.loss,
        parameters=subject.parameters,
        floor=(HALF_FLOOR if half else FLOAT32_FLOOR) - math.log10(attempt.scale),
        attempt=attempt,
    )


@contextmanager
def _kept(leaves: list[Tensor]) -> Iterator[None]:
    """The `.grad` of some leaves, put back."""
    kept = [(leaf, leaf.grad) for leaf in leaves]
    try:
        yield
    finally:
        for leaf, grad in kept:
            leaf.grad = grad


def _is_half(subject: Subject, autocast: torch.dtype | bool | None) -> bool:
    """Whether gradients pass through float16 on the way."""
    return autocast_dtype(subject.model, autocast) is torch.float16 or any(
        p.dtype is torch.float16 for _, p in subject.parameters
    )


def _checked(loss: Any, subject: Subject, names: Names, verb: str) -> Tensor:
    """The scalar, or an error that says what came instead."""
    if not isinstance(loss, Tensor):
        raise FadeoutError(
            f"{verb}: the loss must be a scalar tensor, got {type(loss).__name__}; return the loss itself, "
            "not .item() and not a tuple"
        )
    if loss.numel() != 1:
        raise FadeoutError(
            f"{verb}: the loss must be a scalar, got shape {tuple(loss.shape)}; reduce it with .mean() or .sum()"
        )
    if loss.is_complex():
        raise FadeoutError(f"{verb}: the loss is complex; take its real part or its absolute value")
    if loss.grad_fn is None:
        raise FadeoutError(
            f"{verb}: the loss does not depend on any parameter of {type(subject.model).__name__}; "
            "check for detach(), no_grad(), .item() or an argmax between them"
        )
    return loss
