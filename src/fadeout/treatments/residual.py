"""A way around each hidden layer, the layer's part scaled by 1/sqrt(L)."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.around import around
from fadeout.treatments.reasons import no_blocks
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual(Treatment):
    """The gradient has a way around every layer.

    Source: He et al. 2016, arXiv:1512.03385; Hanin and Rolnick 2018, arXiv:1803.01719.
    """

    id = "residual"
    title = "a way around each hidden layer, the layer's part scaled by 1/sqrt(L)"
    parts = ("skip",)
    source = "He et al. 2016, arXiv:1512.03385; Hanin and Rolnick 2018, arXiv:1803.01719"

    def applies_to(self, exam: Exam) -> str | None:
        return no_blocks(exam)

    def explain(self) -> str:
        return "the gradient has a way around every layer"

    def operate(self, on: Surgery) -> None:
        if not around(on):
            raise FadeoutError("residual: no hidden layer has an activation that a way around could join")
