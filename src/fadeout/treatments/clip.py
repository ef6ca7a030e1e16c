"""Clipping the gradient's norm at 1."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.optimizers import Clipping, current
from fadeout.treatments.patient import Edit
from fadeout.treatments.reasons import trained
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip(Treatment):
    """No step is larger than a gradient of norm 1 would make it.

    Source: Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.
    """

    id = "clip"
    title = "clipping the gradient's norm at 1"
    parts = ("optimizer",)
    source = "Pascanu et al. 2013, arXiv:1211.5063, algorithm 1"
    norm: float = 1.0

    def applies_to(self, exam: Exam) -> str | None:
        return trained(exam)

    def explain(self) -> str:
        return "no step is larger than a gradient of norm 1 would make it"

    def operate(self, on: Surgery) -> None:
        if not on.optimizers:
            raise FadeoutError("clip: there is no optimizer to change; pass the one in use")
        for optimizer in current(on):
            optimizer.register_step_pre_hook(Clipping(self.norm))
        on.write(Edit(what="optimizer", path="", old="", new=f"clip_grad_norm_(model.parameters(), {self.norm:g})"))
