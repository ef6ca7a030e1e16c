"""Fixup initialisation of residual branches."""

import math
from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.branches import branches
from fadeout.treatments.draws import draw
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixup(Treatment):
    """Branches start at 0 and grow in step with depth, without a norm.

    Source: Zhang et al. 2019, arXiv:1901.09321, equation 1.
    """

    id = "fixup"
    title = "Fixup initialisation of residual branches"
    parts = (
        "init",
        "skip",
    )
    source = "Zhang et al. 2019, arXiv:1901.09321, equation 1"

    def applies_to(self, exam: Exam) -> str | None:
        return "it has residual blocks" if exam.effective_blocks else None

    def explain(self) -> str:
        return "branches start at 0 and grow in step with depth, without a norm"

    def operate(self, on: Surgery) -> None:
        blocks = branches(on)
        if not blocks:
            raise FadeoutError("fixup: the model has no residual block without a norm")
        count = len(blocks)
        for layers_of in blocks:
            inner = max(2, len(layers_of))
            scale = math.sqrt(2.0) * count ** (-1.0 / (2 * inner - 2))
            for path, layer in layers_of[:-1]:
                draw(on, path, layer, scale, words="fixup")
            path, layer = layers_of[-1]
            draw(on, path, layer, 0.0, words="zeros")
