"""A GRU in place of the RNN."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.gated import gated
from fadeout.treatments.reasons import having
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Gru(Treatment):
    """Gates carry the state, and the gradient with it.

    Source: Cho et al. 2014, arXiv:1406.1078.
    """

    id = "gru"
    title = "a GRU in place of the RNN"
    parts = ("recurrence",)
    source = "Cho et al. 2014, arXiv:1406.1078"

    def applies_to(self, exam: Exam) -> str | None:
        return having(exam, "RNN", exact=True)

    def explain(self) -> str:
        return "gates carry the state, and the gradient with it"

    def operate(self, on: Surgery) -> None:
        if not gated(on, "GRU"):
            raise FadeoutError("gru: the model has no nn.RNN or nn.RNNCell")
