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

from fadeout.call.question import Question
from fadeout.counterfactual import Bench, can_confirm, confirm
from fadeout.course.training import take_course
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
    """Examine a network: does its gradient reach the first layers, and if not, where is it lost, and why?

    Runs one forward and one backward pass on a real batch and accounts for every operation. A single
    step cannot tell whether a network learns. With `steps`, a copy is trained as well: only signs that
    persist are kept, and progress is reported.

    Your model is left exactly as it was: parameters, buffers, gradients, hooks, modes, `__dict__` and
    random state, even if it raises in the middle. Your optimizer is not stepped.

    Args:
        model: Any `nn.Module`. DDP, DataParallel and compiled wrappers are taken off.
        batch: (x, y), used as loss(model(x), y); or a dict of keyword arguments for the model, whose
            output carries its own loss or is given to loss(output); or x alone. With `steps` or
            `train_step` an iterable of such batches, which is started again when it ends.
        loss: loss(output, y), or loss(output) if there is no y.
        step: A function model -> scalar, instead of `batch` and `loss`, for what these cannot express:
            a GAN's generator step, several losses, a gradient penalty.
        optimizer: The optimizer you train with. It tells how far the next step would move each layer
            (the update ratio). With `train_step` it may be whatever that takes, such as a list or
            dict of optimizers.
        within: Path of a module, such as "encoder.layers.0": examine only this part of the model.
        autocast: The dtype that your forward pass runs in (`torch.bfloat16`), or True for the
            device's default.
        reach: For sequences: from how many output positions to measure how far back across tokens
            the gradient gets. Each takes one more backward pass; 0 for none.
        steps: Training steps to do on a copy; needs `optimizer` or `train_step`. 0 for none.
        train_step: A function (model, batch, optimizer) -> loss that does what your training loop does
            once, if that is more than zero_grad, loss, backward and step: clipping, accumulation, a
            scheduler, several optimizers. It may take fewer of the three arguments. What it uses
            from outside is copied for it.
        rules: What is looked for. Add your own with `fadeout.RULES + (mine,)`.
        limits: The bounds that measured numbers are held against, for example
            `fadeout.Limits(vanishing=-4)`.

    Returns:
        An immutable `Exam`. `print` it for the report; `fadeout explain WORD` on the command line
        says what its words mean.

    Raises:
        ValueError, TypeError: If the call itself is wrong.
        FadeoutError: If there is nothing to account for.
        ModelError: If your model or loss raises; the original error is its `__cause__`.
    """
    begun = time.perf_counter()
    question = Question(
        verb="examine", model=model, batch=batch, loss=loss, step=step, optimizer=optimizer, within=within,
        autocast=autocast, reach=reach, steps=steps, train_step=train_step,
    )  # fmt: skip
    taken = _taken(question, limits)
    return concluded(taken, begun, optimizer, rules, limits, tested=lambda found: _tested(found, taken, question))


def concluded(
    taken: Taken,
    begun: float,
    optimizer: Any,
    rules: Sequence[Rule] = RULES,
    limits: Limits = LIMITS,
    *,
    tested: Callable[[Finding], Finding] = lambda found: found,
) -> Exam:
    """The exam of a measurement.

    Args:
        begun: When the measurement began, by `time.perf_counter`.
        tested: Tests the cause of a finding, where it can be tested.
    """
    reading, sketch, seen, notes = taken.reading, taken.sketch, taken.seen, taken.notes
    assert sketch is not None
    forecast = predict_from(sketch, reading.ledger)
    foreseen = forecast.decades if forecast is not None and forecast.decades is not None else math.nan
    findings = tuple(_foreseen(found, reading, foreseen) for found in diagnose(reading, rules=rules, limits=limits))
    findings = tuple(tested(found) if can_confirm(found) else found for found in findings)
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
            batches=max(1, reading.course.batches) if reading.course is not None else 1,
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
        terms=reading.terms,
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
    """Measure what an exam measures, and conclude nothing: the input of `diagnose`.

    Takes the arguments of `examine`, and leaves your model as it was, as `examine` does.

    Returns:
        The `Reading` of one step; with `steps`, its `course` holds the later ones.

    Raises:
        As `examine`.
    """
    question = Question(
        verb="read", model=model, batch=batch, loss=loss, step=step, optimizer=optimizer, within=within,
        autocast=autocast, reach=reach, steps=steps, train_step=train_step,
    )  # fmt: skip
    return _taken(question, LIMITS).reading


def _taken(question: Question, limits: Limits) -> Taken:
    """The measurement behind an exam: of one step, or of a course of them."""
    verb, autocast = question.verb, question.autocast
    if not isinstance(autocast, (torch.dtype, bool, type(None))):
        raise TypeError(f"{verb}: autocast= must be a dtype such as torch.bfloat16, or True; got {autocast!r}")
    if not question.steps and question.train_step is None:
        return take_reading(question)
    if question.step is not None:
        raise ValueError(
            f"{verb}: step= is for one measurement; to train a copy (steps=) give loss= and optimizer=, or train_step="
        )
    marks = {
        FADES: lambda reading: fades(reading, limits),
        CHAIN_FADES: lambda reading: chain_fades(reading, limits),
    }
    return take_course(question, marks=marks)


def _tested(finding: Finding, taken: Taken, question: Question) -> Finding:
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
        within=question.within,
        autocast=question.autocast,
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
