"""The spectrum of a step: the Jacobian at the last step of a recurrent layer, as an exam shows it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fadeout.errors import FadeoutError
from fadeout.probe.recurrent.jacobian import step_jacobian
from fadeout.records import StepSpectrum

SEQUENCES = 1  # looked at, the longest
WINDOW = 64  # steps run before the one looked at, where both directions read the whole sequence


def step_spectra(module: nn.RNNBase, x: Tensor | PackedSequence, hx: Any) -> dict[tuple[int, str], StepSpectrum]:
    """Singular values of one step for each (layer, direction); empty where the step has no state before it.

    A layer that runs one way is looked at on its last step, from the state that the sequence led
    to; a bidirectional one in the middle of its last `WINDOW` steps.
    """
    x, hx = _few(module, x, hx)
    x, hx = _in_dtype(x, hx, next(module.parameters()).dtype)  # autocast hands it half, and is off here
    steps = x.shape[0]
    if steps < 2:
        return {}
    module_was = module.training
    try:
        module.training = False  # on this module alone: it has no children
        with torch.no_grad():
            if module.bidirectional:
                x, hx = x[-WINDOW:], None
                at = x.shape[0] // 2
                found = step_jacobian(module, _turned(module, x), hx, at=at, samples=SEQUENCES)
                step = steps - x.shape[0] + at
            else:
                _, state = module(_turned(module, x[:-1]), hx)
                found = step_jacobian(module, _turned(module, x[-1:]), state, samples=SEQUENCES)
                step = steps - 1
    except (FadeoutError, RuntimeError):  # not finite there, which other numbers say; a decomposition that fails
        return {}
    finally:
        module.training = module_was
    return {
        (row.layer, row.direction): StepSpectrum(
            step=step,
            singular=row.singular,
            spectral_radius=row.spectral_radius,
            bound=float("nan") if row.bound is None else row.bound,
        )
        for row in found
    }


def _few(module: nn.RNNBase, x: Tensor | PackedSequence, hx: Any) -> tuple[Tensor, Any]:
    """The longest sequences, (T, B, D), and their states."""
    if isinstance(x, PackedSequence):
        count = min(SEQUENCES, int(x.batch_sizes[-1]))
        rows = torch.cumsum(x.batch_sizes, 0) - x.batch_sizes
        where = (rows.unsqueeze(1) + torch.arange(count, device="cpu")).to(x.data.device)
        picked = x.data[where]
        order = x.sorted_indices[:count] if x.sorted_indices is not None else slice(count)
        return picked, _states(hx, order)
    if x.dim() == 2:
        return x.unsqueeze(1), _states(hx, None)
    x = x.transpose(0, 1) if module.batch_first else x
    return x[:, :SEQUENCES], _states(hx, slice(SEQUENCES))


def _states(hx: Any, rows: Any) -> Any:
    if hx is None:
        return None
    if isinstance(hx, tuple):
        return tuple(_states(h, rows) for h in hx)
    return hx.unsqueeze(1) if rows is None else hx[:, rows].contiguous()


def _in_dtype(x: Tensor, hx: Any, dtype: torch.dtype) -> tuple[Tensor, Any]:
    if isinstance(hx, tuple):
        return x.to(dtype), tuple(h.to(dtype) for h in hx)
    return x.to(dtype), None if hx is None else hx.to(dtype)


def _turned(module: nn.RNNBase, x: Tensor) -> Tensor:
    return x.transpose(0, 1).contiguous() if module.batch_first else x.contiguous()
