"""Pulls: the squared norm that theory expects of the gradient, from the last weights to the first."""

import math
from dataclasses import dataclass

from fadeout.forecast.moments import moments_near
from fadeout.forecast.signals import BATCH_NORMS, LAYER_NORMS, RMS_NORMS, SAME, Signal, divided_input, mixing
from fadeout.probe.graph.graph import weights_around
from fadeout.probe.instruments.sketch import Sketch
from fadeout.theory import layer_beta

_TOTALS = frozenset({"Mean", "Sum", "AvgPool2D", "AdaptiveAvgPool2D", "AvgPool1D", "AdaptiveAvgPool1D"})


@dataclass(slots=True)
class Pull:
    """What is expected of a gradient: squared norm relative to the last weights (as a logarithm), and its spread."""

    level: float = -math.inf  # log10 of the squared norm
    most: float = -math.inf  # the same where tokens may share one gradient: as if they all did
    beta: float = 0.0
    kurtosis: float = 1.0
    why: str = ""


def expect_pulls(sketch: Sketch, signals: list[Signal]) -> list[Pull]:
    count = len(sketch.parts)
    pulls = [Pull() for _ in range(count)]
    _, above = weights_around(sketch.edges, sketch.matrix, sketch.to_data)
    for i in range(count):
        if sketch.matrix[i] and not above[i]:
            pulls[i] = Pull(level=0.0, most=0.0)
    for i in range(count):
        pull = pulls[i]
        if pull.level == -math.inf and not pull.why:
            continue
        for n, (_, j, _) in enumerate(sketch.edges[i]):
            _send(sketch, signals, i, n, j, pull, pulls)
    return pulls


def _send(sketch: Sketch, signals: list[Signal], i: int, n: int, j: int, pull: Pull, pulls: list[Pull]) -> None:
    part = sketch.parts[i]
    target = pulls[j]
    if pull.why:
        target.why = target.why or pull.why
        return
    factor, kurtosis, why = _factor(sketch, signals, i, n, j)
    if why:
        target.why = target.why or why
        return
    if factor <= 0:
        return
    sent = pull.level + math.log10(factor)
    beta = pull.beta
    if sketch.matrix[i] and part.width > 1:
        beta += layer_beta(part.width, kurtosis=max(1.0, pull.kurtosis))
    total = _add(target.level, sent)
    share = 10.0 ** (sent - total)  # of the whole gradient that meets there
    target.beta = target.beta * (1 - share) + beta * share
    target.kurtosis = kurtosis if sent >= target.level else target.kurtosis
    target.level = total
    shared = 0.0 if "ScaledDotProduct" in part.base else math.log10(factor)
    target.most = _add(target.most, pull.most + shared)


def _add(a: float, b: float) -> float:
    """log10(10^a + 10^b)."""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log10(1.0 + 10.0 ** (low - high))


def _factor(sketch: Sketch, signals: list[Signal], i: int, n: int, j: int) -> tuple[float, float, str]:
    """Expected factor on the squared norm from node i to its input n, its slopes' kurtosis, or why not."""
    part, a = sketch.parts[i], signals[j]
    data = sketch.edges[i]
    name = f"{part.path + ' ' if part.path else ''}{part.base.lower()}"
    if (x := divided_input(sketch, i)) is not None:
        if n != x:
            return 0.0, 1.0, ""  # by the mean square: one part in the number of units
        known = math.isfinite(a.square) and a.square > 0
        return (1.0 / a.square, 1.0, "") if known else (math.nan, 1.0, a.why or f"{name}: unknown input")
    if sketch.matrix[i]:
        if len(data) != 1 or not math.isfinite(part.gain):
            return math.nan, 1.0, f"{name}: used again and again, or its weights can't be read"
        return part.gain, 1.0, ""
    if part.kind == "slope" and len(data) == 1:
        if part.phi is None:
            return math.nan, 1.0, f"{name}: not an activation the theory can read"
        if not (math.isfinite(a.square) and a.gaussian):
            return math.nan, 1.0, a.why or f"{name}: what it reads is not Gaussian"
        moments = moments_near(*part.phi, a.square)
        kurtosis = moments.slope_kurtosis if math.isfinite(moments.slope_kurtosis) else 1.0
        return moments.slope_second, kurtosis, ""
    if part.base in ("Add", "Sub"):
        return 1.0, 1.0, ""
    if part.base in LAYER_NORMS | RMS_NORMS | BATCH_NORMS:
        spread = {True: a.between, False: a.square if part.base in RMS_NORMS else a.square - a.mean**2}
        variance = spread[part.base in BATCH_NORMS]
        if not (math.isfinite(variance) and variance > 0):
            return math.nan, 1.0, a.why or f"{name}: the variance it divides by is unknown"
        return part.gain / variance, 1.0, ""
    if part.base == "Mul" and len(data) == 1:
        if not math.isfinite(part.gain):
            return math.nan, 1.0, f"{name}: the factor can't be read"
        return part.gain, 1.0, ""
    if part.base in _TOTALS and part.reads and part.gives:
        window = part.reads / part.gives
        return (window if part.base == "Sum" else 1.0 / window), 1.0, ""
    if "ScaledDotProduct" in part.base and part.tokens and len(data) == 3:
        # at initialisation queries and keys hardly matter: the logits are small and alike
        return (mixing(part.tokens, part.causal) if n == 2 else 0.0), 1.0, ""
    if part.base in SAME or part.keep < 1.0:
        return 1.0 / part.keep, 1.0, ""
    return math.nan, 1.0, f"{name}: not in the theory"
