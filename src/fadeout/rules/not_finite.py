"""FO104: inf or nan, and the operation that made the first."""

import math

from fadeout.records import Course, Evidence, Finding, Reading
from fadeout.rules.build import advised
from fadeout.rules.exploding import sudden
from fadeout.rules.limits import Limits

_WHERE = {
    "parameters": "already in the parameters",
    "input": "already in the input",
    "forward": "made in the forward pass",
    "loss": "made in the loss",
    "backward": "made in the backward pass",
}


def not_finite(reading: Reading, limits: Limits) -> Finding | None:
    """A value that is not finite anywhere in loss, activations or gradients."""
    start = reading
    course = reading.course
    if course is not None and sudden(reading, limits):  # the probe that saw it first, if one did
        reading = next((p for p in course.probes if p.origin is not None or not math.isfinite(p.loss)), reading)
    counted = [layer for layer in reading.layers if _count(layer.not_finite) > 0]
    calm = math.isfinite(reading.loss) and reading.origin is None and not counted
    if calm and (course is None or not sudden(start, limits)):
        return None
    origin = reading.origin
    place = "" if origin is None else f"{origin.path or 'the loss' if origin.where == 'loss' else origin.path}"
    claim = (
        ("the loss or a gradient is not finite" if course is None or not calm else _suddenly(course))
        if origin is None
        else f"the first value that is not finite is {_WHERE[origin.where]}"
        + (f", in {place} ({origin.op})" if place else f" ({origin.op})")
    )
    paths = tuple(layer.path for layer in counted)
    if origin is not None and origin.path:
        paths = tuple(dict.fromkeys((origin.path, *paths)))
    return Finding(
        code="FO104",
        label="not_finite",
        level="alarm",
        claim=claim,
        where=paths,
        line=origin.line if origin else "",
        decades=math.nan,
        expected=math.nan,
        since=course.broken if course is not None and course.broken is not None else reading.step,
        confidence=math.nan,
        cause=(),
        status="account",
        evidence=(
            Evidence(
                name="values that are not finite",
                value=float(sum(_count(layer.not_finite) for layer in counted)),
                bound=0.0,
                unit="values",
            ),
        ),
        advice=advised(
            _helps(origin.where if origin else "input" if course is not None and course.spoilt else "forward")
        ),
    )


def _suddenly(course: Course) -> str:
    if course.spoilt:
        return f"the batch of step {course.broken:,} holds nan or inf, and training breaks on it"
    return f"training stops being finite at step {course.broken:,}, though no loss had grown"


def _count(counts: object) -> int:
    return sum(getattr(counts, name) for name in ("activation", "gradient", "weight"))


def _helps(where: str) -> tuple[str, ...]:
    return {
        "parameters": ("restarting from a sound checkpoint with a smaller learning rate",),
        "input": ("checking the batch for nan and inf before it enters the model",),
        "forward": (
            "smaller initial weights or a normalisation before that operation",
            "float32 or bf16 there",
        ),
        "loss": ("computing the loss from logits", "an epsilon inside log, sqrt or division"),
        "backward": ("an epsilon inside sqrt or division: their slope is infinite at 0",),
    }.get(where, ())
