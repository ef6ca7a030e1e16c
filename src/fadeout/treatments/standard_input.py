"""Standardised input."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.reasons import layers
from fadeout.treatments.standard import standardise
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class StandardInput(Treatment):
    """What enters has mean 0 and spread 1.

    Source: LeCun et al. 1998, Efficient BackProp, section 4.3.
    """

    id = "standard_input"
    title = "standardised input"
    parts = ("input",)
    source = "LeCun et al. 1998, Efficient BackProp, section 4.3"

    def applies_to(self, exam: Exam) -> str | None:
        return layers(exam)

    def explain(self) -> str:
        return "what enters has mean 0 and spread 1"

    def operate(self, on: Surgery) -> None:
        if not standardise(on):
            raise FadeoutError("standard_input: the input has mean 0 and spread 1 already, or holds no real numbers")
