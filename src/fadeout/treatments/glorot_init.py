"""Glorot initialisation."""

import math
from dataclasses import dataclass

from torch import Tensor

from fadeout.records import Exam
from fadeout.treatments.draws import redraw
from fadeout.treatments.reasons import layers
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class GlorotInit(Treatment):
    """Weights from N(0, 2 / (fan_in + fan_out)), biases at 0.

    Source: Glorot and Bengio 2010, equation 12.
    """

    id = "glorot_init"
    title = "Glorot initialisation"
    parts = ("init",)
    source = "Glorot and Bengio 2010, equation 12"

    def applies_to(self, exam: Exam) -> str | None:
        return layers(exam)

    def explain(self) -> str:
        return "weights from N(0, 2 / (fan_in + fan_out)), biases at 0"

    def operate(self, on: Surgery) -> None:
        redraw(on, _gain, "glorot")


def _gain(path: str, weight: Tensor) -> float:
    fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
    return math.sqrt(2.0 * fan_in / (fan_in + fan_out))
