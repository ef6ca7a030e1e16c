"""The forecast: mean-field theory on the ledger's own operations, beside the measurement.

Forward, the mean square of every activation is followed from the data to the loss; backward, the
squared norm of the gradient from the last weights to the first.  An operation theory can't speak
about makes everything that depends on it unknown: it is marked, never guessed.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.probe.measure import observe
from fadeout.probe.sketch import Phi, Sketch, Sketcher
from fadeout.records import Forecast, ForecastLayer, Ledger, Surprise
from fadeout.theory import Activation, Moments, band, layer_beta, moments_at, read_activation
from fadeout.theory.expectation import expect_product, moment_curves

SLACK = 0.1  # decades: finite batches, and samples of unequal size
SIGMAS = 1.96
SURPRISE = 0.2  # decades that one layer must be off, beyond its own spread, to be reported
_SAME = frozenset(
    """View UnsafeView ReshapeAlias Reshape Transpose T Permute Unsqueeze Squeeze Alias Clone Unflatten Flatten ToCopy
    Slice Select Split UnsafeSplit SplitWithSizes Unbind Cat Stack Index Narrow Roll Flip CopySlices Expand Chunk
    Detach Contiguous AsStrided Neg NativeDropout ConstantPadNd""".split()
)
_TOTALS = frozenset({"Mean", "Sum", "AvgPool2D", "AdaptiveAvgPool2D", "AvgPool1D", "AdaptiveAvgPool1D"})
_LAYER_NORMS = frozenset({"NativeLayerNorm", "LayerNorm", "NativeGroupNorm", "GroupNorm"})
_RMS_NORMS = frozenset({"FusedRmsNorm", "RmsNorm"})
_BATCH_NORMS = frozenset({"NativeBatchNorm", "CudnnBatchNorm", "BatchNorm", "MkldnnBatchNorm", "MiopenBatchNorm"})


@dataclass(slots=True)
class _Signal:
    """What is expected of an activation: mean square, mean over units, variance between samples."""

    square: float = math.nan
    mean: float = 0.0
    between: float = math.nan
    gaussian: bool = False
    why: str = ""


@dataclass(slots=True)
class _Pull:
    """What is expected of a gradient: squared norm relative to the last weights (as a logarithm), and its spread."""

    level: float = -math.inf  # log10 of the squared norm
    most: float = -math.inf  # the same where tokens may share one gradient: as if they all did
    beta: float = 0.0
    kurtosis: float = 1.0
    why: str = ""


def predict_from(sketch: Sketch, ledger: Ledger | None = None) -> Forecast:
    """Theory on a sketched network, and where a measurement is off it.

    Args:
        sketch: The operations, weights and input that were read.
        ledger: The measurement to compare with; None: a pure prediction.

    Returns:
        Decades of every layer's gradient relative to the last one's, with the band that 95 % of
        random draws of such weights fall in; None where theory can't tell, with the reason.
    """
    sketch = _once(sketch)
    signals = _forward(sketch)
    pulls = _backward(sketch, signals)
    below, _ = _places(sketch)
    rows: list[ForecastLayer] = []
    first: list[ForecastLayer] = []
    for i in range(len(sketch.parts) - 1, -1, -1):
        if not sketch.matrix[i]:
            continue
        row = _row(sketch, signals, pulls, i)
        rows.append(row)
        if not below[i]:
            first.append(row)
    known = [row for row in first if row.decades is not None and row.band is not None]
    total = spread = None
    if first and len(known) == len(first):
        top = max(known, key=lambda row: row.decades or -math.inf)
        total, spread = top.decades, top.band
    layers = tuple(rows)
    surprises = _surprises(layers, ledger) if ledger is not None else ()
    return Forecast(decades=total, band=spread, layers=layers, surprises=surprises)


def _once(sketch: Sketch) -> Sketch:
    """Weights that are used again (a recurrence, shared layers) are not the fresh ones theory speaks of."""
    uses: dict[int, int] = {}
    for part in sketch.parts:
        if part.key and not part.base.startswith("Embedding"):
            uses[part.key] = uses.get(part.key, 0) + 1
    for part in sketch.parts:
        if uses.get(part.key, 0) > 1:
            part.gain = math.nan
    return sketch


def _row(sketch: Sketch, signals: list[_Signal], pulls: list[_Pull], i: int) -> ForecastLayer:
    pull, signal = pulls[i], signals[i]
    q = signal.square if math.isfinite(signal.square) else None
    if pull.why or not math.isfinite(pull.level):
        why = pull.why or "the gradient's size at this layer is beyond theory"
        return ForecastLayer(path=sketch.parts[i].path, q=q, decades=None, band=None, why=why)
    low, high = pull.level / 2, max(pull.most, pull.level) / 2
    decades = (low + high) / 2
    floor, ceiling = band(low, beta=pull.beta, sigmas=SIGMAS), band(high, beta=pull.beta, sigmas=SIGMAS)
    return ForecastLayer(
        path=sketch.parts[i].path,
        q=q,
        decades=decades,
        band=(floor.low - SLACK, ceiling.high + SLACK),
        why=signal.why,
    )


def _places(sketch: Sketch) -> tuple[list[bool], list[bool]]:
    """Per node: a weight on its data side; a weight between it and the loss."""
    count = len(sketch.parts)
    below, above = [False] * count, [False] * count
    for i in range(count - 1, -1, -1):
        below[i] = any(below[j] or sketch.matrix[j] for _, j, _ in sketch.edges[i])
    for i in range(count):
        if above[i] or sketch.matrix[i]:
            for _, j, _ in sketch.edges[i]:
                above[j] = True
    return below, above


# ---- forward


def _forward(sketch: Sketch) -> list[_Signal]:
    count = len(sketch.parts)
    signals = [_Signal(why="nothing known enters") for _ in range(count)]
    batch_norms = any(part.base in _BATCH_NORMS for part in sketch.parts)  # they alone ask what differs
    ends: dict[int, tuple[float, float]] = {i: value for (i, _), value in sketch.ends.items()}
    for i in range(count - 1, -1, -1):
        if i in ends:
            square, share = ends[i]
            signals[i] = _Signal(square=square, between=square * (share if math.isfinite(share) else 1.0))
            continue
        signals[i] = _signal(sketch, signals, i, batch_norms=batch_norms)
    return signals


def _divided(sketch: Sketch, i: int) -> int | None:
    """Of a norm written by hand, x times rsqrt(mean x^2): which input is x; None for other operations."""
    part, edges = sketch.parts[i], sketch.edges[i]
    if part.kind != "norm" or part.base not in ("Mul", "Div") or len(edges) != 2:
        return None
    for n, (_, j, _) in enumerate(edges):
        if sketch.parts[j].base in ("Rsqrt", "Sqrt", "Reciprocal", "Pow", "LinalgVectorNorm"):
            return 1 - n
    return None


def _signal(sketch: Sketch, signals: list[_Signal], i: int, *, batch_norms: bool) -> _Signal:
    part = sketch.parts[i]
    inputs = [signals[j] for _, j, _ in sketch.edges[i]]
    if (x := _divided(sketch, i)) is not None:
        a = inputs[x]
        if not (math.isfinite(a.square) and a.square > 0):
            return _Signal(why=a.why or "unknown input")
        return _Signal(square=1.0, between=a.between / a.square, gaussian=a.gaussian)
    unknown = next((s.why or "unknown input" for s in inputs if not math.isfinite(s.square)), "")
    if not inputs or unknown:
        return _Signal(why=unknown or "no input")
    a = inputs[0]
    if sketch.matrix[i]:
        if len(inputs) != 1 or not math.isfinite(part.gain):
            return _Signal(why=f"{part.path or part.base}: used again and again, or its weights can't be read")
        return _Signal(square=part.gain * a.square + part.bias, between=part.gain * a.between, gaussian=True)
    if part.kind == "slope" and part.phi is not None and len(inputs) == 1:
        if not a.gaussian:
            return _Signal(why=f"{part.path or part.base}: what it reads is not Gaussian")
        moments = _moments(*part.phi, a.square)
        return _Signal(
            square=moments.second,
            mean=moments.mean,
            between=_between(part.phi, a) if batch_norms and math.isfinite(a.between) else math.nan,
        )
    if part.base in _LAYER_NORMS:
        return _Signal(square=part.gain + part.bias, between=part.gain, gaussian=a.gaussian)
    if part.base in _RMS_NORMS:
        return _Signal(square=part.gain, between=part.gain * a.between / a.square, gaussian=a.gaussian)
    if part.base in _BATCH_NORMS:
        return _Signal(square=part.gain + part.bias, between=part.gain, gaussian=a.gaussian)
    if part.base in ("Add", "Sub"):
        if part.outside:
            return _Signal(why=f"{part.path + ' ' if part.path else ''}add: adds a tensor from outside the graph")
        cross = 2 * inputs[0].mean * inputs[1].mean if len(inputs) == 2 else 0.0
        return _Signal(
            square=sum(s.square for s in inputs) + part.bias + cross,
            mean=sum(s.mean for s in inputs),
            between=sum(s.between for s in inputs),
            gaussian=all(s.gaussian for s in inputs),
        )
    if part.base == "Mul" and len(inputs) == 1 and math.isfinite(part.gain):
        return _Signal(
            square=part.gain * a.square,
            mean=math.sqrt(part.gain) * a.mean,
            between=part.gain * a.between,
            gaussian=a.gaussian,
        )
    if "ScaledDotProduct" in part.base and part.tokens and len(inputs) == 3:
        mixed = inputs[-1].square * _mixing(part.tokens, part.causal)
        return _Signal(square=mixed, between=mixed, gaussian=inputs[-1].gaussian)
    if part.base in _SAME or part.keep < 1.0:
        share = 1.0 / part.keep
        return _Signal(square=a.square * share, mean=a.mean, between=a.between * share, gaussian=a.gaussian)
    return _Signal(why=f"{part.path + ' ' if part.path else ''}{part.base.lower()}: not in the theory")


def _mixing(tokens: int, causal: bool) -> float:
    """Mean sum of squared attention weights when they are uniform, tokens independent."""
    return sum(1.0 / n for n in range(1, tokens + 1)) / tokens if causal else 1.0 / tokens


_KNOWN: dict[str, Activation] = {}
_TABLES: dict[str, dict[int, tuple[float, float, float, float]]] = {}
_STEPS, _BLOCK = 64, 32  # lattice points a decade of q; points computed at once


def _activation(name: str, phi: Phi) -> Activation:
    if name not in _KNOWN:
        _KNOWN[name] = read_activation(phi, name=name)
        _TABLES[name] = {}
    return _KNOWN[name]


def _moments(name: str, phi: Phi, q: float) -> Moments:
    """Moments at q from a lattice in log q, linear in between: relative error below 1e-4."""
    activation = _activation(name, phi)
    if not 1e-12 < q < 1e12:
        return moments_at(activation, q)
    table = _TABLES[name]
    place = math.log10(q) * _STEPS
    low = math.floor(place)
    for n in (low, low + 1):
        if n not in table:
            block = range(n - n % _BLOCK, n - n % _BLOCK + _BLOCK)
            at = torch.tensor([10.0 ** (k / _STEPS) for k in block], dtype=torch.float64)
            curves = moment_curves(activation, at)
            rows = torch.stack(
                (curves.mean / at.sqrt(), curves.second / at, curves.slope_second, curves.slope_fourth)
            ).T.tolist()
            table.update(zip(block, (tuple(row) for row in rows), strict=True))
    t = place - low
    mean, second, slope, fourth = (x + t * (y - x) for x, y in zip(table[low], table[low + 1], strict=True))
    return Moments(
        q=q,
        mean=mean * math.sqrt(q),
        second=second * q,
        slope_mean=math.nan,
        slope_second=slope,
        slope_kurtosis=fourth / slope**2 if 0 < slope < math.inf else math.nan,
        second_rate=math.nan,
        error=1e-4,
    )


def _between(phi: tuple[str, Phi], a: _Signal) -> float:
    """Variance of phi between samples whose pre-activations share q - between of their variance."""
    name, function = phi
    if a.between >= a.square * (1 - 1e-9):
        moments = _moments(name, function, a.square)
        return moments.variance
    moments = _moments(name, function, a.square)
    share = a.between / a.square if a.square > 0 else 0.0
    if share < 0.05:  # linear in the difference: slope squared times it
        return moments.slope_second * a.between
    activation = _activation(name, function)
    joint = expect_product(activation.phi, activation, a.square, 1.0 - share)
    return max(moments.second - joint, 0.0)


# ---- backward


def _backward(sketch: Sketch, signals: list[_Signal]) -> list[_Pull]:
    count = len(sketch.parts)
    pulls = [_Pull() for _ in range(count)]
    _, above = _places(sketch)
    for i in range(count):
        if sketch.matrix[i] and not above[i]:
            pulls[i] = _Pull(level=0.0, most=0.0)
    for i in range(count):
        pull = pulls[i]
        if pull.level == -math.inf and not pull.why:
            continue
        for n, (_, j, _) in enumerate(sketch.edges[i]):
            _send(sketch, signals, i, n, j, pull, pulls)
    return pulls


def _send(sketch: Sketch, signals: list[_Signal], i: int, n: int, j: int, pull: _Pull, pulls: list[_Pull]) -> None:
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


def _factor(sketch: Sketch, signals: list[_Signal], i: int, n: int, j: int) -> tuple[float, float, str]:
    """Expected factor on the squared norm from node i to its input n, its slopes' kurtosis, or why not."""
    part, a = sketch.parts[i], signals[j]
    data = sketch.edges[i]
    name = f"{part.path + ' ' if part.path else ''}{part.base.lower()}"
    if (x := _divided(sketch, i)) is not None:
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
        moments = _moments(*part.phi, a.square)
        kurtosis = moments.slope_kurtosis if math.isfinite(moments.slope_kurtosis) else 1.0
        return moments.slope_second, kurtosis, ""
    if part.base in ("Add", "Sub"):
        return 1.0, 1.0, ""
    if part.base in _LAYER_NORMS | _RMS_NORMS | _BATCH_NORMS:
        spread = {True: a.between, False: a.square if part.base in _RMS_NORMS else a.square - a.mean**2}
        variance = spread[part.base in _BATCH_NORMS]
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
        return (_mixing(part.tokens, part.causal) if n == 2 else 0.0), 1.0, ""
    if part.base in _SAME or part.keep < 1.0:
        return 1.0 / part.keep, 1.0, ""
    return math.nan, 1.0, f"{name}: not in the theory"


