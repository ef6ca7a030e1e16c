"""Bf16 instead of float16."""

from dataclasses import dataclass

import torch

from fadeout.records import Exam
from fadeout.treatments.reasons import narrow
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Bf16(Treatment):
    """Values that float16 flushes to zero are kept.

    Source: Kalamkar et al. 2019, arXiv:1905.12322.
    """

    id = "bf16"
    title = "bf16 instead of float16"
    parts = ("precision",)
    source = "Kalamkar et al. 2019, arXiv:1905.12322"

    def applies_to(self, exam: Exam) -> str | None:
        return narrow(exam)

    def explain(self) -> str:
        return "values that float16 flushes to zero are kept"

    def operate(self, on: Surgery) -> None:
        half = any(p.dtype is torch.float16 for p in on.model.parameters())
        on.recipe.append("use torch.autocast(device, dtype=torch.bfloat16): its range is float32's")
        if half:
            on.notes.append("the model's weights are float16; keep them in float32")
