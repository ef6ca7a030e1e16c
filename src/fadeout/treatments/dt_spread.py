"""dt spread: time steps of linear recurrences drawn log-uniformly, as the originals do."""

import math

import torch
from torch import Tensor

from fadeout.treatments.patient import Edit
from fadeout.treatments.surgery import Surgery

LOW, HIGH = 0.001, 0.1


def spread(on: Surgery) -> int:
    """How many layers were given new biases: softplus(bias) = dt."""
    count = 0
    for path, module in on.model.named_modules():
        bias = getattr(module, "dt_bias", None)
        if not isinstance(bias, Tensor) or not bias.is_floating_point():
            projection = getattr(module, "dt_proj", None)
            bias = getattr(projection, "bias", None) if hasattr(module, "A_log") else None
        if not isinstance(bias, Tensor):
            continue
        shape = bias.shape
        dt = torch.exp(
            torch.rand(shape, generator=on.draw, device="cpu") * (math.log(HIGH) - math.log(LOW)) + math.log(LOW)
        )
        on.set(bias, dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus
        on.write(Edit(what="init", path=path, old="", new=f"dt log-uniform in [{LOW:g}, {HIGH:g}]"))
        count += 1
    return count
