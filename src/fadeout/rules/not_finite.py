"""FO104: inf or nan, and the operation that made the first."""

import math
from collections.abc import Sequence

from fadeout.records import Advice, Course, Evidence, Finding, Layer, Origin, Reading
from fadeout.rules.broken_ops import remedies, rows_of
from fadeout.rules.build import advise, advised
from fadeout.rules.exploding import sudden
from fadeout.rules.limits import Limits

_WHERE = {
    "parameters": "already in the parameters",
    "input": "already in the input",
    "forward": "made in the forward pass",
    "loss": "made in the loss",
    "backward": "made in the backward pass",
}
_OVERFLOW: tuple[Advice | str, ...] = (
    "a smaller loss: a mean in place of a sum, targets scaled to a spread near 1",
    advise("bf16, whose range is float32's", "bf16"),
)


def not_finite(reading: Reading, limits: Limits) -> Finding | None:
    """A value that is not finite anywhere in loss, activations or gradients."""
    start = reading
    course = reading.course
    if course is not None and _no_steps(course, limits):
        return _skipped(reading, course)
    if course is not None and sudden(reading, limits):  # the step itself, or the probe that saw it first, if one did
        seen = next((p for p in course.probes if p.origin is not None or not math.isfinite(p.loss)), reading)
        reading = course.fatal if course.fatal is not None else seen
    counted = [layer for layer in reading.layers if _count(layer.not_finite) > 0]
    calm = math.isfinite(reading.loss) and reading.origin is None and not counted
    if calm and (course is None or not sudden(start, limits)):
        return None
    if calm_but_for_inputs(reading, counted) and course is not None and course.broken is None:
        return None  # training goes on: what is not finite is the gradient of the data, which nobody uses
    origin = reading.origin
    paths = tuple(layer.path for layer in counted)
    if origin is not None and origin.path:
        paths = tuple(dict.fromkeys((origin.path, *paths)))
    return _finding(
        reading,
        claim=_claim(origin, course, calm, exact=course is not None and reading is course.fatal),
        where=paths,
        line=origin.line if origin else "",
        since=course.broken if course is not None and course.broken is not None else reading.step,
        count=float(sum(_count(layer.not_finite) for layer in counted)),
        helps=_helps(origin, course),
    )


def calm_but_for_inputs(reading: Reading, counted: Sequence[Layer]) -> bool:
    """Loss, activations, gradients of layers and parameters are all finite."""
    origin = reading.origin
    if origin is None or not math.isfinite(reading.loss) or counted:
        return False
    return not origin.op.startswith("gradient of") and all(
        math.isfinite(layer.weight_gradient_norm) or not layer.trained for layer in reading.layers
    )


def _claim(origin: Origin | None, course: Course | None, calm: bool, *, exact: bool) -> str:
    if origin is None:
        return "the loss or a gradient is not finite" if course is None or not calm else _suddenly(course)
    place = "" if origin.where == "loss" else origin.path
    if origin.where == "parameters" and course is not None and course.broken is not None and not exact:
        return f"training stops being finite at step {course.broken:,}, and the parameters with it"
    made = f"the first value that is not finite is {_WHERE[origin.where]}"
    made += f", in {place} ({origin.op})" if place else f" ({origin.op})"
    if course is not None and exact and course.fatal is not None:
        made += f" of step {course.fatal.step + 1:,}"
    return made + rows_of(origin)


def _no_steps(course: Course, limits: Limits) -> bool:
    return course.scaled > 0 and course.skipped > limits.skipped * course.scaled


def _skipped(reading: Reading, course: Course) -> Finding:
    """A loss scaler that finds no scale: the gradient overflows whatever it does."""
    every = course.skipped == course.scaled
    return _finding(
        reading,
        claim=f"the loss scaler left out {'every one' if every else f'{course.skipped:,}'} of {course.scaled:,} steps: "
        "the gradient overflows float16 at every scale that it tried",
        where=tuple(layer.path for layer in reading.layers if _count(layer.not_finite) > 0),
        line=reading.origin.line if reading.origin else "",
        since=reading.step,
        count=float(sum(_count(layer.not_finite) for layer in reading.layers)),
        helps=_OVERFLOW,
    )


def _finding(
    reading: Reading,
    *,
    claim: str,
    where: tuple[str, ...],
    line: str,
    since: int,
    count: float,
    helps: tuple[Advice | str, ...],
) -> Finding:
    return Finding(
        code="FO104",
        label="not_finite",
        level="alarm",
        claim=claim,
        where=where,
        line=line,
        decades=math.nan,
        expected=math.nan,
        since=since,
        confidence=math.nan,
        cause=(),
        status="account",
        evidence=(Evidence(name="values that are not finite", value=count, bound=0.0, unit="values"),) if count else (),
        advice=advised(helps),
    )


def _suddenly(course: Course) -> str:
    if course.spoilt:
        return f"the batch of step {course.broken:,} holds nan or inf, and training breaks on it"
    return f"training stops being finite at step {course.broken:,}, though no loss had grown"


def _count(counts: object) -> int:
    return sum(getattr(counts, name) for name in ("activation", "gradient", "weight"))


def _helps(origin: Origin | None, course: Course | None) -> tuple[Advice | str, ...]:
    if origin is not None and origin.where == "parameters" and course is not None and course.broken is not None:
        return (
            f"looking at the batch of step {course.broken:,}: torch.isfinite(x).all(), and its targets",
            f"torch.autograd.set_detect_anomaly(True) around step {course.broken:,}, or fadeout.examine(steps=) on "
            "these batches: both name the operation",
            "restarting from a sound checkpoint with a smaller learning rate",
        )
    if course is not None and course.spoilt:
        return ("checking the batch for nan and inf before it enters the model",)
    if origin is None:
        step = f"step {course.broken:,}" if course is not None and course.broken is not None else "that step"
        return (
            f"looking at the batch of {step}, and at each log, sqrt, division and power in the model and its loss",
            f"torch.autograd.set_detect_anomaly(True) around {step}, or fadeout.examine(steps=) on these batches: both "
            "name the operation",
        )
    return remedies(origin)
