"""Delta-orthogonal kernels."""

from dataclasses import dataclass

from fadeout.call import privates
from fadeout.errors import FadeoutError
from fadeout.init import delta_orthogonal_
from fadeout.records import Exam
from fadeout.treatments.draws import gain_of
from fadeout.treatments.patient import Edit
from fadeout.treatments.reasons import having
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaOrthogonal(Treatment):
    """A convolution becomes an isometry times the gain of its activation.

    Source: Xiao et al. 2018, arXiv:1806.05393, algorithm 1.
    """

    id = "delta_orthogonal"
    title = "delta-orthogonal kernels"
    parts = ("init",)
    source = "Xiao et al. 2018, arXiv:1806.05393, algorithm 1"

    def applies_to(self, exam: Exam) -> str | None:
        return having(exam, "Conv")

    def explain(self) -> str:
        return "a convolution becomes an isometry times the gain of its activation"

    def operate(self, on: Surgery) -> None:
        found = [(p, c) for p, c in on.layers() if isinstance(c, privates.Conv) and c.out_channels >= c.in_channels]
        if not found:
            raise FadeoutError("delta_orthogonal: the model has no convolution with as many channels out as in")
        for path, layer in found:
            if layer.groups == 1:
                delta_orthogonal_(layer, gain=gain_of(on, path), generator=on.draw)
                on.write(Edit(what="init", path=path, old="", new="delta_orthogonal"))
