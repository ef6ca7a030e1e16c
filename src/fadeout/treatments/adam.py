"""Adam."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.optimizers import adam
from fadeout.treatments.reasons import trained
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam(Treatment):
    """Each weight moves by its own scale, whatever the gradient's size.

    Source: Kingma and Ba 2015, arXiv:1412.6980.
    """

    id = "adam"
    title = "Adam"
    parts = ("optimizer",)
    source = "Kingma and Ba 2015, arXiv:1412.6980"
    rate: float = 1e-3

    def applies_to(self, exam: Exam) -> str | None:
        return trained(exam)

    def explain(self) -> str:
        return "each weight moves by its own scale, whatever the gradient's size"

    def operate(self, on: Surgery) -> None:
        if not on.optimizers:
            raise FadeoutError("adam: there is no optimizer to change; pass the one in use")
        on.new_optimizer = adam(on, self.rate)
