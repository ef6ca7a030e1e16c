"""DeepNorm."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.encoders import deep
from fadeout.treatments.reasons import layers
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepNorm(Treatment):
    """Post-norm layers keep their stream, and branches start small.

    Source: Wang et al. 2022, arXiv:2203.00555, figure 2: alpha = (2 N)^(1/4), beta = (8 N)^(-1/4).
    """

    id = "deep_norm"
    title = "DeepNorm"
    parts = (
        "norm",
        "init",
    )
    source = "Wang et al. 2022, arXiv:2203.00555, figure 2: alpha = (2 N)^(1/4), beta = (8 N)^(-1/4)"

    def applies_to(self, exam: Exam) -> str | None:
        return layers(exam)

    def explain(self) -> str:
        return "post-norm layers keep their stream, and branches start small"

    def operate(self, on: Surgery) -> None:
        if not deep(on):
            raise FadeoutError("deep_norm: the model has no torch encoder layer with norm_first=False")
