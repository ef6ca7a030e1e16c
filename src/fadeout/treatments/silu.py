"""SiLU with He initialisation."""

from dataclasses import dataclass

from torch import nn

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.critical_init import CriticalInit
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
        swapped = [a for a in on.anatomy.hidden if a.name != "silu"]
        if not swapped:
            raise FadeoutError("silu: the model has no hidden activation that could be replaced")
        for activation in swapped:
            on.swap(activation, nn.SiLU, "silu")
        CriticalInit().operate(on)
