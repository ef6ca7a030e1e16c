"""An output stretched over the range of the targets."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.reasons import layers
from fadeout.treatments.stretch import stretch
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class StretchOutput(Treatment):
    """The last activation stays and its range is stretched over the targets'.

    Source: lo + (hi - lo) * phi with 5 % to spare: a sigmoid can't give 300.
    """

    id = "stretch_output"
    title = "an output stretched over the range of the targets"
    parts = ("output",)
    source = "lo + (hi - lo) * phi with 5 % to spare: a sigmoid can't give 300"

    def applies_to(self, exam: Exam) -> str | None:
        return layers(exam)

    def explain(self) -> str:
        return "the last activation stays and its range is stretched over the targets'"

    def operate(self, on: Surgery) -> None:
        if not stretch(on):
            raise FadeoutError(
                "stretch_output: the output's range holds the targets, or there are none to compare with"
            )
