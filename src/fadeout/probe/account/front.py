"""The front: the joint gradient of everything in flight towards the data, after every executed operation.

J starts as the loss's own gradient and ends as the joint gradient of all data ends; it changes
only when an operation runs, so log10 J telescopes over every executed operation of any graph.
"""

import math
from dataclasses import dataclass

from fadeout.probe.account.tape import Tape
from fadeout.probe.graph.ends import Slot
from fadeout.probe.graph.graph import Graph
from fadeout.records.decades import log10


@dataclass(slots=True)
class Move:
    """What one executed operation did to J.

    Attributes:
        node: Which operation.
        own: What it does itself: log10(sqrt(J^2 - |g_in|^2 + |g_out|^2) / J), decades.
        merge: The rest: sending one gradient two ways, or meeting what was already there.
        width: Slots in flight that are still to run, after it ran.
        only: The one slot in flight where width is 1.
    """

    node: int
    own: float
    merge: float
    width: int
    only: Slot | None


@dataclass(slots=True)
class Front:
    """The whole account of one pass.

    Attributes:
        moves: Executed operations, in order; own + merge sum to log_gain.
        log_gain: log10 J at the ends.
        closing_error: Against the end gradients that autograd itself returned.
    """

    moves: list[Move]
    log_gain: float
    closing_error: float


class _Exact:
    """A running sum of floats without rounding (Shewchuk's partials): what was added can be taken away."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[float] = []

    def add(self, x: float) -> None:
        parts = self.parts
        kept = 0
        for y in parts:
            if abs(x) < abs(y):
                x, y = y, x
            high = x + y
            low = y - (high - x)
            if low:
                parts[kept] = low
                kept += 1
            x = high
        parts[kept:] = [x] if x else []

    def value(self) -> float:
        return max(math.fsum(self.parts), 0.0)


def sweep(graph: Graph, tape: Tape) -> Front:
    """Follow J through the executed operations of one recorded pass."""
    sums: dict[Slot, dict[tuple[int, int], float]] = {
        slot: {(n, e): value for n, e, value in events} for slot, events in tape.sums.items()
    }
    scale = tape.scale
    main = graph.to_data
    total = _Exact()
    flying: dict[Slot, float] = {}  # squared norm of every slot in flight
    waiting: set[Slot] = set()  # those still to run
    start = tape.arrived.get((0, 0), scale) / scale
    first = start * start
    total.add(first)
    flying[(0, 0)] = first
    if (0, 0) not in graph.ends:
        waiting.add((0, 0))
    squares: dict[int, list[Slot]] = {}
    for slot in graph.feeders:
        squares.setdefault(slot[0], []).append(slot)
    squares.setdefault(0, []).append((0, 0))
    moves: list[Move] = []
    energy = total.value()
    unknown = not math.isfinite(energy)
    for i in tape.order:
        if not main[i]:
            continue
        before = energy
        for slot in squares.get(i, ()):
            if slot in waiting:
                waiting.discard(slot)
                total.add(-flying.pop(slot))
        rest = total.value()
        sent = 0.0
        for e, j, k in graph.edges[i]:
            slot = (j, k)
            if not main[j]:
                continue
            if graph.feeders[slot] > 1:
                raw = tape.sent.get((i, e))
                now = sums.get(slot, {}).get((i, e))
            else:
                raw = now = tape.sent.get((i, e)) if j in graph.leaves else tape.arrived.get(slot)
            if raw is None or now is None:
                continue
            raw, now = raw / scale, now / scale
            sent += raw * raw
            old = flying.get(slot, 0.0)
            new = now * now
            if not math.isfinite(new):
                unknown = True
                new = 0.0
            flying[slot] = new
            if old:
                total.add(-old)
            total.add(new)
            if slot not in graph.ends:
                waiting.add(slot)
        energy = math.nan if unknown else total.value()
        own, merge = _split(before, rest + sent, energy)
        only = next(iter(waiting)) if len(waiting) == 1 else None
        moves.append(Move(node=i, own=own, merge=merge, width=len(waiting), only=only))
    log_gain = half_log(energy)
    given = [v / scale for slot, v in tape.returned.items() if slot in graph.ends]
    returned = sum(v * v for v in given)
    kept = sum(v for slot, v in flying.items() if slot in graph.ends)
    if not given or unknown:
        error = math.nan
    elif kept == returned == 0:
        error = 0.0
    elif kept <= 0 or returned <= 0:
        error = math.inf
    else:
        error = abs(half_log(kept) - half_log(returned))
    return Front(moves=moves, log_gain=log_gain, closing_error=error)


def half_log(square: float) -> float:
    """log10 of a norm from its square; -inf for zero."""
    return log10(square) / 2


def _split(before: float, alone: float, after: float) -> tuple[float, float]:
    """Own part and merging of one operation, from J^2 before, J^2 without merging, J^2 after."""
    if not (math.isfinite(before) and math.isfinite(after) and math.isfinite(alone)):
        return math.nan, 0.0
    if before <= 0:
        return 0.0, 0.0  # nothing was left: the operation that killed it carries the -inf
    if alone <= 0:
        return -math.inf, 0.0
    own = half_log(alone / before) if 0 < alone / before < math.inf else half_log(alone) - half_log(before)
    if after <= 0:
        return own, -math.inf
    return own, half_log(after) - half_log(before) - own
