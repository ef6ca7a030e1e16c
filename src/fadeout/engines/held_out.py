"""Held-out skill: what a network is worth on rows that it was not trained on."""

import math
from typing import Any

import torch
from torch import nn

from fadeout.call.case import Case, Setup
from fadeout.call.guard import Guard
from fadeout.course.batches import Rows
from fadeout.course.progress import Judged, fall, judge
from fadeout.errors import ModelError

ROWS = 1024  # of held-out data: a share of right answers is then known to 1.5 points
WORTHLESS = -1.0  # of a network whose output is not finite; nothing counts as less


class HeldOut:
    """Skill of one set-up, against the same standard for every arm: it is made before any treatment."""

    def __init__(self, case: Case, setup: Setup) -> None:
        self.own = case.skill
        self.model = setup.model
        self.judged: list[tuple[Judged, float]] = []  # with the untreated network's loss
        if self.own is None:
            rows = Rows(list(setup.held_out), early=ROWS, late=ROWS, until=0).at(0)
            judged = judge(self.model, rows, setup.loss, None, "trial")
            self.judged.append((judged, judged.output()[1]))

    def skill(self) -> float:
        """0 for the best constant output, 1 for nothing left to learn; the better of training and evaluation mode.

        Running statistics that lag behind in a short race would otherwise decide it.

        Raises:
            ModelError: If the case's own `skill` raises.
        """
        found = [value for mode in (True, False) if math.isfinite(value := self._in_mode(mode))]
        return max(WORTHLESS, *found) if found else math.nan

    def _in_mode(self, training: bool) -> float:
        modules = list(self.model.modules())
        if training and not any(m.training for m in modules):
            return math.nan
        before = [m.training for m in modules]
        try:
            if not training:
                self.model.eval()
            return self._measured()
        finally:
            for module, mode in zip(modules, before, strict=True):
                module.training = mode

    def _measured(self) -> float:
        if self.own is not None:
            with Guard(self.model.modules()), torch.no_grad():
                return _own(self.own, self.model)
        values = []
        for judged, first in self.judged:
            output, loss = judged.output()
            if not math.isfinite(loss):
                values.append(WORTHLESS)
            elif math.isnan(judged.standard.constant):
                values.append(fall(first, loss))
            else:
                values.append(judged.standard.judge(output, loss))
        return sum(values) / len(values)


def _own(skill: Any, model: nn.Module) -> float:
    try:
        value = float(skill(model))
    except Exception as error:
        raise ModelError(f"trial: the case's skill failed: {type(error).__name__}: {error}") from error
    return value if math.isfinite(value) else WORTHLESS
