"""Gates that start open: the biases of LSTM and GRU."""

import torch
from torch import nn

from fadeout.init import chrono_
from fadeout.treatments.patient import Edit
from fadeout.treatments.surgery import Surgery

_GATED = (nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell)


def open_gates(on: Surgery, longest: int | None) -> int:
    """How many layers got a forget bias of 1, or with `longest` chrono's."""
    found = [(path, m) for path, m in on.model.named_modules() if isinstance(m, _GATED) and m.bias]
    if longest is not None and longest <= 2:
        return 0
    for path, module in found:
        if longest is not None:
            for name, parameter in module.named_parameters(recurse=False):
                if name.startswith("bias"):
                    on.set(parameter, parameter.detach().clone())
            chrono_(module, longest, generator=on.draw)
            words = f"chrono({longest})"
        else:
            for name, parameter in module.named_parameters(recurse=False):
                if name.startswith("bias_ih"):
                    units = len(parameter) // (4 if isinstance(module, (nn.LSTM, nn.LSTMCell)) else 3)
                    value = parameter.detach().clone()
                    value[units : 2 * units] = 1.0  # torch's order: i, f, g, o and r, z, n
                    on.set(parameter, value)
                elif name.startswith("bias_hh"):
                    on.set(parameter, torch.zeros_like(parameter))
            words = "forget bias 1"
        on.write(Edit(what="init", path=path, old="", new=words))
    return len(found)
