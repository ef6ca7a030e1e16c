"""Signals: the mean square that theory expects of every activation, from the data to the loss."""

import math
from dataclasses import dataclass

from fadeout.forecast.moments import known_activation, moments_near
from fadeout.probe.instruments.sketch import Phi, Sketch
from fadeout.theory.expectation import expect_product

SAME = frozenset(
    """View UnsafeView ReshapeAlias Reshape Transpose T Permute Unsqueeze Squeeze Alias Clone Unflatten Flatten ToCopy
    Slice Select Split UnsafeSplit SplitWithSizes Unbind Cat Stack Index Narrow Roll Flip CopySlices Expand Chunk
    Detach Contiguous AsStrided Neg NativeDropout ConstantPadNd""".split()
)
LAYER_NORMS = frozenset({"NativeLayerNorm", "LayerNorm", "NativeGroupNorm", "GroupNorm"})
RMS_NORMS = frozenset({"FusedRmsNorm", "RmsNorm"})
BATCH_NORMS = frozenset({"NativeBatchNorm", "CudnnBatchNorm", "BatchNorm", "MkldnnBatchNorm", "MiopenBatchNorm"})


@dataclass(slots=True)
class Signal:
    """What is expected of an activation: mean square, mean over units, variance between samples."""

    square: float = math.nan
    mean: float = 0.0
    between: float = math.nan
    gaussian: bool = False
    why: str = ""


def expect_signals(sketch: Sketch) -> list[Signal]:
    count = len(sketch.parts)
    signals = [Signal(why="nothing known enters") for _ in range(count)]
    batch_norms = any(part.base in BATCH_NORMS for part in sketch.parts)  # they alone ask what differs
    ends: dict[int, tuple[float, float]] = {i: value for (i, _), value in sketch.ends.items()}
    for i in range(count - 1, -1, -1):
        if i in ends:
            square, share = ends[i]
            signals[i] = Signal(square=square, between=square * (share if math.isfinite(share) else 1.0))
            continue
        signals[i] = _signal(sketch, signals, i, batch_norms=batch_norms)
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


def _signal(sketch: Sketch, signals: list[Signal], i: int, *, batch_norms: bool) -> Signal:
    part = sketch.parts[i]
    inputs = [signals[j] for _, j, _ in sketch.edges[i]]
    if (x := divided_input(sketch, i)) is not None:
        a = inputs[x]
        if not (math.isfinite(a.square) and a.square > 0):
            return Signal(why=a.why or "unknown input")
        return Signal(square=1.0, between=a.between / a.square, gaussian=a.gaussian)
    unknown = next((s.why or "unknown input" for s in inputs if not math.isfinite(s.square)), "")
    if not inputs or unknown:
        return Signal(why=unknown or "no input")
    a = inputs[0]
    if sketch.matrix[i]:
        if len(inputs) != 1 or not math.isfinite(part.gain):
            return Signal(why=f"{part.path or part.base}: used again and again, or its weights can't be read")
        return Signal(square=part.gain * a.square + part.bias, between=part.gain * a.between, gaussian=True)
    if part.kind == "slope" and part.phi is not None and len(inputs) == 1:
        if not a.gaussian:
            return Signal(why=f"{part.path or part.base}: what it reads is not Gaussian")
        moments = moments_near(*part.phi, a.square)
        return Signal(
            square=moments.second,
            mean=moments.mean,
            between=_between(part.phi, a) if batch_norms and math.isfinite(a.between) else math.nan,
        )
    if part.base in LAYER_NORMS:
        return Signal(square=part.gain + part.bias, between=part.gain, gaussian=a.gaussian)
    if part.base in RMS_NORMS:
        return Signal(square=part.gain, between=part.gain * a.between / a.square, gaussian=a.gaussian)
    if part.base in BATCH_NORMS:
        return Signal(square=part.gain + part.bias, between=part.gain, gaussian=a.gaussian)
    if part.base in ("Add", "Sub"):
        if part.outside:
            return Signal(why=f"{part.path + ' ' if part.path else ''}add: adds a tensor from outside the graph")
        cross = 2 * inputs[0].mean * inputs[1].mean if len(inputs) == 2 else 0.0
        return Signal(
            square=sum(s.square for s in inputs) + part.bias + cross,
            mean=sum(s.mean for s in inputs),
            between=sum(s.between for s in inputs),
            gaussian=all(s.gaussian for s in inputs),
        )
    if part.base == "Mul" and len(inputs) == 1 and math.isfinite(part.gain):
        return Signal(
            square=part.gain * a.square,
            mean=math.sqrt(part.gain) * a.mean,
            between=part.gain * a.between,
            gaussian=a.gaussian,
        )
    if "ScaledDotProduct" in part.base and part.tokens and len(inputs) == 3:
        mixed = inputs[-1].square * mixing(part.tokens, part.causal)
        return Signal(square=mixed, between=mixed, gaussian=inputs[-1].gaussian)
    if part.base in SAME or part.keep < 1.0:
        share = 1.0 / part.keep
        return Signal(square=a.square * share, mean=a.mean, between=a.between * share, gaussian=a.gaussian)
    return Signal(why=f"{part.path + ' ' if part.path else ''}{part.base.lower()}: not in the theory")


def mixing(tokens: int, causal: bool) -> float:
    """Mean sum of squared attention weights when they are uniform, tokens independent."""
    return sum(1.0 / n for n in range(1, tokens + 1)) / tokens if causal else 1.0 / tokens


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
