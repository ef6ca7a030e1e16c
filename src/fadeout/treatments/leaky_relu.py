"""LeakyReLU with He initialisation."""

from dataclasses import dataclass

from torch import nn

from fadeout.records import Exam
from fadeout.treatments.draws import swap_hidden
from fadeout.treatments.reasons import other_than
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakyRelu(Treatment):
    """Hidden activations become LeakyReLU, with the weights that belong to it.

    Source: Maas et al. 2013.
    """

    id = "leaky_relu"
    title = "LeakyReLU with He initialisation"
    parts = (
        "activation",
        "init",
    )
    source = "Maas et al. 2013"

    def applies_to(self, exam: Exam) -> str | None:
        return other_than(exam, "leaky_relu")

    def explain(self) -> str:
        return "hidden activations become LeakyReLU, with the weights that belong to it"

    def operate(self, on: Surgery) -> None:
        swap_hidden(on, "leaky_relu", nn.LeakyReLU)
