"""examine: measure one network on one batch and say whether and where its gradient fades."""

import copy
import math
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.counterfactual import Bench, can_confirm, confirm
from fadeout.course.steps import take_course
from fadeout.forecast import predict_from
from fadeout.probe.process import leaves_no_trace
from fadeout.probe.reading import take_reading
from fadeout.probe.subject import unwrapped
from fadeout.records import Course, Environment, Exam, Finding, Reading, Training
from fadeout.rules import diagnose, progress, sentence, verdict
from fadeout.version import VERSION


@leaves_no_trace
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
    steps: int = 0,
    train_step: Callable[..., Any] | None = None,
) -> Exam:
    """One instrumented forward and backward of a network on a real batch, and what it means.

    With `steps`, training steps on a copy as well: signs must persist, and progress is known.

    The model is left exactly as it was: parameters, buffers, gradients, hooks, modes,
    `__dict__` and random state, also when it raises in the middle.

    Args:
        model: Any module; DDP and compiled wrappers are taken off.
        batch: (x, y) with `loss`; a dict of keyword arguments whose output carries its loss,
            or with loss(output); or x alone.
        loss: loss(output, y), or loss(output) without a y.
        step: Any closure model -> scalar, instead of batch and loss: a GAN's generator step,
            several losses, a gradient penalty.
        optimizer: The one in use; gives the update ratio its next step would make.  With `train_step`
            anything that it takes: a list or dict of optimizers, too.
        within: Dotted path of a module: examine the part under it.
        autocast: A dtype, or True for the device's default, to run the forward under.
        reach: Output positions to sample for the reach map across tokens (one more backward
            each); 0 for none.
        steps: Optimizer steps to train a copy for; the second argument is then an iterable of
            batches, cycled, and `optimizer` (or `train_step`) is needed.  0 for one exam.
        train_step: (model, batch, optimizer) -> loss: what the training loop does once, where it is
            more than zero_grad, loss, backward, step: several optimizers, clipping, schedulers.  It
            may take fewer of the three, or nothing: what it closes over is copied for it.

    Returns:
        An immutable `Exam`.

    Raises:
        ValueError, TypeError: If the call itself is wrong.
        FadeoutError: If there is nothing to account for.
        ModelError: If the model raises; the original stands in `__cause__`.
    """
    begun = time.perf_counter()
    if not isinstance(autocast, (torch.dtype, bool, type(None))):
        raise TypeError(f"examine: autocast= must be a dtype, e.g. torch.bfloat16, or True; got {autocast!r}")
    if steps or train_step is not None:
        if step is not None:
            raise ValueError("examine: steps= trains by loss= and optimizer=, or by train_step=; leave out step=")
        taken = take_course(
            model,
            batch,
            loss=loss,
            optimizer=optimizer,
            train_step=train_step,
            steps=steps,
            within=within,
            autocast=autocast,
            reach=reach,
            verb="examine",
        )
    else:
        taken = take_reading(
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
    reading, sketch, seen, notes = taken.reading, taken.sketch, taken.seen, taken.notes
    assert sketch is not None
    forecast = predict_from(sketch, reading.ledger)
    foreseen = forecast.decades if forecast is not None and forecast.decades is not None else math.nan
    findings = tuple(_foreseen(found, reading, foreseen) for found in diagnose(reading))
    if any(can_confirm(found) for found in findings):
        subject = unwrapped(model)[0]
        if reading.course is not None:  # a closure of the training step may hold optimizers of the model's own
            subject = copy.deepcopy(subject)
        trunk = frozenset(w.path for w in reading.ledger.weights if w.trunk)
        bench = Bench(model=subject, closure=seen.closure, within=within, autocast=autocast, trunk=trunk)
        activations = frozenset(layer.activation for layer in reading.layers if layer.activation)
        findings = tuple(
            confirm(found, bench, activations=activations) if can_confirm(found) else found for found in findings
        )
    word = verdict(reading, findings)
    parameter = next(seen.subject.watched.parameters())
    return Exam(
        verdict=word,
        sentence=sentence(reading, word, findings),
        progress=progress(reading, findings),
        decades=reading.ledger.decades,
        decades_per_layer=reading.profile,
        effective_depth=reading.depth,
        weight_layers=reading.on_paper,
        effective_blocks=reading.ledger.blocks,
        ledger=reading.ledger,
        layers=reading.layers,
        forecast=forecast,
        findings=findings,
        environment=Environment(
            fadeout=VERSION,
            torch=torch.__version__,
            python=platform.python_version(),
            device=str(parameter.device),
            dtype=str(parameter.dtype).removeprefix("torch."),
            seed=torch.initial_seed(),
            seconds=time.perf_counter() - begun,
            batches=reading.course.batches if reading.course is not None else 1,
            samples=seen.closure.samples,
            spread=_spread(reading.course),
            optimizer=_optimizer_words(optimizer),
            model=type(seen.subject.model).__name__,
            loss=reading.loss,
            notes=tuple(notes),
        ),
        time=reading.time,
        tokens=reading.tokens,
        streams=reading.streams,
        course=_training(reading.course),
    )


def _foreseen(finding: Finding, reading: Reading, decades: float) -> Finding:
    """A finding about the whole way back with what theory expected there."""
    whole = finding.code in ("FO101", "FO102") and finding.decades == reading.ledger.decades
    return replace(finding, expected=decades) if whole else finding


def _spread(course: Course | None) -> float:
    """Standard deviation of the first few batches' losses; nan for one."""
    losses = [v for v in course.losses[:8] if math.isfinite(v)] if course is not None else []
    return statistics.stdev(losses) if len(losses) > 1 else math.nan


def _training(course: Course | None) -> Training | None:
    """What the exam keeps of a course."""
    if course is None:
        return None
    return Training(
        steps=course.steps,
        losses=course.losses,
        probes=tuple(probe.step for probe in course.probes),
        learned=course.learned,
        constant=course.constant,
        broken=course.broken,
    )


def _optimizer_words(optimizer: Any) -> str:
    if optimizer is None:
        return ""
    if not isinstance(optimizer, Optimizer):
        several = optimizer.values() if isinstance(optimizer, dict) else optimizer
        return " + ".join(_optimizer_words(o) for o in several if isinstance(o, Optimizer))
    rates = sorted({float(group["lr"]) for group in optimizer.param_groups if "lr" in group})
    return type(optimizer).__name__ + (f" lr {rates[0]:g}" if rates else "")
