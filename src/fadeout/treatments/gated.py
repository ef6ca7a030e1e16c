"""Gated: an LSTM or GRU in the place of a plain RNN of the same sizes."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from fadeout.call.chance import kept_torch_state
from fadeout.treatments.surgery import Surgery


def gated(on: Surgery, kind: Literal["LSTM", "GRU"]) -> int:
    """How many were replaced."""
    found = [(path, m) for path, m in on.model.named_modules() if type(m) in (nn.RNN, nn.RNNCell)]
    for path, old in found:
        assert isinstance(old, (nn.RNN, nn.RNNCell))
        cell = isinstance(old, nn.RNNCell)
        make = getattr(nn, kind + ("Cell" if cell else ""))
        sizes: dict[str, Any] = {"bias": old.bias}
        if isinstance(old, nn.RNN):
            sizes |= {
                "num_layers": old.num_layers, "batch_first": old.batch_first, "dropout": old.dropout,
                "bidirectional": old.bidirectional,
            }  # fmt: skip
        with kept_torch_state():
            torch.manual_seed(on.patient.seed)
            new = make(old.input_size, old.hidden_size, **sizes)
        new.to(next(old.parameters()))
        on.replace(
            path,
            new,
            old=type(old).__name__,
            expression=f"nn.{type(new).__name__}({old.input_size}, {old.hidden_size})",
        )
        on.exchange(list(old.parameters()), list(new.parameters()))
        if kind == "LSTM":
            new.register_forward_pre_hook(_with_cell)
            new.register_forward_hook(_without_cell_of_cell if cell else _without_cell)
            on.notes.append(f"{path}: the cell state is not carried from call to call; return and pass it in your code")
    return len(found)


def _with_cell(module: nn.Module, args: tuple[Any, ...]) -> Any:
    if len(args) > 1 and isinstance(args[1], Tensor):
        return (args[0], (args[1], torch.zeros_like(args[1])), *args[2:])
    return None


def _without_cell(module: nn.Module, args: Any, out: Any) -> Any:
    output, state = out
    return output, state[0] if isinstance(state, tuple) else state


def _without_cell_of_cell(module: nn.Module, args: Any, out: Any) -> Any:
    return out[0] if isinstance(out, tuple) else out
