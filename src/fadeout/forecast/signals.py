"""Signals: the mean square that theory expects of every activation, from the data to the loss."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from fadeout.forecast.moments import known_activation, moments_around, moments_near
from fadeout.forecast.pairs import pairs_near
from fadeout.forecast.scatter import STILL, Dice, Wander, stray
from fadeout.probe.instruments.sketch import Part, Phi, Sketch
from fadeout.theory.expectation import expect_product

SAME = frozenset(
    """View UnsafeView ReshapeAlias Reshape Transpose T Permute Unsqueeze Squeeze Alias Clone Unflatten Flatten ToCopy
    Slice Select Split UnsafeSplit SplitWithSizes Unbind Cat Stack Index Narrow Roll Flip CopySlices Expand Chunk
    Detach Contiguous AsStrided Neg NativeDropout ConstantPadNd""".split()
)
ADDITIONS = frozenset({"Add", "Sub", "Rsub"})
LAYER_NORMS = frozenset({"NativeLayerNorm", "LayerNorm", "NativeGroupNorm", "GroupNorm"})
RMS_NORMS = frozenset({"FusedRmsNorm", "RmsNorm"})
BATCH_NORMS = frozenset({"NativeBatchNorm", "CudnnBatchNorm", "BatchNorm", "MkldnnBatchNorm", "MiopenBatchNorm"})


@dataclass(slots=True)
class Signal:
    """What is expected of an activation.

    Attributes:
        square: Mean square.
        mean: Mean over units and rows.
        between: Variance between samples; only where a BatchNorm asks for it.
        gaussian: Its units are Gaussian with mean 0.
        why: Why nothing is known.
        wander: ln of the mean square in networks of finite width, relative to `square`.
        apart: 1 - correlation of two rows.
        uneven: Relative variance of the rows' own mean squares, which a batch averages over.
        units: Over which the next mean is taken; inf for data.
        draw: What moved the mean square of an activation; its slopes are drawn with it.
        strayed: ln of how far that moved it.
    """

    square: float = math.nan
    mean: float = 0.0
    between: float = math.nan
    gaussian: bool = False
    why: str = ""
    wander: Wander = field(default_factory=lambda: STILL)
    apart: float = 0.0
    uneven: float = 0.0
    units: float = math.inf
    draw: Wander = field(default_factory=lambda: STILL)
    strayed: Wander = field(default_factory=lambda: STILL)


def expect_signals(sketch: Sketch, dice: Dice) -> list[Signal]:
    count = len(sketch.parts)
    signals = [Signal(why="nothing known enters") for _ in range(count)]
    batch_norms = any(part.base in BATCH_NORMS for part in sketch.parts)  # they alone ask what differs
    ends: dict[int, tuple[float, float]] = {i: value for (i, _), value in sketch.ends.items()}
    for i in range(count - 1, -1, -1):
        if i in ends:
            square, share = ends[i]
            known = share if math.isfinite(share) else (1.0 if sketch.rows > 1 else 0.0)
            apart = min(known * sketch.rows / max(1, sketch.rows - 1), 1.0)
            signals[i] = Signal(
                square=square,
                between=square * (known if sketch.rows > 1 else 1.0),
                apart=apart,
                uneven=sketch.uneven.get(i, 0.0),
            )
            continue
        signals[i] = _signal(sketch, signals, i, dice, batch_norms=batch_norms)
    return signals


def divided_input(sketch: Sketch, i: int) -> int | None:
    """Of a norm written by hand, x times rsqrt(mean x^2): which input is x; None for other operations."""
    part, edges = sketch.parts[i], sketch.edges[i]
    if part.kind != "norm" or part.base not in ("Mul", "Div") or len(edges) != 2:
        return None
    for n, (_, j, _) in enumerate(edges):
        if sketch.parts[j].base in ("Rsqrt", "Sqrt", "Reciprocal", "Pow", "LinalgVectorNorm"):
            return 1 - n
    return None


def _signal(sketch: Sketch, signals: list[Signal], i: int, dice: Dice, *, batch_norms: bool) -> Signal:
    part = sketch.parts[i]
    inputs = [signals[j] for _, j, _ in sketch.edges[i]]
    if (x := divided_input(sketch, i)) is not None:
        a = inputs[x]
        if not (math.isfinite(a.square) and a.square > 0):
            return Signal(why=a.why or "unknown input")
        return replace(a, square=1.0, between=a.between / a.square, wander=STILL, uneven=0.0)
    unknown = next((s.why or "unknown input" for s in inputs if not math.isfinite(s.square)), "")
    if not inputs or unknown:
        return Signal(why=unknown or "no input")
    a = inputs[0]
    if sketch.matrix[i]:
        if len(inputs) != 1 or not math.isfinite(part.gain):
            return Signal(why=f"{part.path or part.base}: used again and again, or its weights can't be read")
        return _weighted(part, a, sketch.rows, dice)
    if part.kind == "slope" and part.phi is not None and len(inputs) == 1:
        if not a.gaussian:
            return Signal(why=f"{part.path or part.base}: what it reads is not Gaussian")
        return _activated(part.phi, a, sketch.rows, dice, batch_norms=batch_norms)
    if part.base in LAYER_NORMS | BATCH_NORMS:
        return replace(a, square=part.gain + part.bias, mean=0.0, between=part.gain, wander=STILL, uneven=0.0)
    if part.base in RMS_NORMS:
        return replace(
            a, square=part.gain, mean=0.0, between=part.gain * a.between / a.square, wander=STILL, uneven=0.0
        )
    if part.base in ADDITIONS:
        return _added(part, inputs)
    if part.base == "Mul" and len(inputs) == 1 and math.isfinite(part.gain):
        factor = part.sign * math.sqrt(part.gain)
        return replace(a, square=part.gain * a.square, mean=factor * a.mean, between=part.gain * a.between)
    if "ScaledDotProduct" in part.base and part.tokens and len(inputs) == 3:
        mixed = inputs[-1].square * mixing(part.tokens, part.causal)
        return replace(inputs[-1], square=mixed, between=mixed)
    if part.base in SAME or part.keep < 1.0:
        share = 1.0 / part.keep
        sign = -1.0 if part.base == "Neg" else 1.0
        return replace(a, square=a.square * share, mean=sign * a.mean, between=a.between * share)
    return Signal(why=f"{part.path + ' ' if part.path else ''}{part.base.lower()}: not in the theory")


def _weighted(part: Part, a: Signal, rows: int, dice: Dice) -> Signal:
    """Weights drawn at random: Gaussian units of mean 0, however the input is made."""
    carried = part.gain * a.square
    square = carried + part.bias
    strayed = STILL
    if a.gaussian and math.isfinite(a.units):  # a mean over units that are drawn themselves, with nothing between
        own = 1 / rows
        strayed = stray(dice.normal(), 2 * (own + (1 - own) * (1 - a.apart) ** 2) / a.units)
    wander = a.wander + strayed
    if part.bias and square > 0:
        wander = np.log1p(carried / square * np.expm1(wander))
    return Signal(
        square=square,
        between=part.gain * a.between,
        gaussian=True,
        wander=wander,
        apart=a.apart * carried / square if square > 0 else 0.0,
        uneven=a.uneven * (carried / square) ** 2 if square > 0 else 0.0,
        units=float(max(1, part.width)),
        strayed=strayed,
    )


def _activated(phi: tuple[str, Phi], a: Signal, rows: int, dice: Dice, *, batch_norms: bool) -> Signal:
    """After an activation of Gaussian units: the mean square of n draws of phi."""
    moments = moments_near(*phi, a.square)
    found = Signal(
        square=over_rows(a, lambda q: moments_near(*phi, q).second),
        mean=moments.mean,
        between=_between(phi, a) if batch_norms and math.isfinite(a.between) else math.nan,
        units=a.units,
    )
    around = moments_around(*phi, a.square, a.wander)
    pairs = pairs_near(*phi, a.square) if a.square > 0 else None
    if around is None or pairs is None or not math.isfinite(a.units):
        return found
    own = 1 / rows
    one, two = pairs.value_kurtosis(), pairs.value_kurtosis(a.apart)
    variance = (own * (one - 1) + (1 - own) * (two - 1)) / a.units
    power = float(np.median(around.second_power))
    found.uneven = power**2 * a.uneven + (1 - own) * max(one - two, 0.0) / a.units
    found.draw = dice.normal()
    found.strayed = stray(found.draw, variance)
    found.wander = around.second + found.strayed
    found.apart = pairs.apart(a.apart)
    return found


def _added(part: Part, inputs: list[Signal]) -> Signal:
    name = f"{part.path + ' ' if part.path else ''}add"
    if part.outside:
        return Signal(why=f"{name}: adds a tensor from outside the graph")
    a = inputs[0]
    if part.offset and a.gaussian:  # the activation that reads it would see a mean that theory does not follow
        return replace(
            a,
            square=a.square + part.offset**2 + 2 * part.offset * a.mean,
            mean=a.mean + part.offset,
            gaussian=False,
        )
    first, second = (-1.0 if part.base == "Rsub" else 1.0), (-1.0 if part.base == "Sub" else 1.0)
    means = [first * a.mean, *(second * s.mean for s in inputs[1:])]
    cross = 2 * means[0] * means[1] if len(inputs) == 2 else 2 * part.offset * means[0]
    square = sum(s.square for s in inputs) + part.bias + cross + part.offset**2
    if not square > 0:
        return Signal(why=f"{name}: what is added leaves nothing")
    strayed = sum(s.square / square * np.expm1(s.wander) for s in inputs)
    return Signal(
        square=square,
        mean=math.fsum(means) + part.offset,
        between=sum(s.between for s in inputs),
        gaussian=all(s.gaussian for s in inputs),
        wander=np.log(np.maximum(1 + strayed, 1e-6)),
        apart=min(sum(s.apart * s.square for s in inputs) / square, 1.0),
        uneven=min(sum(s.uneven * s.square for s in inputs) / square, 1.0),
        units=min(s.units for s in inputs),
    )


def mixing(tokens: int, causal: bool) -> float:
    """Mean sum of squared attention weights when they are uniform, tokens independent."""
    return sum(1.0 / n for n in range(1, tokens + 1)) / tokens if causal else 1.0 / tokens


def over_rows(a: Signal, of: Callable[[float], float]) -> float:
    """Mean over rows of a moment, by two rows that stand for all."""
    step = math.sqrt(min(a.uneven, 0.8))
    return 0.5 * (of(a.square * (1 - step)) + of(a.square * (1 + step))) if step > 1e-3 else of(a.square)


def _between(phi: tuple[str, Phi], a: Signal) -> float:
    """Variance of phi between samples whose pre-activations share q - between of their variance."""
    name, function = phi
    if a.between >= a.square * (1 - 1e-9):
        moments = moments_near(name, function, a.square)
        return moments.variance
    moments = moments_near(name, function, a.square)
    share = a.between / a.square if a.square > 0 else 0.0
    if share < 0.05:  # linear in the difference: slope squared times it
        return moments.slope_second * a.between
    activation = known_activation(name, function)
    joint = expect_product(activation.phi, activation, a.square, 1.0 - share)
    return max(moments.second - joint, 0.0)
