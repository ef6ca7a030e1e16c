"""Passes: one instrumented forward and backward, repeated with more range where norms leave it."""

import math
import sys
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.errors import FadeoutError, ModelError
from fadeout.probe.batch import Closure
from fadeout.probe.front import Front, sweep
from fadeout.probe.graph import Graph, build
from fadeout.probe.guard import Guard
from fadeout.probe.names import Names
from fadeout.probe.subject import Subject
from fadeout.probe.tape import Tape, Watcher, record

SAFE_LOW, SAFE_HIGH = 1e-15, 1e15  # outside, float32 squares leave float32
FLOAT32_FLOOR = -37.9  # decades: smallest normal float32
HALF_FLOOR = -7.2  # decades: smallest subnormal float16


@dataclass(slots=True)
class Pass:
    """One forward and backward, written down."""

    names: Names
    graph: Graph
    tape: Tape
    front: Front
    loss: float
    parameters: list[tuple[str, nn.Parameter]]
    floor: float
    notes: list[str] = field(default_factory=list)

    @property
    def in_double(self) -> bool:
        """The network is in float64 already."""
        return all(p.dtype is torch.float64 for _, p in self.parameters)

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
            found.update(observer.graph(graph))
        return found


def take(
    subject: Subject,
    closure: Closure,
    guard: Guard,
    *,
    verb: str,
    observer: Observer | None = None,
    autocast: torch.dtype | bool | None = None,
    scale: float = 1.0,
    exact: bool = False,
    double: bool = False,
    clone_inputs: bool = False,
    track_inputs: bool = True,
    reentrant: bool = False,
    spared: bool = False,
) -> Pass:
    """One instrumented forward and backward.

    Raises:
        ModelError: If the user's code raises, with the module it happened in.
        FadeoutError: If there is nothing to account for.
    """
    observer = observer or Observer()
    names = Names(
        subject.model,
        guard,
        modules=subject.modules,
        watched=subject.watched,
        track_inputs=track_inputs,
        double=double,
        clone_inputs=clone_inputs,
    )
    names.samples = closure.samples
    guard.set_gradients_aside()
    observer.forward(names)
    options: dict[str, Any] = {
        "observer": observer, "autocast": autocast, "scale": scale, "exact": exact, "double": double, "verb": verb,
        "clone_inputs": clone_inputs, "track_inputs": track_inputs, "reentrant": reentrant, "spared": spared,
    }  # fmt: skip

    def again(**changes: bool) -> Pass:
        guard.rewind()
        return take(subject, closure, guard, **{**options, **changes})

    try:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            if "torch._dynamo" in sys.modules:  # nothing can be compiled without it, and it is slow to import
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            if autocast:
                stack.enter_context(autocast_of(subject.model, autocast))
            stack.enter_context(names)
            loss = closure.run(subject.model)
    except FadeoutError:
        raise
    except Exception as error:
        text = str(error)
        if text.startswith(f"{verb}: "):  # our own word on the call
            raise
        if not clone_inputs and "leaf" in text and "in-place" in text:
            return again(clone_inputs=True)
        failure = _model_error(verb, "forward", error, names)
        if track_inputs:  # does it run where nobody asks for the input's gradient?
            try:
                return again(track_inputs=False)
            except ModelError:
                raise failure from error
        raise failure from error
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
    parameters = subject.parameters
    kept = [(leaf, leaf.grad) for leaf in graph.variables] if reentrant else []
    try:
        with torch.enable_grad():
            tape = record(
                graph,
                loss,
                [p for _, p in parameters],
                scale=scale,
                exact=exact,
                watch=watch,
                reentrant=reentrant,
            )
    except Exception as error:
        if not reentrant and ("use_reentrant" in str(error) or "Checkpointing is not compatible" in str(error)):
            return again(reentrant=True)
        if "already unpacked" in str(error) and not spared:
            observer.leave_saved()
            return again(spared=True)
        failure = _model_error(verb, "backward", error, names)
        if track_inputs:
            try:
                return again(track_inputs=False)
            except ModelError:
                raise failure from error
        raise failure from error
    finally:
        for leaf, grad in kept:
            leaf.grad = grad
    graph.nodes = []
    return Pass(
        names=names,
        graph=graph,
        tape=tape,
        front=sweep(graph, tape),
        loss=float(loss.detach()),
        parameters=parameters,
        floor=(HALF_FLOOR if _is_half(subject, autocast) and not double else FLOAT32_FLOOR) - math.log10(scale),
    )


def needs_more_range(done: Pass) -> bool:
    """Whether a norm left the range in which float32 sums of squares can be trusted."""
    if any(v != 0 and (v < SAFE_LOW or v > SAFE_HIGH) for v in done.tape.arrived.values()):
        return True
    return lost_below(done, 1e-3 if done.floor > FLOAT32_FLOOR / 2 else 1e-9)


def lost_below(done: Pass, size: float) -> bool:
    """Whether a gradient became exactly zero out of one that was smaller than `size` already.

    Such a zero may be an underflow; from a healthy size to zero in one operation is a true one.
    """
    tape, graph = done.tape, done.graph
    largest: dict[int, float] = {}
    for (i, _), v in tape.arrived.items():
        largest[i] = max(largest.get(i, 0.0), v)
    return any(
        0 < largest.get(i, 0.0) < size and tape.sent.get((i, e), tape.arrived.get((j, k), 1.0)) == 0
        for i, edges in enumerate(graph.edges)
        for e, j, k in edges
    )


def range_scale(done: Pass) -> float:
    """A power of two for the seed that moves the smallest norms up and keeps the largest finite."""
    finite = [v for v in done.tape.arrived.values() if 0 < v < math.inf]
    largest = max(finite, default=1.0)
    half = done.floor > FLOAT32_FLOOR / 2
    most = 480 if done.in_double else 100  # squares must stay inside the format, too
    room = (14 if half else most + 20) - math.ceil(math.log2(largest) if largest > 0 else 0)
    infinite = any(v == math.inf for v in done.tape.arrived.values())
    return 2.0 ** (-most if infinite and not half else max(min(room, most), -most))


def _is_half(subject: Subject, autocast: torch.dtype | bool | None) -> bool:
    """Whether gradients pass through float16 on the way."""
    return autocast is torch.float16 or any(p.dtype is torch.float16 for _, p in subject.parameters)


def autocast_of(model: nn.Module, autocast: torch.dtype | bool) -> AbstractContextManager[Any]:
    """The context to run a forward under."""
    device = next(model.parameters()).device.type
    dtype = autocast if isinstance(autocast, torch.dtype) else None
    return torch.autocast(device, dtype=dtype)


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


def _model_error(verb: str, where: str, error: Exception, names: Names) -> ModelError:
    path = names.innermost
    if where == "forward" and not path and id(names.watched) in names.ran:
        where = "loss"  # the model itself had returned
    module = f" in {path!r}" if path else ""
    text = str(error).strip().splitlines()
    first = text[0] if text else ""
    hint = ""
    if "device" in first and ("same device" in first or "found at least two" in first):
        hint = "; move the batch to the model's device"
    elif "shape" in first or "size" in first.lower() or "dimension" in first.lower():
        hint = "; check the shape of the batch"
    elif "out of bounds" in first and where == "loss":
        hint = "; a label is outside the number of classes"
    elif "second time" in first:
        hint = "; a step= closure returns the scalar and leaves backward() to fadeout"
    elif "dtype" in first.lower() or "scalar type" in first:
        hint = "; check the dtype of the batch against the model's"
    return ModelError(f"{verb}: the model failed in its {where}{module}: {type(error).__name__}: {first}{hint}")
