"""LeCun initialisation."""

from dataclasses import dataclass

from fadeout.records import Exam
from fadeout.treatments.draws import redraw
from fadeout.treatments.reasons import layers
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class LecunInit(Treatment):
    """Weights from N(0, 1 / fan_in), biases at 0.

    Source: LeCun et al. 1998, Efficient BackProp, section 4.6.
    """

    id = "lecun_init"
    title = "LeCun initialisation"
    parts = ("init",)
    source = "LeCun et al. 1998, Efficient BackProp, section 4.6"

    def applies_to(self, exam: Exam) -> str | None:
        return layers(exam)

    def explain(self) -> str:
        return "weights from N(0, 1 / fan_in), biases at 0"

    def operate(self, on: Surgery) -> None:
        redraw(on, lambda path, weight: 1.0, "lecun")
