"""SiLU with He initialisation."""

from dataclasses import dataclass

from torch import nn

from fadeout.records import Exam
from fadeout.treatments.draws import swap_hidden
from fadeout.treatments.reasons import other_than
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Silu(Treatment):
    """Hidden activations become SiLU, with the weights that belong to it.

    Source: Elfwing et al. 2017, arXiv:1702.03118.
    """

    id = "silu"
    title = "SiLU with He initialisation"
    parts = (
        "activation",
        "init",
    )
    source = "Elfwing et al. 2017, arXiv:1702.03118"

    def applies_to(self, exam: Exam) -> str | None:
        return other_than(exam, "silu")

    def explain(self) -> str:
        return "hidden activations become SiLU, with the weights that belong to it"

    def operate(self, on: Surgery) -> None:
        swap_hidden(on, "silu", nn.SiLU)
