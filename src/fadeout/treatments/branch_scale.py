"""Residual branches scaled by 1/sqrt(2 L)."""

import math
from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.branches import branches
from fadeout.treatments.patient import Edit
from fadeout.treatments.skip import Scaled
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchScale(Treatment):
    """The stream grows by a fixed factor at any depth.

    Source: Hanin and Rolnick 2018, arXiv:1803.01719; De and Smith 2020, arXiv:2002.10444.
    """

    id = "branch_scale"
    title = "residual branches scaled by 1/sqrt(2 L)"
    parts = ("skip",)
    source = "Hanin and Rolnick 2018, arXiv:1803.01719; De and Smith 2020, arXiv:2002.10444"

    def applies_to(self, exam: Exam) -> str | None:
        return "it has residual blocks" if exam.effective_blocks else None

    def explain(self) -> str:
        return "the stream grows by a fixed factor at any depth"

    def operate(self, on: Surgery) -> None:
        blocks = branches(on, normed=True)
        if not blocks:
            raise FadeoutError("branch_scale: the model has no residual block")
        factor = 1.0 / math.sqrt(2.0 * len(blocks))
        for layers_of in blocks:
            path, last = layers_of[-1]
            last.register_forward_hook(Scaled(factor))
            on.write(Edit(what="skip", path=path, old="", new=f"{factor:.4g} * branch"))
