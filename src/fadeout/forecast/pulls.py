"""Pulls: the squared norm that theory expects of the gradient, from the last weights to the first."""

import math
from dataclasses import dataclass, field

import numpy as np

from fadeout.forecast.moments import moments_around, moments_near
from fadeout.forecast.pairs import pairs_near
from fadeout.forecast.scatter import (
    STILL,
    UNKNOWING,
    Dice,
    Rows,
    Wander,
    correlated,
    meet_signal,
    stray,
    through_slopes,
    through_weights,
)
from fadeout.forecast.signals import (
    ADDITIONS,
    BATCH_NORMS,
    LAYER_NORMS,
    RMS_NORMS,
    SAME,
    Signal,
    divided_input,
    mixing,
    over_rows,
)
from fadeout.probe.graph.graph import weights_around
from fadeout.probe.instruments.sketch import Part, Sketch

_DENSE = frozenset({"Addmm", "Mm", "Linear", "Embedding"})
_TOTALS = frozenset({"Mean", "Sum", "AvgPool2D", "AdaptiveAvgPool2D", "AvgPool1D", "AdaptiveAvgPool1D"})


@dataclass(slots=True)
class Pull:
    """What is expected of a gradient: squared norm relative to the last weights, and how it strays.

    Attributes:
        level: log10 of the squared norm in the infinitely wide network.
        most: The same where tokens may share one gradient: as if they all did.
        wander: ln of the squared norm in networks of finite width, relative to `level`.
        rows: How alike the gradients of the rows are.
        along: n cos^2 of the angle between the gradient and the signal at its place.
        units: That the last weights on the way read.
        rough: A part of the way is known to theory only roughly.
        why: Why nothing is known.
    """

    level: float = -math.inf
    most: float = -math.inf
    wander: Wander = field(default_factory=lambda: STILL)
    rows: Rows = field(default_factory=Rows)
    along: Wander = field(default_factory=lambda: UNKNOWING)
    units: float = math.inf
    rough: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Step:
    """What one operation does to the squared norm: expected factor, how it strays, or why not known."""

    factor: float = math.nan
    wander: Wander = field(default_factory=lambda: STILL)
    rows: Rows | None = None  # None: as before
    along: Wander | None = None
    rough: bool = False
    why: str = ""


def expect_pulls(sketch: Sketch, signals: list[Signal], dice: Dice) -> list[Pull]:
    count = len(sketch.parts)
    pulls = [Pull() for _ in range(count)]
    _, above = weights_around(sketch.edges, sketch.matrix, sketch.to_data)
    for i in range(count):
        if sketch.matrix[i] and not above[i]:
            rows = _rows_at(sketch, i)
            along = meet_signal(UNKNOWING, rows, dice, kept=0.0, fresh=1.0)
            pulls[i] = Pull(level=0.0, most=0.0, rows=rows, along=along)
    for i in range(count):
        pull = pulls[i]
        if pull.level == -math.inf and not pull.why:
            continue
        for n, (_, j, _) in enumerate(sketch.edges[i]):
            _send(sketch, signals, i, n, j, pull, pulls, dice)
    return pulls


def _rows_at(sketch: Sketch, i: int) -> Rows:
    """The rows of the gradient where it starts: as measured, else as if each row pointed anywhere.

    Cross entropy on labels at random is of that kind, in one dimension less than there are classes.
    """
    if i in sketch.alike:
        own, shared = sketch.alike[i]
        return Rows(own=min(own, 1.0), shared=min(shared, max(0.0, 1 - own)))
    own = 1 / max(1, sketch.rows)
    return Rows(own=own, shared=(1 - own) / max(1, sketch.parts[i].width - 1))


def _send(
    sketch: Sketch, signals: list[Signal], i: int, n: int, j: int, pull: Pull, pulls: list[Pull], dice: Dice
) -> None:
    part = sketch.parts[i]
    target = pulls[j]
    if pull.why:
        target.why = target.why or pull.why
        return
    step = _step(sketch, signals, i, n, j, pull, dice)
    if step.why:
        target.why = target.why or step.why
        return
    if step.factor <= 0:
        return
    sent = pull.level + math.log10(step.factor)
    wander = pull.wander + step.wander
    total = _add(target.level, sent)
    share = 10.0 ** (sent - total)  # of the whole gradient that meets there
    target.wander = (
        wander if share == 1.0 else np.log((1 - share) * np.exp(target.wander) + share * np.exp(wander))
    )  # fmt: skip
    if sent >= target.level:
        target.rows = step.rows or pull.rows
        target.along = pull.along if step.along is None else step.along
        target.units = float(max(1, part.reads_units)) if sketch.matrix[i] else pull.units
    target.rough = target.rough or pull.rough or step.rough or share < 1.0
    target.level = total
    shared = 0.0 if "ScaledDotProduct" in part.base else math.log10(step.factor)
    target.most = _add(target.most, pull.most + shared)


def _add(a: float, b: float) -> float:
    """log10(10^a + 10^b)."""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log10(1.0 + 10.0 ** (low - high))


