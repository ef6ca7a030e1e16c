"""Tanh with Glorot initialisation."""

from dataclasses import dataclass

from torch import nn

from fadeout.records import Exam
from fadeout.treatments.draws import swap_hidden
from fadeout.treatments.reasons import other_than
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Tanh(Treatment):
    """Hidden activations become tanh, with the weights that belong to it.

    Source: Glorot and Bengio 2010.
    """

    id = "tanh"
    title = "tanh with Glorot initialisation"
    parts = (
        "activation",
        "init",
    )
    source = "Glorot and Bengio 2010"

    def applies_to(self, exam: Exam) -> str | None:
        return other_than(exam, "tanh")

    def explain(self) -> str:
        return "hidden activations become tanh, with the weights that belong to it"

    def operate(self, on: Surgery) -> None:
        swap_hidden(on, "tanh", nn.Tanh)
