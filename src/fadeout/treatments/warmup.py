"""A learning rate that rises over the first steps."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.optimizers import Rising, current
from fadeout.treatments.patient import Edit
from fadeout.treatments.reasons import trained
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp(Treatment):
    """The first steps are small, until the optimizer knows the gradient's size.

    Source: Goyal et al. 2017, arXiv:1706.02677, section 2.2.
    """

    id = "warmup"
    title = "a learning rate that rises over the first steps"
    parts = ("optimizer",)
    source = "Goyal et al. 2017, arXiv:1706.02677, section 2.2"
    steps: int = 50

    def applies_to(self, exam: Exam) -> str | None:
        return trained(exam)

    def explain(self) -> str:
        return "the first steps are small, until the optimizer knows the gradient's size"

    def operate(self, on: Surgery) -> None:
        if not on.optimizers:
            raise FadeoutError("warmup: there is no optimizer to change; pass the one in use")
        for optimizer in current(on):
            rising = Rising(self.steps)
            optimizer.register_step_pre_hook(rising.before)
            optimizer.register_step_post_hook(rising.after)
        on.write(Edit(what="optimizer", path="", old="", new=f"linear warm-up over {self.steps} steps"))
