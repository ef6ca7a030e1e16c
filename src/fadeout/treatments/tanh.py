"""Tanh with Glorot initialisation."""

from dataclasses import dataclass

from torch import nn

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.critical_init import CriticalInit
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
        swapped = [a for a in on.anatomy.hidden if a.name != "tanh"]
        if not swapped:
            raise FadeoutError("tanh: the model has no hidden activation that could be replaced")
        for activation in swapped:
            on.swap(activation, nn.Tanh, "tanh")
        CriticalInit().operate(on)
