"""Offsets: a constant added behind an activation becomes part of it, as in sigmoid(x) - 0.5 or 2 * sigmoid(x) - 1.

The mean square of phi + c is not that of phi and c: their means meet.  Elsewhere (before an activation, behind
a norm) a constant stays an operation of its own.
"""

import math

from torch import Tensor

from fadeout.probe.instruments.sketch import Phi, Sketch

_ADDING = frozenset({"Add", "Sub", "Rsub"})


def fold_offsets(sketch: Sketch) -> Sketch:
    """The same sketch, with every constant behind an activation inside that activation."""
    readers = [0] * len(sketch.parts)
    for edges in sketch.edges:
        for _, j, _ in edges:
            readers[j] += 1
    for i, part in enumerate(sketch.parts):
        if part.base not in _ADDING or not part.offset or not math.isfinite(part.offset) or len(sketch.edges[i]) != 1:
            continue
        found = _activation_behind(sketch, i, readers)
        if found is None:
            continue
        j, factor = found
        phi = sketch.parts[j].phi
        assert phi is not None
        sketch.parts[j].phi = _shifted(phi, (-part.offset if part.base == "Rsub" else part.offset) / factor)
        part.offset = 0.0
    return sketch


def _activation_behind(sketch: Sketch, i: int, readers: list[int]) -> tuple[int, float] | None:
    """The activation that only this operation reads, and the factor in between."""
    factor = 1.0
    j = sketch.edges[i][0][1]
    while readers[j] == 1:
        part = sketch.parts[j]
        if part.kind == "slope" and part.phi is not None:
            return j, factor
        if part.base != "Mul" or len(sketch.edges[j]) != 1 or not (math.isfinite(part.gain) and part.gain > 0):
            return None
        factor *= part.sign * math.sqrt(part.gain)
        j = sketch.edges[j][0][1]
    return None


def _shifted(phi: tuple[str, Phi], offset: float) -> tuple[str, Phi]:
    name, function = phi

    def shifted(u: Tensor) -> Tensor:
        return function(u) + offset

    return f"{name} {offset:+.17g}", shifted
