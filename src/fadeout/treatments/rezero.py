"""Residual branches whose last weights start at zero."""

from dataclasses import dataclass

import torch

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.branches import branches
from fadeout.treatments.patient import Edit
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class ReZero(Treatment):
    """Every block starts as the identity.

    Source: Bachlechner et al. 2020, arXiv:2003.04887; Goyal et al. 2017, arXiv:1706.02677, section 5.1.
    """

    id = "rezero"
    title = "residual branches whose last weights start at zero"
    parts = ("skip",)
    source = "Bachlechner et al. 2020, arXiv:2003.04887; Goyal et al. 2017, arXiv:1706.02677, section 5.1"

    def applies_to(self, exam: Exam) -> str | None:
        return "it has residual blocks" if exam.effective_blocks else None

    def explain(self) -> str:
        return "every block starts as the identity"

    def operate(self, on: Surgery) -> None:
        blocks = branches(on, normed=True)
        if not blocks:
            raise FadeoutError("rezero: the model has no residual block")
        for layers_of in blocks:
            path, last = layers_of[-1]
            for parameter in last.parameters(recurse=False):
                on.set(parameter, torch.zeros_like(parameter))
            on.write(Edit(what="init", path=path, old="", new="zeros"))
