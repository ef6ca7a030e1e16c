"""The forecast: mean-field theory on the ledger's own operations, beside the measurement."""

import math
from typing import Any

import numpy as np
from torch import Tensor, nn

from fadeout.call.question import Question
from fadeout.forecast.offsets import fold_offsets
from fadeout.forecast.pulls import Pull, expect_pulls
from fadeout.forecast.scatter import Dice
from fadeout.forecast.signals import Signal, expect_signals
from fadeout.forecast.surprises import find_surprises
from fadeout.probe.graph.graph import weights_around
from fadeout.probe.instruments.sketch import Sketch, Sketcher
from fadeout.probe.process import leaves_no_trace
from fadeout.probe.session import Session
from fadeout.records import Forecast, ForecastLayer, Ledger

SLACK = 0.02  # decades, of a plain network: rows of unequal size; independent of the draw, so added in squares
ROUGH = 0.2  # decades, where norms, convolutions, attention or meeting gradients are known only roughly
SHARE = 0.95  # of networks that the band holds


def predict_from(sketch: Sketch, ledger: Ledger | None = None) -> Forecast:
    """Theory on a sketched network, and where a measurement is off it.

    Args:
        sketch: The operations, weights and input that were read.
        ledger: The measurement to compare with; None: a pure prediction.

    Returns:
        Decades of every layer's gradient relative to the last one's, with the band that 95 % of
        random draws of such weights fall in; None where theory can't tell, with the reason.
        `decades` is the middle of the band: half of the networks lie below.
    """
    sketch = fold_offsets(_once(sketch))
    dice = Dice()
    signals = expect_signals(sketch, dice)
    pulls = expect_pulls(sketch, signals, dice)
    below, _ = weights_around(sketch.edges, sketch.matrix, sketch.to_data)
    rows: list[ForecastLayer] = []
    first: list[ForecastLayer] = []
    for i in range(len(sketch.parts) - 1, -1, -1):
        if not sketch.matrix[i]:
            continue
        row = _row(sketch, signals, pulls, i)
        rows.append(row)
        if not below[i] and sketch.to_data[i]:
            first.append(row)
    known = [row for row in first if row.decades is not None and row.band is not None]
    total = spread = None
    if first and len(known) == len(first):
        top = max(known, key=lambda row: row.decades or -math.inf)
        total, spread = top.decades, top.band
    layers = tuple(rows)
    surprises = find_surprises(layers, ledger) if ledger is not None else ()
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


def _row(sketch: Sketch, signals: list[Signal], pulls: list[Pull], i: int) -> ForecastLayer:
    pull, signal = pulls[i], signals[i]
    q = signal.square if math.isfinite(signal.square) else None
    if pull.why or not math.isfinite(pull.level):
        why = pull.why or "the gradient's size at this layer is beyond theory"
        return ForecastLayer(path=sketch.parts[i].path, q=q, decades=None, band=None, why=why)
    low, high = pull.level / 2, max(pull.most, pull.level) / 2
    tail = 0.5 - SHARE / 2
    floor, middle, ceiling = (
        float(end) / (2 * math.log(10)) for end in np.quantile(pull.wander, (tail, 0.5, 1 - tail))
    )  # fmt: skip
    centre = (low + high) / 2 + middle
    return ForecastLayer(
        path=sketch.parts[i].path,
        q=q,
        decades=centre,
        band=_widened(low + floor, centre, high + ceiling, rough=pull.rough),
        why=signal.why,
    )


def _widened(low: float, centre: float, high: float, *, rough: bool) -> tuple[float, float]:
    if rough:
        return low - ROUGH, high + ROUGH
    return centre - math.hypot(centre - low, SLACK), centre + math.hypot(high - centre, SLACK)


def sketch_of(model: nn.Module, inputs: Any) -> Sketch:
    """Run a model forward once and sketch it."""
    question = Question(verb="predict", model=model, batch=inputs)
    sketcher = Sketcher(question, "whole")
    with Session(question) as session:
        session.take(sketcher)
    assert sketcher.sketch is not None
    return sketcher.sketch


@leaves_no_trace
def predict(model: nn.Module, inputs: Tensor | Any) -> Forecast:
    """What mean-field theory expects of a network before a single step.

    Reads the model's own layers, the actual weights' variances and the input's mean square, and
    predicts the activation variance q and the gradient's decades at every layer, with the band that
    networks of this width fall into.  No loss is known here: the gradients of the rows at the output are
    taken to point in random directions, as those of cross entropy do before training.

    Args:
        model: Any module; what theory can't speak about is marked layer by layer.
        inputs: One batch as the model takes it: a tensor, a tuple or a dict.

    Returns:
        The forecast; `decades` is None where some part of the way is beyond theory.

    Raises:
        FadeoutError, ModelError: As `measure`.
    """
    return predict_from(sketch_of(model, inputs))
