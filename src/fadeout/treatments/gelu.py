"""GELU with He initialisation."""

from dataclasses import dataclass

from torch import nn

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.critical_init import CriticalInit
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
        swapped = [a for a in on.anatomy.hidden if a.name != "gelu"]
        if not swapped:
            raise FadeoutError("gelu: the model has no hidden activation that could be replaced")
        for activation in swapped:
            on.swap(activation, nn.GELU, "gelu")
        CriticalInit().operate(on)
