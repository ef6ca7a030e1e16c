"""Carried states: the values that the lines of a loop hand from one step to the next, found in the graph of one pass.

A line that ran several times makes several operations.  Lines whose operations read each other's
earlier results in a ring are a loop; what crosses from one turn of the ring to the next is its state.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from fadeout.probe.graph import kinds
from fadeout.probe.graph.ends import Slot
from fadeout.probe.graph.graph import Graph, Site

LEAST = 8  # steps from which a loop is time
STRIDE = 8  # calls of one line in one step: the layers of a stack that is stepped together
WIDE = 8  # values that a state is made of
_BUFFERS = frozenset({"CopySlices", "Cat", "Stack"})  # they gather results, and are no state themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A loop's state at every step that the graph holds.

    Attributes:
        states: Per step: the slots that hold the state, the one made last first.
        turns: Per step: when the last of them was made.
        calls: Steps in the whole forward; more than `states` where the graph is cut.
        sites: The lines of the loop.
        start: When its first step began: the same lines may have run for another layer before.
    """

    states: tuple[tuple[Slot, ...], ...]
    turns: tuple[int, ...]
    calls: int
    sites: frozenset[Site]
    start: int


@dataclass(slots=True)
class Calls:
    """Operations of the graph by the line that made them.

    Attributes:
        turn: Per node: when it was made; -1 for leaves and for what belongs to the loss.
        site: The line of every call, by its turn.
        nodes: The nodes of every call, the loss side first.
        turns: The calls of every line, in order.
    """

    graph: Graph
    turn: list[int]
    site: dict[int, Site] = field(default_factory=dict)
    nodes: dict[int, list[int]] = field(default_factory=dict)
    turns: dict[Site, list[int]] = field(default_factory=dict)


def read_calls(graph: Graph) -> Calls:
    """Every call of a line that ran often enough."""
    turn = [
        -1 if i in graph.leaves or of_loss else at
        for i, (at, of_loss) in enumerate(zip(graph.turn, graph.loss_side, strict=True))
    ]
    calls = Calls(graph, turn)
    by_site: dict[Site, set[int]] = defaultdict(set)
    for i, at in enumerate(turn):
        code, instruction = graph.line[i]
        if at < 0 or code is None:
            continue
        site = (graph.runner[i], id(code), instruction)
        if len(graph.calls.get(site, ())) >= LEAST:
            by_site[site].add(at)
            calls.site[at] = site
            calls.nodes.setdefault(at, []).append(i)
    calls.turns = {site: sorted(found) for site, found in by_site.items() if len(found) > 1}
    return calls


def carried(calls: Calls, rings: list[frozenset[Site]]) -> list[Carried]:
    """Every loop that hands a state on, whatever it reads besides."""
    found = []
    for ring in rings:
        line = max(ring, key=lambda site: (len(calls.turns[site]), calls.turns[site][-1]))
        stride = _stride(calls, ring, line)
        runs = _runs(calls, ring, line, stride) if stride else []
        for run in runs:
            cut = bisect_left(calls.graph.calls[line], run[0]) if len(runs) == 1 else 0
            steps = (len(run) + cut) // stride
            if steps >= LEAST and len(run) // stride > 1:
                state = _state(calls, ring, run, stride, steps)
                if state is not None:
                    found.append(state)
    return found


def rings_of(calls: Calls) -> list[frozenset[Site]]:
    """Lines that read each other's results in a ring: the strongly connected parts of the graph of lines."""
    graph, turn, site = calls.graph, calls.turn, calls.site
    reads: dict[Site, set[Site]] = {one: set() for one in calls.turns}
    for i, at in enumerate(turn):
        mine = site.get(at)
        if mine not in reads:
            continue
        for _, j, _ in graph.edges[i]:
            if turn[j] < at and (other := site.get(turn[j])) in reads:
                reads[mine].add(other)
    back: dict[Site, set[Site]] = {one: set() for one in reads}
    for one, others in reads.items():
        for other in others:
            back[other].add(one)
    seen: set[Site] = set()
    finished = [one for start in reads for one in _finished(start, reads, seen)]
    seen = set()
    parts = [frozenset(_finished(start, back, seen)) for start in reversed(finished) if start not in seen]
    return [part for part in parts if len(part) > 1 or any(one in reads[one] for one in part)]


def _finished(start: Site, edges: dict[Site, set[Site]], seen: set[Site]) -> Iterator[Site]:
    """What a walk from one line finds, each after all that lies behind it."""
    if start in seen:
        return
    seen.add(start)
    stack = [(start, iter(edges[start]))]
    while stack:
        one, others = stack[-1]
        for other in others:
            if other not in seen:
                seen.add(other)
                stack.append((other, iter(edges[other])))
                break
        else:
            stack.pop()
            yield one


def _reads_back(calls: Calls, ring: frozenset[Site], late: int, early: int) -> bool:
    """Whether one call reads another through calls of the ring between them."""
    edges, turn, site = calls.graph.edges, calls.turn, calls.site
    waiting = list(calls.nodes[late])
    seen = set(waiting)
    while waiting:
        for _, j, _ in edges[waiting.pop()]:
            if turn[j] == early:
                return True
            if early < turn[j] <= late and j not in seen and site.get(turn[j]) in ring:
                seen.add(j)
                waiting.append(j)
    return False


