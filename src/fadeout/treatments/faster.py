"""A learning rate ten times larger."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.optimizers import scale_rate
from fadeout.treatments.patient import Edit
from fadeout.treatments.reasons import trained
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Faster(Treatment):
    """Each step is ten times what it was.

    Source: the update ratio of a step: Bottou, rule of thumb 1e-3.
    """

    id = "faster"
    title = "a learning rate ten times larger"
    parts = ("optimizer",)
    source = "the update ratio of a step: Bottou, rule of thumb 1e-3"
    factor: float = 10.0

    def applies_to(self, exam: Exam) -> str | None:
        return trained(exam)

    def explain(self) -> str:
        return "each step is ten times what it was"

    def operate(self, on: Surgery) -> None:
        if not on.optimizers:
            raise FadeoutError("faster: there is no optimizer to change; pass the one in use")
        for optimizer in on.optimizers:
            old, new = scale_rate(optimizer, self.factor)
            name = type(optimizer).__name__
            on.write(Edit(what="optimizer", path="", old=f"{name}(lr={old:g})", new=f"lr={new:g}"))
