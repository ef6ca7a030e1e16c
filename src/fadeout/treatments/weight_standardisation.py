"""Scaled weight standardisation."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils import parametrize

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.draws import gain_of
from fadeout.treatments.patient import Edit
from fadeout.treatments.reasons import layers
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightStandardisation(Treatment):
    """Every row of weights has mean 0 and a fixed spread, all through training.

    Source: Brock et al. 2021, arXiv:2101.08692, equation 1.
    """

    id = "weight_standardisation"
    title = "scaled weight standardisation"
    parts = (
        "init",
        "norm",
    )
    source = "Brock et al. 2021, arXiv:2101.08692, equation 1"

    def applies_to(self, exam: Exam) -> str | None:
        return layers(exam)

    def explain(self) -> str:
        return "every row of weights has mean 0 and a fixed spread, all through training"

    def operate(self, on: Surgery) -> None:
        found = on.layers()
        if not found:
            raise FadeoutError("weight_standardisation: the model has no linear or convolutional layer on the way")
        for path, layer in found:
            if path not in on.anatomy.heads:
                old = layer.weight
                parametrize.register_parametrization(layer, "weight", Standardised(gain_of(on, path)))
                layer.parametrizations.train(layer.training)  # type: ignore[union-attr]
                on.exchange([old], [p for p in layer.parameters() if p.dim() >= 2])  # type: ignore[list-item]
                on.write(Edit(what="norm", path=path, old="weight", new="weight standardisation"))


class Standardised(nn.Module):
    """Rows of mean 0 and spread gain / sqrt(fan_in)."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, weight: Tensor) -> Tensor:
        """The weight that is used."""
        flat = weight.flatten(1)
        spread = flat.var(1, unbiased=False, keepdim=True).add(1e-8).sqrt()
        found: Tensor = (self.gain * (flat - flat.mean(1, keepdim=True)) / (spread * flat.shape[1] ** 0.5)).view_as(
            weight
        )
        return found
