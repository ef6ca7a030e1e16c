"""ReLU with He initialisation."""

from dataclasses import dataclass

from torch import nn

from fadeout.records import Exam
from fadeout.treatments.draws import swap_hidden
from fadeout.treatments.reasons import other_than
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Relu(Treatment):
    """Hidden activations become ReLU, with the weights that belong to it.

    Source: Nair and Hinton 2010; He et al. 2015, arXiv:1502.01852.
    """

    id = "relu"
    title = "ReLU with He initialisation"
    parts = (
        "activation",
        "init",
    )
    source = "Nair and Hinton 2010; He et al. 2015, arXiv:1502.01852"

    def applies_to(self, exam: Exam) -> str | None:
        return other_than(exam, "relu")

    def explain(self) -> str:
        return "hidden activations become ReLU, with the weights that belong to it"

    def operate(self, on: Surgery) -> None:
        swap_hidden(on, "relu", nn.ReLU)
