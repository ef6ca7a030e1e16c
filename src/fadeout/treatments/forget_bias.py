"""Forget gates that start open."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.gates_open import open_gates
from fadeout.treatments.reasons import gates
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetBias(Treatment):
    """The cell keeps most of its state from the start.

    Source: Gers et al. 2000; Jozefowicz et al. 2015: a bias of 1.
    """

    id = "forget_bias"
    title = "forget gates that start open"
    parts = (
        "init",
        "recurrence",
    )
    source = "Gers et al. 2000; Jozefowicz et al. 2015: a bias of 1"

    def applies_to(self, exam: Exam) -> str | None:
        return gates(exam)

    def explain(self) -> str:
        return "the cell keeps most of its state from the start"

    def operate(self, on: Surgery) -> None:
        if not open_gates(on, None):
            raise FadeoutError("forget_bias: the model has no LSTM or GRU with biases")
