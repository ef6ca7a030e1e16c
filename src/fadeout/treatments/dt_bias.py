"""Dt drawn log-uniformly from 0.001 to 0.1."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.dt_spread import spread
from fadeout.treatments.reasons import linear_recurrence
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class DtBias(Treatment):
    """The heads of a linear recurrence forget at rates spread from 10 to 1,000 tokens.

    Source: Gu and Dao 2023, arXiv:2312.00752, section 3.6; Dao and Gu 2024, arXiv:2405.21060.
    """

    id = "dt_bias"
    title = "dt drawn log-uniformly from 0.001 to 0.1"
    parts = (
        "init",
        "recurrence",
    )
    source = "Gu and Dao 2023, arXiv:2312.00752, section 3.6; Dao and Gu 2024, arXiv:2405.21060"

    def applies_to(self, exam: Exam) -> str | None:
        return linear_recurrence(exam)

    def explain(self) -> str:
        return "the heads of a linear recurrence forget at rates spread from 10 to 1,000 tokens"

    def operate(self, on: Surgery) -> None:
        if not spread(on):
            raise FadeoutError("dt_bias: the model has no linear recurrence with a dt_bias")
