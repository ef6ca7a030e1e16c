"""GroupNorm before each hidden activation."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.norms import normalise
from fadeout.treatments.reasons import without_norms
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupNormed(Treatment):
    """What enters each hidden activation keeps one size.

    Source: Wu and He 2018, arXiv:1803.08494.
    """

    id = "group_norm"
    title = "GroupNorm before each hidden activation"
    parts = ("norm",)
    source = "Wu and He 2018, arXiv:1803.08494"

    def applies_to(self, exam: Exam) -> str | None:
        return without_norms(exam)

    def explain(self) -> str:
        return "what enters each hidden activation keeps one size"

    def operate(self, on: Surgery) -> None:
        if not normalise(on, "group"):
            raise FadeoutError("group_norm: no layer without a norm is read by a hidden activation")
