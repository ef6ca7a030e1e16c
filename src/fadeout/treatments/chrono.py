"""Chrono initialisation of gates."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.gates_open import open_gates
from fadeout.treatments.reasons import gates
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Chrono(Treatment):
    """Gates remember from 1 up to as many steps as your sequences have.

    Source: Tallec and Ollivier 2018, arXiv:1804.11188, equation 14.
    """

    id = "chrono"
    title = "chrono initialisation of gates"
    parts = (
        "init",
        "recurrence",
    )
    source = "Tallec and Ollivier 2018, arXiv:1804.11188, equation 14"

    def applies_to(self, exam: Exam) -> str | None:
        return gates(exam)

    def explain(self) -> str:
        return "gates remember from 1 up to as many steps as your sequences have"

    def operate(self, on: Surgery) -> None:
        if not open_gates(on, on.longest()):
            raise FadeoutError("chrono: the model has no LSTM or GRU with biases, or no sequence longer than 2 steps")
