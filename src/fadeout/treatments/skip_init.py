"""Residual branches that start at zero, by a trained factor."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.branches import branches
from fadeout.treatments.patient import Edit
from fadeout.treatments.skip import Gate
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipInit(Treatment):
    """Every block starts as the identity and lets its branch in as it learns.

    Source: De and Smith 2020, arXiv:2002.10444; Bachlechner et al. 2020, arXiv:2003.04887 (ReZero).
    """

    id = "skip_init"
    title = "residual branches that start at zero, by a trained factor"
    parts = ("skip",)
    source = "De and Smith 2020, arXiv:2002.10444; Bachlechner et al. 2020, arXiv:2003.04887 (ReZero)"

    def applies_to(self, exam: Exam) -> str | None:
        return "it has residual blocks" if exam.effective_blocks else None

    def explain(self) -> str:
        return "every block starts as the identity and lets its branch in as it learns"

    def operate(self, on: Surgery) -> None:
        blocks = branches(on, normed=True)
        if not blocks:
            raise FadeoutError("skip_init: the model has no residual block")
        for layers_of in blocks:
            path, last = layers_of[-1]
            gate = Gate()
            on.append(last, "fadeout_gate", gate, gated)
            on.write(Edit(what="skip", path=path, old="", new="alpha * branch, alpha = 0"))


def gated(module: nn.Module, args: Any, out: Any) -> Any:
    """A forward hook of a branch's last layer."""
    return module.fadeout_gate(out)  # type: ignore[operator]