def _stride(calls: Calls, ring: frozenset[Site], line: Site) -> int:
    """Calls of a line in one step: 1, or as many as there are layers side by side; 0 where the last read no other."""
    turns = calls.turns[line]
    for stride in range(1, min(STRIDE, len(turns) // 2) + 1):
        last = range(len(turns) - 1, max(stride - 1, len(turns) - 2 - stride), -1)
        if all(_reads_back(calls, ring, turns[n], turns[n - stride]) for n in last):
            return stride
    return 0


def _runs(calls: Calls, ring: frozenset[Site], line: Site, stride: int) -> list[list[int]]:
    """Stretches of calls that each read the one before: a function called for two layers makes two."""
    runs: list[list[int]] = [[]]
    for at in calls.turns[line]:
        run = runs[-1]
        if len(run) >= stride and not _reads_back(calls, ring, at, run[-stride]):
            runs.append([])
        runs[-1].append(at)
    return runs


def _state(calls: Calls, ring: frozenset[Site], run: list[int], stride: int, steps: int) -> Carried | None:
    """Where in the ring the fewest values cross to the next step, and which."""
    body = run[-1] - run[-1 - stride]
    within = range(max(run[0] - body, 0), run[-1] + body)
    members = sorted(t for site in ring for t in calls.turns[site] if t in within)
    crossing = _crossing(calls, ring, members)
    best: tuple[float, float, int] | None = None
    at: list[int] = []
    for site in ring:
        mine = [t for t in calls.turns[site] if t in within]
        mine = mine[(len(mine) - 1) % stride :: stride]  # the last call of every step
        if len(mine) < 2 or len(mine) < len(run) // stride - 1:
            continue
        inner = mine[1:-1] or mine[:-1]
        narrow = median(len(crossing[t]) for t in inner)
        read = median(_readers(calls, t) for t in inner)
        if 0 < narrow <= WIDE and (best is None or (narrow, -read, -mine[-1]) < best):
            best, at = (narrow, -read, -mine[-1]), mine
    if best is None:
        return None
    pattern = _pattern(calls, at[len(at) // 2 - (len(at) == 2)], crossing)
    states = [(t, _at(calls, pattern, t)) for t in at]
    known = [(t, slots) for t, slots in states if slots is not None]
    if len(known) < 2 or states[-1][1] is None:
        return None
    return Carried(
        states=tuple(slots for _, slots in known),
        turns=tuple(t for t, _ in known),
        calls=max(steps, len(known)),
        sites=ring,
        start=within.start,
    )


def _readers(calls: Calls, turn: int) -> int:
    return max(calls.graph.feeders.get((i, 0), 0) for i in calls.nodes[turn])


def _crossing(calls: Calls, ring: frozenset[Site], members: list[int]) -> dict[int, list[Slot]]:
    """Per call: the values made by then that calls of the ring read later."""
    graph, turn, inside = calls.graph, calls.turn, set(members)
    last: dict[Slot, int] = {}
    for at in members:
        for i in calls.nodes[at]:
            for _, j, slot in graph.edges[i]:
                if turn[j] < at and turn[j] in inside and kinds.base_name(graph.names[j]) not in _BUFFERS:
                    last[(j, slot)] = at
    made: dict[int, list[Slot]] = defaultdict(list)
    for value in last:
        made[turn[value[0]]].append(value)
    crossing: dict[int, list[Slot]] = {}
    alive: list[Slot] = []
    for at in members:
        alive = [value for value in alive if last[value] > at] + made.get(at, [])
        crossing[at] = alive
    return crossing


_Place = tuple[Site, int, int, int]  # line, which of its calls counted back, which of that call's nodes, slot


def _pattern(calls: Calls, turn: int, crossing: dict[int, list[Slot]]) -> list[_Place]:
    """What crosses at one call, said so that it can be found at any other."""
    places = []
    for node, slot in sorted(crossing[turn], key=lambda s: -calls.turn[s[0]]):
        made = calls.turn[node]
        turns = calls.turns[calls.site[made]]
        back = bisect_right(turns, turn) - 1 - bisect_left(turns, made)
        places.append((calls.site[made], back, calls.nodes[made].index(node), slot))
    return places


def _at(calls: Calls, pattern: list[_Place], turn: int) -> tuple[Slot, ...] | None:
    """The same values at another call; None where one is missing."""
    found = []
    for site, back, n, slot in pattern:
        k = bisect_right(calls.turns[site], turn) - 1 - back
        nodes = calls.nodes[calls.turns[site][k]] if k >= 0 else []
        if n >= len(nodes):
            return None
        found.append((nodes[n], slot))
    return tuple(found)


def pairs(state: Carried, *, most: int = 8) -> list[int]:
    """Numbers of steps, spread evenly, that have one before them."""
    n = len(state.states) - 1
    spread = [1 + round(k * (n - 1) / (most - 1)) for k in range(most)] if n > most else list(range(1, n + 1))
    return [b for a, b in pairwise([0, *spread]) if a != b]
