"""measure: the account of one forward and backward, and nothing else."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.question import Question
from fadeout.probe.process import leaves_no_trace
from fadeout.probe.session import Session
from fadeout.records import Ledger


@leaves_no_trace
def measure(
    model: nn.Module,
    batch: Any = None,
    *,
    loss: Callable[..., Tensor] | None = None,
    step: Callable[[nn.Module], Tensor] | None = None,
    within: str | None = None,
    autocast: torch.dtype | bool | None = None,
) -> Ledger:
    """The exact account of the gradient's way from the loss to the first layer, in decades.

    One instrumented forward and backward of the model itself, which is left exactly as it
    was: parameters, buffers, gradients, hooks, modes, `__dict__` and random state.

    Args:
        model: Any module; DDP and compiled wrappers are taken off.
        batch: (x, y), a mapping of keyword arguments, or x alone.
        loss: loss(output, y), or loss(output) without a y; None: the output's own `.loss`,
            else its inner product with fixed Gaussian noise.
        step: Any closure model -> scalar, instead of batch and loss.
        within: Dotted path of a module: the account of the part under it.
        autocast: A dtype, or True for the device's default, to run the forward under.

    Returns:
        The ledger; log gains are -inf where exactly nothing arrives.

    Raises:
        ValueError: If the call mixes forms.
        FadeoutError: If there is nothing to account for.
        ModelError: If the model raises; the original stands in `__cause__`.
    """
    question = Question(
        verb="measure", model=model, batch=batch, loss=loss, step=step, within=within, autocast=autocast
    )
    with Session(question) as session:
        return session.ledger(session.widen(session.take()))
