"""examine: measure one network on one batch and say whether and where its gradient fades."""

import platform
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.forecast import predict_from
from fadeout.probe.reading import take_reading
from fadeout.records import Environment, Exam
from fadeout.rules import diagnose, sentence, verdict
from fadeout.version import VERSION


def examine(
    model: nn.Module,
    batch: Any = None,
    *,
    loss: Callable[..., Tensor] | None = None,
    step: Callable[[nn.Module], Tensor] | None = None,
    optimizer: Optimizer | None = None,
    within: str | None = None,
    autocast: torch.dtype | bool | None = None,
    reach: int = 0,
) -> Exam:
    """One instrumented forward and backward of a network on a real batch, and what it means.

    The model is left exactly as it was: parameters, buffers, gradients, hooks, modes,
    `__dict__` and random state, also when it raises in the middle.

    Args:
        model: Any module; DDP and compiled wrappers are taken off.
        batch: (x, y) with `loss`; a dict of keyword arguments whose output carries its loss,
            or with loss(output); or x alone.
        loss: loss(output, y), or loss(output) without a y.
        step: Any closure model -> scalar, instead of batch and loss: a GAN's generator step,
            several losses, a gradient penalty.
        optimizer: The one in use; gives the update ratio its next step would make.
        within: Dotted path of a module: examine the part under it.
        autocast: A dtype, or True for the device's default, to run the forward under.
        reach: Output positions to sample for the reach map across tokens (one more backward
            each); 0 for none.

    Returns:
        An immutable `Exam`.

    Raises:
        ValueError, TypeError: If the call itself is wrong.
        FadeoutError: If there is nothing to account for.
        ModelError: If the model raises; the original stands in `__cause__`.
    """
    begun = time.perf_counter()
    reading, sketch, seen, notes = take_reading(
        model,
        batch,
        loss=loss,
        step=step,
        optimizer=optimizer,
        within=within,
        autocast=autocast,
        reach=reach,
        verb="examine",
    )
    findings = diagnose(reading)
    word = verdict(reading, findings)
    parameter = next(seen.subject.watched.parameters())
    return Exam(
        verdict=word,
        sentence=sentence(reading, word, findings),
        progress="unknown",
        decades=reading.ledger.decades,
        decades_per_layer=reading.profile,
        effective_depth=reading.depth,
        weight_layers=reading.on_paper,
        effective_blocks=reading.ledger.blocks,
        ledger=reading.ledger,
        layers=reading.layers,
        forecast=predict_from(sketch, reading.ledger),
        findings=findings,
        environment=Environment(
            fadeout=VERSION,
            torch=torch.__version__,
            python=platform.python_version(),
            device=str(parameter.device),
            dtype=str(parameter.dtype).removeprefix("torch."),
            seed=torch.initial_seed(),
            seconds=time.perf_counter() - begun,
            batches=1,
            samples=seen.closure.samples,
            spread=float("nan"),
            optimizer=_optimizer_words(optimizer),
            model=type(seen.subject.model).__name__,
            loss=reading.loss,
            notes=tuple(notes),
        ),
        time=reading.time,
        tokens=reading.tokens,
        streams=reading.streams,
    )


def _optimizer_words(optimizer: Optimizer | None) -> str:
    if optimizer is None:
        return ""
    rates = sorted({float(group["lr"]) for group in optimizer.param_groups if "lr" in group})
    return type(optimizer).__name__ + (f" lr {rates[0]:g}" if rates else "")
