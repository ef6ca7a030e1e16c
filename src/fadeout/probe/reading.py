"""A reading: everything measured in one step - the ledger, and what every instrument adds to it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from fadeout.call.batch import Closure
from fadeout.call.question import Question
from fadeout.probe.instruments import INSTRUMENTS, Held, How, Instrument, Observed
from fadeout.probe.instruments.several import several
from fadeout.probe.instruments.sketch import Sketch, Sketcher
from fadeout.probe.instruments.units import Units
from fadeout.probe.instruments.updates import optimizers_in
from fadeout.probe.session import Session
from fadeout.records import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A reading with what it rests on.

    Attributes:
        sketch: For theory; None of a brief reading.
        seen: The measurement.
        notes: For the reader of the exam.
        shown: Of a course: the first probe that showed each sign it was asked to keep one for.
    """

    reading: Reading
    sketch: Sketch | None
    seen: Observed
    notes: list[str]
    shown: Mapping[str, "Shown"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a probe was taken of, kept as it was then.

    Attributes:
        model: A copy of the network with that probe's weights.
        closure: That probe's rows, and the way from them to the scalar.
        around: The context that it was taken in.
    """

    model: nn.Module
    closure: Closure
    around: Callable[[nn.Module], AbstractContextManager[Any]]


def take_reading(
    question: Question, how: How = "whole", instruments: Sequence[type[Instrument]] = INSTRUMENTS
) -> Taken:
    """Measure one step.

    Args:
        how: "start" is the first of a course, with what later readings are held against; "brief"
            leaves out what only step 0 is asked for: theory's sketch, the Jacobian of a time step,
            residual streams.
    """
    question = _checked(question)
    able = [kind(question, how) for kind in instruments if how in kind.hows]
    with Session(question) as session:
        first = session.take(*able)
        held = Held(
            question=question,
            how=how,
            first=first,
            subject=session.subject,
            closure=session.closure,
            guard=session.guard,
            again=session.again,
            others=able,
        )
        for instrument in able:
            instrument.measure(held)
        best = session.widen(first)
        ledger = session.ledger(best, held.of(Units).influence)
    seen = Observed(held=held, best=best, ledger=ledger)
    fields: dict[str, Any] = {"step": 0, "ledger": ledger}
    for instrument in able:
        for name, value in instrument.fields(seen).items():
            fields[name] = fields[name] + value if name in fields and isinstance(value, tuple) else value
    notes = [*session.subject.notes, *session.closure.notes, *session.notes]
    return Taken(
        reading=Reading(**fields),
        sketch=next((one.sketch for one in able if isinstance(one, Sketcher)), None),
        seen=seen,
        notes=[*notes, *(note for instrument in able for note in instrument.notes)],
    )


def _checked(question: Question) -> Question:
    """The question with the optimizer itself, where it was given in a wrapper.

    Raises:
        TypeError, ValueError: If it is none, or none of this model.
    """
    verb, model, optimizer = question.verb, question.model, question.optimizer
    if question.reach < 0:
        raise ValueError(f"{verb}: reach= counts output positions to sample, >= 0; got {question.reach}")
    if optimizer is None:
        return question
    inside = optimizers_in(optimizer)
    if not inside:
        raise TypeError(f"{verb}: optimizer= must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
    one = several(inside)
    held = {id(p) for group in one.param_groups for p in group["params"]}
    if isinstance(model, nn.Module) and not held & {id(p) for p in model.parameters()}:
        raise ValueError(f"{verb}: the optimizer holds no parameter of this {type(model).__name__}; pass its own")
    return replace(question, optimizer=one)
