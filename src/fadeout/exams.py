"""Exams: measure one network on one batch and say whether and where its gradient fades."""

import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.counterfactual import Bench, can_confirm, confirm
from fadeout.course.steps import take_course
from fadeout.forecast import predict_from
from fadeout.probe.instruments.updates import optimizers_in
from fadeout.probe.process import leaves_no_trace
from fadeout.probe.reading import Taken, take_reading
from fadeout.records import Course, Environment, Exam, Finding, LayerTrace, Reading, Training
from fadeout.rules import LIMITS, RULES, Limits, Rule, diagnose, progress, sentence, verdict
from fadeout.rules.vanishing import chain_fades, fades
from fadeout.version import VERSION

FADES, CHAIN_FADES = "fades", "chain fades"  # signs whose first probe is kept, to test their cause on


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
    rules: Sequence[Rule] = RULES,
    limits: Limits = LIMITS,
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
        rules: What is looked for; add your own with `fadeout.RULES + (mine,)`.
        limits: The bounds that rules hold numbers against, e.g. `fadeout.Limits(vanishing=-4)`.

    Returns:
        An immutable `Exam`.

    Raises:
        ValueError, TypeError: If the call itself is wrong.
        FadeoutError: If there is nothing to account for.
        ModelError: If the model raises; the original stands in `__cause__`.
    """
    begun = time.perf_counter()
    taken = _taken(
        model,
        batch,
        loss=loss,
        step=step,
        optimizer=optimizer,
        within=within,
        autocast=autocast,
        reach=reach,
        steps=steps,
        train_step=train_step,
        verb="examine",
        limits=limits,
    )
    reading, sketch, seen, notes = taken.reading, taken.sketch, taken.seen, taken.notes
    assert sketch is not None
    forecast = predict_from(sketch, reading.ledger)
    foreseen = forecast.decades if forecast is not None and forecast.decades is not None else math.nan
    findings = tuple(_foreseen(found, reading, foreseen) for found in diagnose(reading, rules=rules, limits=limits))
    findings = tuple(_tested(found, taken, within, autocast) if can_confirm(found) else found for found in findings)
    word = verdict(reading, findings)
    parameter = next(seen.subject.watched.parameters())
    return Exam(
        verdict=word,
        sentence=sentence(reading, word, findings),
        progress=progress(reading, findings, limits=limits),
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


@leaves_no_trace
def read(
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
) -> Reading:
    """What an exam measures, without what it concludes: the input of `diagnose`.

    Takes the arguments of `examine` and leaves everything as it was, as `examine` does.

    Returns:
        The `Reading` of one step; with `steps`, its `course` holds the later ones.

    Raises:
        As `examine`.
    """
    return _taken(
        model,
        batch,
        loss=loss,
        step=step,
        optimizer=optimizer,
        within=within,
        autocast=autocast,
        reach=reach,
        steps=steps,
        train_step=train_step,
        verb="read",
    ).reading


def _taken(
    model: nn.Module,
    batch: Any,
    *,
    loss: Callable[..., Tensor] | None,
    step: Callable[[nn.Module], Tensor] | None,
    optimizer: Optimizer | None,
    within: str | None,
    autocast: torch.dtype | bool | None,
    reach: int,
    steps: int,
    train_step: Callable[..., Any] | None,
    verb: str,
    limits: Limits = LIMITS,
) -> Taken:
    """The measurement behind an exam: of one step, or of a course of them."""
    if not isinstance(autocast, (torch.dtype, bool, type(None))):
        raise TypeError(f"{verb}: autocast= must be a dtype, e.g. torch.bfloat16, or True; got {autocast!r}")
    if not steps and train_step is None:
        return take_reading(
            model,
            batch,
            loss=loss,
            step=step,
            optimizer=optimizer,
            within=within,
            autocast=autocast,
            reach=reach,
            verb=verb,
        )
    if step is not None:
        raise ValueError(f"{verb}: steps= trains by loss= and optimizer=, or by train_step=; leave out step=")
    return take_course(
        model,
        batch,
        loss=loss,
        optimizer=optimizer,
        train_step=train_step,
        steps=steps,
        within=within,
        autocast=autocast,
        reach=reach,
        marks={
            FADES: lambda reading: fades(reading, limits),
            CHAIN_FADES: lambda reading: chain_fades(reading, limits),
        },
        verb=verb,
    )


def _tested(finding: Finding, taken: Taken, within: str | None, autocast: torch.dtype | bool | None) -> Finding:
    """A finding with its cause tested, on the weights and the rows of the probe that shows it."""
    reading = taken.reading
    shown = taken.shown.get(CHAIN_FADES if finding.chain else FADES)
    if reading.course is None:
        model, call, around, control = taken.seen.subject.model, taken.seen.closure, None, finding.decades
    elif shown is not None:
        model, call, around, control = shown.model, shown.closure, shown.around, math.nan
    else:
        return finding
    bench = Bench(
        model=model,
        closure=call,
        within=within,
        autocast=autocast,
        chain=finding.chain,
        trunk=frozenset(w.path for w in reading.ledger.weights if w.trunk),
        activations=frozenset(layer.activation for layer in reading.layers if layer.activation),
        control=control,
    )
    return confirm(finding, bench if around is None else replace(bench, around=around))


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
        layers=_traces(course),
    )


def _traces(course: Course) -> tuple[LayerTrace, ...]:
    """Every layer of the first probe, through all of them."""
    norms = [{layer.path: layer.gradient_norm for layer in probe.layers if layer.reached} for probe in course.probes]
    return tuple(
        LayerTrace(path=layer.path, gradient_norm=tuple(at.get(layer.path, math.nan) for at in norms))
        for layer in (course.probes[0].layers if course.probes else ())
    )


def _optimizer_words(optimizer: Any) -> str:
    """'Adam lr 0.001', several joined by +; of a wrapper, what it holds."""
    return " + ".join(_one_word(o) for o in optimizers_in(optimizer)) if optimizer is not None else ""


def _one_word(optimizer: Optimizer) -> str:
    rates = sorted({float(group["lr"]) for group in optimizer.param_groups if "lr" in group})
    return type(optimizer).__name__ + (f" lr {rates[0]:g}" if rates else "")
