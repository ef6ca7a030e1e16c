"""GELU with He initialisation."""

from dataclasses import dataclass

from torch import nn

from fadeout.records import Exam
from fadeout.treatments.draws import swap_hidden
from fadeout.treatments.reasons import other_than
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Gelu(Treatment):
    """Hidden activations become GELU, with the weights that belong to it.

    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """

    id = "gelu"
    title = "GELU with He initialisation"
    parts = (
        "activation",
        "init",
    )
    source = "Hendrycks and Gimpel 2016, arXiv:1606.08415"

    def applies_to(self, exam: Exam) -> str | None:
        return other_than(exam, "gelu")

    def explain(self) -> str:
        return "hidden activations become GELU, with the weights that belong to it"

    def operate(self, on: Surgery) -> None:
        swap_hidden(on, "gelu", nn.GELU)