# ---- beside the measurement


def _surprises(layers: tuple[ForecastLayer, ...], ledger: Ledger) -> tuple[Surprise, ...]:
    """Layers at which the measured profile leaves the predicted one, the largest jump first."""
    measured = [w for w in ledger.weights if w.norm > -math.inf]
    if len(measured) != len(layers) or not measured:
        return ()
    top = max((w.norm for w in measured if w.last), default=math.nan)
    found: list[tuple[float, Surprise]] = []
    off_before = 0.0
    for row, weight in zip(reversed(layers), reversed(measured), strict=True):  # loss first
        if row.decades is None or row.band is None or math.isnan(top):
            continue
        here = weight.norm - top
        off = here - row.decades
        half = (row.band[1] - row.band[0]) / 2
        jump = off - off_before
        outside = not row.band[0] <= here <= row.band[1]
        if outside and abs(jump) > max(SURPRISE, 0.25 * half):
            found.append(
                (
                    abs(jump),
                    Surprise(
                        path=row.path, quantity="decades below the last layer", measured=here, predicted=row.decades,
                        meaning=_meaning(jump),
                    ),
                )
            )  # fmt: skip
        off_before = off
    found.sort(key=lambda item: -item[0])
    return tuple(surprise for _, surprise in found[:5])


def _meaning(jump: float) -> str:
    if jump < 0:
        return (
            "less arrives than its weights and slopes explain: a detached or masked part, weights that oppose "
            "each other, or trained weights (theory speaks of random ones)"
        )
    return (
        "more arrives than its weights and slopes explain: weights aligned with one direction, a gradient that "
        "many samples share, or trained weights (theory speaks of random ones)"
    )


def sketch_of(model: nn.Module, inputs: Any) -> Sketch:
    """Run a model forward once and sketch it."""
    sketcher = Sketcher()
    observe(model, inputs, loss=None, step=None, within=None, autocast=None, verb="predict", observer=sketcher)
    assert sketcher.sketch is not None
    return sketcher.sketch


def predict(model: nn.Module, inputs: Tensor | Any) -> Forecast:
    """What mean-field theory expects of a network before a single step.

    Reads the model's own layers, the actual weights' variances and the input's mean square, and
    predicts the activation variance q and the gradient's decades at every layer, with the band of
    finite width (Hanin and Nica 2018; the width and fourth moment of the slopes).

    Args:
        model: Any module; what theory can't speak about is marked layer by layer.
        inputs: One batch as the model takes it: a tensor, a tuple or a dict.

    Returns:
        The forecast; `decades` is None where some part of the way is beyond theory.

    Raises:
        FadeoutError, ModelError: As `measure`.
    """
    return predict_from(sketch_of(model, inputs))
