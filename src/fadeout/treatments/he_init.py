"""He initialisation."""

import math
from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.draws import draw
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
        found = on.layers()
        if not found:
            raise FadeoutError(
                "he_init: the model has no linear or convolutional layer on the way that could be drawn anew"
            )
        for path, layer in found:
            draw(on, path, layer, 1.0 if path in on.anatomy.heads else math.sqrt(2.0), words="he")
