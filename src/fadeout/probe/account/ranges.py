"""Range: where gradient norms leave what float32 can tell, and which pass would tell more.

Norms in float32 are trusted between 1e-15 and 1e15, where squares keep their digits.  Beyond, the
pass runs again with norms in float64; where the gradients themselves come near the end of float32,
with a larger seed; where that can't reach, on a float64 copy.  A larger seed assumes that backward
is linear: a hook that clamps, or a cast to half, is not, and then nothing may be concluded from it.
"""

import math
from collections.abc import Hashable, Iterator

from fadeout.call import privates
from fadeout.probe.account.passes import Pass

SAFE_LOW, SAFE_HIGH = 1e-15, 1e15  # outside, float32 squares leave float32
SEEN_LOW, SEEN_HIGH = 1e-30, 1e37  # outside, elements of a gradient of this norm leave float32
DOUBLE_LOW, DOUBLE_HIGH = 1e-150, 1e150  # outside, squares leave float64
ALIKE = 1e-3  # decades up to which two seeds agree
NEAR = 0.05  # decades up to which a float64 copy speaks for the network
MARGIN = 6.0  # decades above the floor that a prediction keeps


def needs_more(done: Pass) -> bool:
    """Whether a norm left the range in which this pass can be trusted."""
    low, high = _trust(done)
    if any(v != 0 and not low <= v <= high for v in done.tape.arrived.values()):
        return True
    return lost_below(done, 1e-3 if done.half else 1e-9)


def _trust(done: Pass) -> tuple[float, float]:
    """Between which sizes, the seed still in them, this pass's norms are right."""
    if done.in_double or done.attempt.double:
        return DOUBLE_LOW, DOUBLE_HIGH
    return (SEEN_LOW, SEEN_HIGH) if done.attempt.exact else (SAFE_LOW, SAFE_HIGH)


def lost_below(done: Pass, size: float) -> bool:
    """Whether a gradient became exactly zero out of one that was smaller than `size` already.

    Such a zero may be an underflow; from a healthy size to zero in one operation is a true one.
    """
    tape, graph = done.tape, done.graph
    largest: dict[int, float] = {}
    for (i, _), v in tape.arrived.items():
        largest[i] = max(largest.get(i, 0.0), v)
    return any(
        0 < largest.get(i, 0.0) < size and tape.sent.get((i, e), tape.arrived.get((j, k), 1.0)) == 0
        for i, edges in enumerate(graph.edges)
        for e, j, k in edges
    )


def wider_seeds(done: Pass) -> Iterator[float]:
    """Seeds that may bring every norm into range, the plainest first; none where no seed can.

    1 where only the squares of norms were lost; else a power of two that moves the smallest norms up
    and keeps the largest finite.
    """
    values = [abs(v) for v in done.tape.arrived.values() if v != 0 and math.isfinite(v)]
    smallest, largest = min(values, default=1.0), max(values, default=1.0)
    infinite = any(not math.isfinite(v) for v in done.tape.arrived.values())
    lost = lost_below(done, 1e-3 if done.half else 1e-9)
    if not lost and not infinite and not done.in_double and smallest >= SEEN_LOW and largest <= SEEN_HIGH:
        yield 1.0
        return
    scale = largest_seed(done)
    low = math.log10(DOUBLE_LOW if done.in_double else SEEN_LOW)
    if scale == 1.0 or (not done.half and _predicted(done) + math.log10(scale) < low - MARGIN):
        return
    yield scale


def largest_seed(done: Pass) -> float:
    """A power of two for the seed that moves the smallest norms up and keeps the largest finite."""
    largest = max((v for v in done.tape.arrived.values() if 0 < v < math.inf), default=1.0)
    infinite = any(v == math.inf for v in done.tape.arrived.values())
    most = 480 if done.in_double else 100  # squares must stay inside the format, too
    room = (14 if done.half else most + 20) - math.ceil(math.log2(largest) if largest > 0 else 0)
    return 2.0 ** (-most if infinite and not done.half else max(min(room, most), -most))


def _predicted(done: Pass) -> float:
    """log10 of the smallest norm to expect if the way back goes on fading as it does: 0 where nothing was lost."""
    levels = [
        math.log10(v)
        for i, applies in enumerate(done.graph.matrix)
        if applies and (v := max((done.tape.arrived.get((i, k), 0.0) for k in range(2)), default=0.0)) > 0
    ]
    total = sum(done.graph.matrix)
    if len(levels) < 4:
        return min(levels, default=0.0)
    rate = (levels[-1] - levels[0]) / (len(levels) - 1)
    return min(levels[-1], levels[0] + rate * (total - 1))


def agree(first: Pass, second: Pass, *, within: float) -> bool:
    """Whether two passes with different seeds say the same wherever both can be trusted.

    They do where backward is linear in its seed.
    """
    alike = first.graph.names == second.graph.names
    lengths = _lengths(second, by_layer=not alike)
    for key, length in _lengths(first, by_layer=not alike).items():
        other = lengths.get(key)
        if other is None or not (_trusted(first, length) and _trusted(second, other)):
            continue
        a, b = math.log10(length / first.tape.scale), math.log10(other / second.tape.scale)
        if abs(a - b) > within:
            return False
    return True


def _lengths(done: Pass, *, by_layer: bool) -> dict[Hashable, float]:
    """Norms by their place; by layer and use where another dtype made another graph."""
    if not by_layer:
        return dict(done.tape.arrived)
    uses: dict[str, int] = {}
    found: dict[Hashable, float] = {}
    for i, applies in enumerate(done.graph.matrix):
        if applies:
            path = done.graph.path[i]
            uses[path] = uses.get(path, 0) + 1
            found[path, uses[path]] = done.tape.arrived.get((i, 0), 0.0)
    return found


def _trusted(done: Pass, length: float) -> bool:
    low, high = _trust(done)
    return (max(low, 1e-2) if done.half else 10 * low) <= length <= high / 10


def may_bend(done: Pass) -> bool:
    """Whether something on the way may treat large and small gradients differently.

    Autograd's own operations don't; a hook on a tensor or a module, or a custom function, may.
    """
    modules = done.names.model.modules()
    return done.names.hooked or done.graph.opaque or any(privates.has_backward_hooks(m) for m in modules)
