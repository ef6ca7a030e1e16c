"""A smaller eps in Adam."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.optimizers import current
from fadeout.treatments.patient import Edit
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamEps(Treatment):
    """Gradients far below eps move their weights again.

    Source: Kingma and Ba 2015, arXiv:1412.6980, algorithm 1: the step is m / (sqrt(v) + eps).
    """

    id = "adam_eps"
    title = "a smaller eps in Adam"
    parts = (
        "optimizer",
        "precision",
    )
    source = "Kingma and Ba 2015, arXiv:1412.6980, algorithm 1: the step is m / (sqrt(v) + eps)"
    eps: float = 1e-15

    def applies_to(self, exam: Exam) -> str | None:
        return "Adam" if "Adam" in exam.environment.optimizer else None

    def explain(self) -> str:
        return "gradients far below eps move their weights again"

    def operate(self, on: Surgery) -> None:
        able = [o for o in current(on) if any("eps" in group for group in o.param_groups)]
        if not able:
            raise FadeoutError("adam_eps: the optimizer has no eps")
        for optimizer in able:
            for group in optimizer.param_groups:
                group["eps"] = self.eps
            on.write(Edit(what="optimizer", path="", old=type(optimizer).__name__, new=f"eps={self.eps:g}"))
