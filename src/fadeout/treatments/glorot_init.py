"""Glorot initialisation."""

import math
from dataclasses import dataclass

from torch import Tensor

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.draws import draw
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
        found = on.layers()
        if not found:
            raise FadeoutError("glorot_init: the model has no linear or convolutional layer that could be drawn anew")
        for path, layer in found:
            weight = layer.weight
            assert isinstance(weight, Tensor)
            fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
            draw(on, path, layer, math.sqrt(2.0 * fan_in / (fan_in + fan_out)), words="glorot")
