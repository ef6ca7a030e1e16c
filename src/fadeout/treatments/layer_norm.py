"""LayerNorm before each hidden activation."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.norms import normalise
from fadeout.treatments.reasons import without_norms
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNormed(Treatment):
    """What enters each hidden activation keeps one size.

    Source: Ba et al. 2016, arXiv:1607.06450.
    """

    id = "layer_norm"
    title = "LayerNorm before each hidden activation"
    parts = ("norm",)
    source = "Ba et al. 2016, arXiv:1607.06450"

    def applies_to(self, exam: Exam) -> str | None:
        return without_norms(exam)

    def explain(self) -> str:
        return "what enters each hidden activation keeps one size"

    def operate(self, on: Surgery) -> None:
        if not normalise(on, "layer"):
            raise FadeoutError("layer_norm: no layer without a norm is read by a hidden activation")
