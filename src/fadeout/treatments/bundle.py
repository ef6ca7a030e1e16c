"""Bundles: changes that belong together, each an entry of its own.

Which belong together, and their order, is measured (a study of 38 treatments on 56 sick programs): an initialisation
belongs to its activation, a norm to an initialisation, a skip to 1/sqrt(L), a mended gradient to a new rate.
"""

from dataclasses import dataclass, replace
from typing import Any

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.adam import Adam
from fadeout.treatments.batch_norm import BatchNormed
from fadeout.treatments.clip import Clip
from fadeout.treatments.critical_init import CriticalInit
from fadeout.treatments.layer_norm import LayerNormed
from fadeout.treatments.lsuv import Lsuv
from fadeout.treatments.reasons import trained
from fadeout.treatments.relu import Relu
from fadeout.treatments.residual import Residual
from fadeout.treatments.slower import Slower
from fadeout.treatments.standard_input import StandardInput
from fadeout.treatments.stretch_output import StretchOutput
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.tanh import Tanh
from fadeout.treatments.treatment import Part, Treatment

OPTIONAL = (
    StandardInput,
    StretchOutput,
    Clip,
    Adam,
    Slower,
    LayerNormed,
    BatchNormed,
)  # left out where they don't apply


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle(Treatment):
    """Several treatments in one operation, undone together."""

    id: str  # type: ignore[misc]
    title: str  # type: ignore[misc]
    members: tuple[Treatment, ...]
    covers: int = 1  # kinds of fault that it cured in the study

    @property
    def parts(self) -> tuple[Part, ...]:  # type: ignore[override]
        """What its members change."""
        return tuple(dict.fromkeys(part for member in self.members for part in member.parts))

    @property
    def pieces(self) -> tuple[str, ...]:
        """Ids of its members."""
        return tuple(member.id for member in self.members)

    def applies_to(self, exam: Exam) -> str | None:
        """Where its first member applies."""
        leading = self.members[0].applies_to(exam)
        needs_rate = all("optimizer" in member.parts for member in self.members)
        return trained(exam) if needs_rate else leading

    def explain(self) -> str:
        return "; ".join(member.explain() for member in self.members)

    def operate(self, on: Surgery) -> None:
        done = 0
        for member in self.members:
            try:
                member.operate(on)
                done += 1
            except FadeoutError as error:
                if not isinstance(member, OPTIONAL):
                    raise
                on.notes.append(f"left out: {error}")
        if not done:
            raise FadeoutError(f"{self.id}: none of its parts applies to this model")

    def without(self, member: str) -> Treatment | None:
        """The bundle less one of its members; None where nothing would be left."""
        left = tuple(m for m in self.members if m.id != member)
        if not left or len(left) == len(self.members):
            return None
        title = " + ".join(m.title for m in left)
        return left[0] if len(left) == 1 else replace(self, id=f"{self.id}-{member}", title=title, members=left)


def bundle(id: str, title: str, *members: Treatment, covers: int = 1) -> Any:
    """A bundle of members."""
    return Bundle(id=id, title=title, members=members, covers=covers)


BUNDLES: tuple[Bundle, ...] = (  # in the order in which the study would try them
    bundle(
        "init_layernorm_adam",
        "matched initialisation + LayerNorm + Adam 1e-2 + clipping + standardised input",
        CriticalInit(), LayerNormed(), Adam(rate=1e-2), Clip(), StandardInput(), StretchOutput(), covers=7,
    ),
    bundle(
        "init_batchnorm_adam",
        "matched initialisation + BatchNorm + Adam 1e-3 + clipping + standardised input",
        CriticalInit(), BatchNormed(), Adam(rate=1e-3), Clip(), StandardInput(), StretchOutput(), covers=6,
    ),
    bundle(
        "relu_layernorm_adam",
        "ReLU with He initialisation + LayerNorm + Adam 1e-3 + clipping + standardised input",
        Relu(), LayerNormed(), Adam(rate=1e-3), Clip(), StandardInput(), StretchOutput(), covers=6,
    ),
    bundle(
        "init_batchnorm", "matched initialisation + BatchNorm",
        CriticalInit(), BatchNormed(), StandardInput(), covers=5,
    ),
    bundle(
        "init_adam",
        "matched initialisation + Adam 1e-2 + clipping",
        CriticalInit(), Adam(rate=1e-2), Clip(), StandardInput(), StretchOutput(), covers=5,
    ),
    bundle(
        "init_adam_gentle",
        "matched initialisation + Adam 1e-3 + clipping",
        CriticalInit(), Adam(rate=1e-3), Clip(), StandardInput(), StretchOutput(), covers=5,
    ),
    bundle(
        "relu_residual_adam",
        "ReLU with He initialisation + ways around + Adam 1e-3 + clipping",
        Relu(), Residual(), Adam(rate=1e-3), Clip(), StandardInput(), covers=5,
    ),
    bundle(
        "init_residual_adam", "matched initialisation + ways around + Adam 1e-3 + clipping",
        CriticalInit(), Residual(), Adam(rate=1e-3), Clip(), StandardInput(), covers=4,
    ),
    bundle("lsuv_clip", "layer-sequential unit variance + clipping", Lsuv(), Clip(), covers=4),
    bundle("tanh_adam", "tanh with Glorot initialisation + Adam 1e-3", Tanh(), Adam(rate=1e-3), covers=4),
    bundle(
        "init_clip_slower", "matched initialisation + clipping + a rate ten times smaller",
        CriticalInit(), Clip(), Slower(), covers=3,
    ),
    bundle("clip_slower", "clipping + a rate ten times smaller", Clip(), Slower(), covers=2),
    bundle("slower_100", "clipping + a rate a hundred times smaller", Clip(), Slower(factor=0.01), covers=2),
)  # fmt: skip
