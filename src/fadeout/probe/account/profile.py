"""The profile over depth: the straight line through it, and how many layers really train."""

import math
import statistics

from fadeout.records import EffectiveDepth, Layer, Profile

POINTS = 400  # from which the line is fitted on a regular sample: pairs grow with the square
FEWEST = 4  # weight operations between first and last that a line needs
SEES = 1e-6  # smallest between-sample share that still tells samples apart (DESIGN, effective depth)
MOVES = 2.0  # decades below the largest update ratio within which a layer moves


def straight_line(norms: list[float]) -> Profile | None:
    """Theil-Sen line through log10 gradient norms over weight layers, first and last left out.

    Args:
        norms: log10 norms in decades, data side first.

    Returns:
        Decades gained per layer towards the data (negative fades) and the median absolute
        distance from the line; None where fewer than four layers remain.
    """
    middle = norms[1:-1]
    if len(middle) < FEWEST or not all(math.isfinite(v) for v in middle):
        return None
    every = -(-len(middle) // POINTS)
    points = [(float(n), middle[n]) for n in range(0, len(middle), every)]
    slopes = [(b - a) / (n - m) for k, (m, a) in enumerate(points) for n, b in points[k + 1 :]]
    slope = statistics.median(slopes)
    offset = statistics.median(v - slope * n for n, v in points)
    residual = statistics.median(abs(v - slope * n - offset) for n, v in points)
    return Profile(slope=-slope, residual=residual)


def effective_depth(layers: list[tuple[Layer, float]]) -> EffectiveDepth:
    """The weight layers that both see the input and move.

    Args:
        layers: The layers that ran, each with its pace: the update ratio of the optimizer in
            use or, without one, |dL/dW| / |W|, that of plain SGD up to its rate.
    """
    trained = [(layer, pace) for layer, pace in layers if layer.trained]
    seen = tuple(layer.path for layer, _ in trained if not layer.between_samples <= SEES)
    unknown = all(math.isnan(layer.between_samples) for layer, _ in trained)
    largest = max((pace for _, pace in trained if math.isfinite(pace)), default=0.0)
    moved = tuple(
        layer.path for layer, pace in trained if pace == math.inf or (largest > 0 and pace >= largest * 10**-MOVES)
    )
    known = trained and not unknown and not any(math.isnan(pace) for _, pace in trained)
    return EffectiveDepth(layers=len(set(seen) & set(moved)) if known else None, seen=seen, moved=moved)
