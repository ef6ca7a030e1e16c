"""A treatment: one change to a network or its training, which can be taken back."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.patient import Patient, Receipt
from fadeout.treatments.surgery import Surgery

Part = Literal["init", "activation", "norm", "skip", "recurrence", "optimizer", "precision", "input", "output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """The base of every treatment: a frozen value.

    Attributes:
        id: As it is called on the command line and in JSON.
        title: As a reader is told.
        parts: What it changes; a bundle changes several.
        source: Paper and equation.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    parts: ClassVar[tuple[Part, ...]]
    source: ClassVar[str] = ""

    def applies_to(self, exam: Exam) -> str | None:
        """Why it is worth trying on this network; None where it does not apply."""
        raise NotImplementedError

    @property
    def pieces(self) -> tuple[str, ...]:
        """Ids of what it is made of; () where it is one thing."""
        return ()

    def explain(self) -> str:
        """What it does, in a sentence."""
        raise NotImplementedError

    def operate(self, on: Surgery) -> None:
        """Make the change; whatever it raises, the surgery takes back what was done.

        Raises:
            FadeoutError: If there is nothing to change.
        """
        raise NotImplementedError

    def apply(self, patient: Patient) -> Receipt:
        """Change the patient in place.

        Raises:
            FadeoutError: If it can't be done; nothing is changed then.
        """
        with Surgery(patient) as surgery:
            self.operate(surgery)
            if not (surgery.edits or surgery.recipe):
                raise FadeoutError(f"{self.id}: there is nothing in this model that it would change")
        return surgery.receipt(self.id)
