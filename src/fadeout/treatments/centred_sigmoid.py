"""Weights and biases that centre the sigmoid."""

from dataclasses import dataclass

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.draws import draw, gain_of
from fadeout.treatments.reasons import using
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class CentredSigmoid(Treatment):
    """The sigmoid stays, its largest slope of 1/4 is made up for by weights four times larger.

    Source: W ~ N(0, 16 / n), b = -sum(w) / 2: slope 1/4 times gain 4 is 1, and the mean 1/2 is taken off.
    """

    id = "centred_sigmoid"
    title = "weights and biases that centre the sigmoid"
    parts = ("init",)
    source = "W ~ N(0, 16 / n), b = -sum(w) / 2: slope 1/4 times gain 4 is 1, and the mean 1/2 is taken off"

    def applies_to(self, exam: Exam) -> str | None:
        return using(exam, "sigmoid")

    def explain(self) -> str:
        return "the sigmoid stays, its largest slope of 1/4 is made up for by weights four times larger"

    def operate(self, on: Surgery) -> None:
        found = [(p, layer) for p, layer in on.layers() if on.activation.get(p) == "sigmoid" or _behind(on, p)]
        if not found:
            raise FadeoutError("centred_sigmoid: no layer of the model is read by a sigmoid")
        for path, layer in found:
            draw(on, path, layer, gain_of(on, path), words="critical")


def _behind(on: Surgery, path: str) -> bool:
    return on.activation.get(on.anatomy.before.get(path, "")) == "sigmoid"
