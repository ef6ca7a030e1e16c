"""Orthogonal weights that fit the activation."""

from dataclasses import dataclass

from fadeout.records import Exam
from fadeout.treatments.draws import gain_of, redraw
from fadeout.treatments.reasons import layers
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class OrthogonalInit(Treatment):
    """No direction of the gradient fades: all singular values of a layer are alike.

    Source: Saxe et al. 2014, arXiv:1312.6120; Pennington et al. 2017, arXiv:1711.04735.
    """

    id = "orthogonal_init"
    title = "orthogonal weights that fit the activation"
    parts = ("init",)
    source = "Saxe et al. 2014, arXiv:1312.6120; Pennington et al. 2017, arXiv:1711.04735"

    def applies_to(self, exam: Exam) -> str | None:
        return layers(exam)

    def explain(self) -> str:
        return "no direction of the gradient fades: all singular values of a layer are alike"

    def operate(self, on: Surgery) -> None:
        redraw(on, lambda path, weight: gain_of(on, path), "orthogonal", orthogonal=True)
