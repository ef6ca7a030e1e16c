"""Identity recurrent weights with ReLU."""

from dataclasses import dataclass

import torch
from torch import nn

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.treatments.patient import Edit
from fadeout.treatments.reasons import having
from fadeout.treatments.surgery import Surgery
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRecurrence(Treatment):
    """The state is handed on as it is until something new comes in.

    Source: Le, Jaitly and Hinton 2015, arXiv:1504.00941.
    """

    id = "identity_recurrence"
    title = "identity recurrent weights with ReLU"
    parts = (
        "recurrence",
        "init",
    )
    source = "Le, Jaitly and Hinton 2015, arXiv:1504.00941"

    def applies_to(self, exam: Exam) -> str | None:
        return having(exam, "RNN", exact=True)

    def explain(self) -> str:
        return "the state is handed on as it is until something new comes in"

    def operate(self, on: Surgery) -> None:
        found = [(path, m) for path, m in on.model.named_modules() if type(m) in (nn.RNN, nn.RNNCell)]
        if not found:
            raise FadeoutError("identity_recurrence: the model has no nn.RNN or nn.RNNCell")
        for path, module in found:
            for name, parameter in module.named_parameters(recurse=False):
                if name.startswith("weight_hh"):
                    on.set(parameter, torch.eye(parameter.shape[0], parameter.shape[1], device="cpu"))
                elif name.startswith("bias"):
                    on.set(parameter, torch.zeros_like(parameter))
            module.nonlinearity = "relu"
            if isinstance(module, nn.RNN):
                module.mode = "RNN_RELU"
            on.write(Edit(what="attribute", path=path, old="tanh", new='nonlinearity="relu", weight_hh = identity'))
