"""He initialisation."""

import math
from dataclasses import dataclass

from fadeout.records import Exam
from fadeout.treatments.draws import redraw
from fadeout.treatments.reasons import layers
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class HeInit(Treatment):
    """Weights from N(0, 2 / fan_in), biases at 0.

    Source: He et al. 2015, arXiv:1502.01852, equation 10.
    """

    id = "he_init"
    title = "He initialisation"
    parts = ("init",)
    source = "He et al. 2015, arXiv:1502.01852, equation 10"

    def applies_to(self, exam: Exam) -> str | None:
        return layers(exam)

    def explain(self) -> str:
        return "weights from N(0, 2 / fan_in), biases at 0"

    def operate(self, on: Surgery) -> None:
        redraw(on, lambda path, weight: 1.0 if path in on.anatomy.heads else math.sqrt(2.0), "he")
