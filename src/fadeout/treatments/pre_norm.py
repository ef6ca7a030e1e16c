"""The norm inside the branch (pre-norm)."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.encoders import norm_first
from fadeout.treatments.reasons import having, layers
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class PreNorm(Treatment):
    """The stream has a way through that no norm divides.

    Source: Xiong et al. 2020, arXiv:2002.04745.
    """

    id = "pre_norm"
    title = "the norm inside the branch (pre-norm)"
    parts = ("norm",)
    source = "Xiong et al. 2020, arXiv:2002.04745"

    def applies_to(self, exam: Exam) -> str | None:
        return having(exam, "LayerNorm") or having(exam, "Transformer") or layers(exam)

    def explain(self) -> str:
        return "the stream has a way through that no norm divides"

    def operate(self, on: Surgery) -> None:
        if not norm_first(on):
            raise FadeoutError("pre_norm: the model has no torch transformer layer with norm_first=False")
