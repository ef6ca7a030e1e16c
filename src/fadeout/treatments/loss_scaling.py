"""Scaling the loss."""

from dataclasses import dataclass

import torch

from fadeout.records import Exam
from fadeout.treatments.reasons import narrow
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class LossScaling(Treatment):
    """Values that float16 flushes to zero are kept.

    Source: Micikevicius et al. 2018, arXiv:1710.03740, section 3.2.
    """

    id = "loss_scaling"
    title = "scaling the loss"
    parts = ("precision",)
    source = "Micikevicius et al. 2018, arXiv:1710.03740, section 3.2"

    def applies_to(self, exam: Exam) -> str | None:
        return narrow(exam)

    def explain(self) -> str:
        return "values that float16 flushes to zero are kept"

    def operate(self, on: Surgery) -> None:
        half = any(p.dtype is torch.float16 for p in on.model.parameters())
        on.recipe.append(
            "scale the loss with torch.amp.GradScaler: scaler.scale(loss).backward(), "
            "then scaler.step(optimizer) and scaler.update()"
        )
        if half:
            on.notes.append("the model's weights are float16; keep them in float32")
