"""A norm on queries and keys."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.encoders import norm_queries
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class QkNorm(Treatment):
    """Attention logits keep one size, so that the softmax stays soft.

    Source: Henry et al. 2020, arXiv:2010.04245; Dehghani et al. 2023, arXiv:2302.05442.
    """

    id = "qk_norm"
    title = "a norm on queries and keys"
    parts = ("norm",)
    source = "Henry et al. 2020, arXiv:2010.04245; Dehghani et al. 2023, arXiv:2302.05442"

    def applies_to(self, exam: Exam) -> str | None:
        return "it has attention" if exam.tokens else None

    def explain(self) -> str:
        return "attention logits keep one size, so that the softmax stays soft"

    def operate(self, on: Surgery) -> None:
        if not norm_queries(on):
            raise FadeoutError("qk_norm: no layer of the model is named as the projection of queries or keys")
