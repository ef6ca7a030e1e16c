"""Initial weights that fit the activation."""

from dataclasses import dataclass

from fadeout.records import Exam
from fadeout.treatments.draws import gain_of, redraw
from fadeout.treatments.reasons import layers
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalInit(Treatment):
    """Each layer is drawn so that its activation passes the gradient at its own size, biases at 0.

    Source: Schoenholz et al. 2017, arXiv:1611.01232, chi = 1; He et al. 2015, arXiv:1502.01852.
    """

    id = "critical_init"
    title = "initial weights that fit the activation"
    parts = ("init",)
    source = "Schoenholz et al. 2017, arXiv:1611.01232, chi = 1; He et al. 2015, arXiv:1502.01852"

    def applies_to(self, exam: Exam) -> str | None:
        return layers(exam)

    def explain(self) -> str:
        return "each layer is drawn so that its activation passes the gradient at its own size, biases at 0"

    def operate(self, on: Surgery) -> None:
        redraw(on, lambda path, weight: gain_of(on, path), "critical")
