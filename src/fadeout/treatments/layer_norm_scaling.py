"""Norms scaled by 1/sqrt(layer)."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.encoders import scale_norms
from fadeout.treatments.reasons import layers
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNormScaling(Treatment):
    """Deep pre-norm blocks no longer drown in their stream.

    Source: Sun et al. 2025, arXiv:2502.05795.
    """

    id = "layer_norm_scaling"
    title = "norms scaled by 1/sqrt(layer)"
    parts = ("norm",)
    source = "Sun et al. 2025, arXiv:2502.05795"

    def applies_to(self, exam: Exam) -> str | None:
        return layers(exam)

    def explain(self) -> str:
        return "deep pre-norm blocks no longer drown in their stream"

    def operate(self, on: Surgery) -> None:
        if not scale_norms(on):
            raise FadeoutError("layer_norm_scaling: the model has no torch encoder layer with norm_first=True")
