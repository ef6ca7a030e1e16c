"""Biases at zero."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.patient import Edit
from fadeout.treatments.reasons import layers
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroBias(Treatment):
    """A bias that holds units off or saturated is taken away.

    Source: He et al. 2015, arXiv:1502.01852, section 2.2.
    """

    id = "zero_bias"
    title = "biases at zero"
    parts = ("init",)
    source = "He et al. 2015, arXiv:1502.01852, section 2.2"

    def applies_to(self, exam: Exam) -> str | None:
        return layers(exam)

    def explain(self) -> str:
        return "a bias that holds units off or saturated is taken away"

    def operate(self, on: Surgery) -> None:
        found = [(p, layer) for p, layer in on.layers() if isinstance(layer.bias, Tensor) and bool(layer.bias.any())]
        if not found:
            raise FadeoutError("zero_bias: every bias of the model is 0 already")
        for path, layer in found:
            assert isinstance(layer.bias, Tensor)
            on.set(layer.bias, torch.zeros_like(layer.bias))
            on.write(Edit(what="init", path=path, old="", new="zero bias"))
