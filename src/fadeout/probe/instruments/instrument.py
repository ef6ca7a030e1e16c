"""An instrument: a measured quantity that watches the pass, may take another, and fills fields of the reading."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from fadeout.call.batch import Closure
from fadeout.call.guard import Guard
from fadeout.call.question import Question
from fadeout.call.subject import Subject
from fadeout.probe.account.passes import Observer, Pass
from fadeout.records import Ledger

How = Literal["whole", "start", "brief"]  # of an exam; the first reading of a course; a later one
_I = TypeVar("_I", bound="Instrument")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The network while it is held still, after its first pass.

    Attributes:
        again: Takes one more pass that observers see, from the same state.
        others: Every instrument of this reading.
    """

    question: Question
    how: How
    first: Pass
    subject: Subject
    closure: Closure
    guard: Guard
    again: Callable[..., Pass]
    others: "Sequence[Instrument]"

    def of(self, kind: type[_I]) -> _I:
        """Another instrument of this reading."""
        return next(one for one in self.others if isinstance(one, kind))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A finished measurement.

    Attributes:
        held: How it was while it lasted.
        best: The pass that the ledger rests on; the first, or one with more range.
    """

    held: Held
    best: Pass
    ledger: Ledger

    @property
    def first(self) -> Pass:
        """The first pass, which observers saw."""
        return self.held.first

    @property
    def subject(self) -> Subject:
        """What was examined."""
        return self.held.subject

    @property
    def closure(self) -> Closure:
        """How it was called."""
        return self.held.closure

    def of(self, kind: type[_I]) -> _I:
        """Another instrument of this reading."""
        return self.held.of(kind)


class Instrument(Observer):
    """One measured quantity.  A new one is a file with such a class, and its line in INSTRUMENTS.

    Attributes:
        hows: Readings that it is part of.
        notes: For the reader of the exam.
    """

    hows: ClassVar[frozenset[How]] = frozenset({"whole", "start", "brief"})

    def __init__(self, question: Question, how: How) -> None:
        self.notes: list[str] = []

    def measure(self, held: Held) -> None:
        """After the first pass, while gradients are there and the network is held: may take passes of its own."""

    def fields(self, seen: Observed) -> Mapping[str, Any]:
        """Fields of the `Reading`, when the network is free again; tuples of several instruments are joined."""
        return {}
