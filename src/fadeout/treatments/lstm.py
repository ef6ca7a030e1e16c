"""An LSTM in place of the RNN."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.gated import gated
from fadeout.treatments.reasons import having
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Lstm(Treatment):
    """Gates carry the state, and the gradient with it.

    Source: Hochreiter and Schmidhuber 1997; Gers et al. 2000.
    """

    id = "lstm"
    title = "an LSTM in place of the RNN"
    parts = ("recurrence",)
    source = "Hochreiter and Schmidhuber 1997; Gers et al. 2000"

    def applies_to(self, exam: Exam) -> str | None:
        return having(exam, "RNN", exact=True)

    def explain(self) -> str:
        return "gates carry the state, and the gradient with it"

    def operate(self, on: Surgery) -> None:
        if not gated(on, "LSTM"):
            raise FadeoutError("lstm: the model has no nn.RNN or nn.RNNCell")