def _step(sketch: Sketch, signals: list[Signal], i: int, n: int, j: int, pull: Pull, dice: Dice) -> _Step:
    """From node i to its input n, which is node j."""
    part, a = sketch.parts[i], signals[j]
    data = sketch.edges[i]
    name = f"{part.path + ' ' if part.path else ''}{part.base.lower()}"
    if (x := divided_input(sketch, i)) is not None:
        if n != x:
            return _Step(0.0)  # by the mean square: one part in the number of units
        known = math.isfinite(a.square) and a.square > 0
        return _Step(1.0 / a.square, -a.wander, rough=True) if known else _Step(why=a.why or f"{name}: unknown input")
    if sketch.matrix[i]:
        if len(data) != 1 or not math.isfinite(part.gain):
            return _Step(why=f"{name}: used again and again, or its weights can't be read")
        return _weights(part, a, signals[i], pull, dice)
    if part.kind == "slope" and len(data) == 1:
        return _slope(part, a, signals[i], pull, name, dice)
    if part.base in ADDITIONS:
        return _Step(1.0)
    if part.base in LAYER_NORMS | RMS_NORMS | BATCH_NORMS:
        spread = {True: a.between, False: a.square if part.base in RMS_NORMS else a.square - a.mean**2}
        variance = spread[part.base in BATCH_NORMS]
        if not (math.isfinite(variance) and variance > 0):
            return _Step(why=a.why or f"{name}: the variance it divides by is unknown")
        return _Step(part.gain / variance, -a.wander, rough=True)
    if part.base == "Mul" and len(data) == 1:
        return _Step(part.gain, why="" if math.isfinite(part.gain) else f"{name}: the factor can't be read")
    if part.base in _TOTALS and part.reads and part.gives:
        window = part.reads / part.gives
        return _Step(window if part.base == "Sum" else 1.0 / window, rough=True)
    if "ScaledDotProduct" in part.base and part.tokens and len(data) == 3:
        # at initialisation queries and keys hardly matter: the logits are small and alike
        return _Step(mixing(part.tokens, part.causal) if n == 2 else 0.0, rough=True)
    if part.base in SAME or part.keep < 1.0:
        return _Step(1.0 / part.keep, rough=part.keep < 1.0)
    return _Step(why=f"{name}: not in the theory")


def _weights(part: Part, a: Signal, out: Signal, pull: Pull, dice: Dice) -> _Step:
    """Back through weights, drawn anew but for what they did to the signal."""
    units = max(1, part.reads_units)
    variance, rows = through_weights(pull.rows, units)
    wander = stray(dice.normal(), variance)
    if not (math.isfinite(a.units) and out.square > 0 and math.isfinite(out.square)):
        return _Step(part.gain, wander, rows, rough=part.base not in _DENSE)
    carried = min(part.gain * a.square / out.square, 1.0)  # the rest are biases
    along = meet_signal(pull.along, pull.rows, dice, kept=carried, fresh=1 - carried)
    along = np.minimum(along * np.exp(out.strayed), units)
    factor = (1 - 1 / units) * np.exp(wander) + along / units
    return _Step(part.gain, np.log(factor), rows, np.minimum(along / factor, units), rough=part.base not in _DENSE)


def _slope(part: Part, a: Signal, out: Signal, pull: Pull, name: str, dice: Dice) -> _Step:
    """Through the slopes of an activation, whose units are those that moved its mean square."""
    if part.phi is None:
        return _Step(why=f"{name}: not an activation the theory can read")
    if not (math.isfinite(a.square) and a.gaussian):
        return _Step(why=a.why or f"{name}: what it reads is not Gaussian")
    phi = part.phi
    factor = over_rows(a, lambda q: moments_near(*phi, q).slope_second)
    around = moments_around(*part.phi, a.square, a.wander)
    pairs = pairs_near(*part.phi, a.square) if a.square > 0 else None
    if around is None or pairs is None or not math.isfinite(pull.units):
        return _Step(factor)
    own, units = pull.rows.own, max(pull.units, 2.0)
    pair = pairs.slope_kurtosis(a.apart)
    variance, rows = through_slopes(
        pull.rows, units, kurtosis=pairs.slope_kurtosis(), pair=pair, alike=pairs.slopes_alike(a.apart)
    )
    shared = own * (pairs.together() - 1) + (1 - own) * (pairs.together(a.apart) - 1)
    values = own * (pairs.value_kurtosis() - 1) + (1 - own) * (pairs.value_kurtosis(a.apart) - 1)
    spread = math.sqrt(max(variance * units * values, 1e-300))  # of both means, times n
    normal = correlated(out.draw, dice.normal(), shared / spread)
    share = np.minimum(pull.along / units, 1.0)  # of the gradient, along phi
    steep = min(pairs.together(), units / 2)  # slopes where phi is large, of which the rest has the fewer
    moved = (1 - share) * (units - steep) / (units - 1) * np.exp(stray(normal, variance)) + share * steep
    kept = around.second_power**2 * around.ratio  # of the gradient along phi, what is along z behind the slopes
    fresh = (1 - share) * np.maximum(1 + 2 * around.slope_power - kept, 0.0)
    kept = kept * np.exp(out.strayed)
    along = meet_signal(pull.along, pull.rows, dice, kept=kept / moved, fresh=fresh / moved)
    return _Step(factor, around.slope + np.log(moved), rows, np.minimum(along, units))
