"""SELU with LeCun initialisation."""

from dataclasses import dataclass

from torch import nn

from fadeout.records import Exam
from fadeout.treatments.draws import swap_hidden
from fadeout.treatments.reasons import other_than
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Selu(Treatment):
    """Hidden activations become SELU, with the weights that belong to it.

    Source: Klambauer et al. 2017, arXiv:1706.02515.
    """

    id = "selu"
    title = "SELU with LeCun initialisation"
    parts = (
        "activation",
        "init",
    )
    source = "Klambauer et al. 2017, arXiv:1706.02515"

    def applies_to(self, exam: Exam) -> str | None:
        return other_than(exam, "selu")

    def explain(self) -> str:
        return "hidden activations become SELU, with the weights that belong to it"

    def operate(self, on: Surgery) -> None:
        swap_hidden(on, "selu", nn.SELU)
