"""Chains: runs of weight layers one behind another, and which layers a way around exists for."""

import math

from fadeout.probe.account.passes import Pass
from fadeout.probe.account.tape import arrivals
from fadeout.probe.graph.graph import Graph, weights_around
from fadeout.records import Chain

LEAST = 3  # weight operations that make a chain
MANY = 3  # neighbours from which an operation is a junction
PRIME = (1 << 61) - 1  # paths are counted modulo it: their number grows exponentially with depth


def chains(done: Pass, passed: frozenset[str]) -> tuple[Chain, ...]:
    """Maximal runs of weight operations with one neighbour on either side, loss side first, with their fade.

    What is left at gates that start nearly shut is no fade of the branch behind them.
    """
    graph = done.graph
    below = _nearest(graph, forward=False)
    above = _nearest(graph, forward=True)
    norms = arrivals(done.tape)
    lost = done.tolls or [0.0] * len(graph.names)
    follower = {
        i: next(iter(below[i]))
        for i, is_matrix in enumerate(graph.matrix)
        if is_matrix and len(below[i]) == 1 and above[next(iter(below[i]))] == {i}
    }
    starts = set(follower) - set(follower.values())
    _, inner = weights_around(graph.edges, graph.matrix, graph.to_data)
    ends = [i for i, m in enumerate(graph.matrix) if m and not inner[i] and graph.to_data[i]]
    top = max((_log(norms.get(i, 0.0)) + lost[i] for i in ends), default=-math.inf)
    found = []
    for start in sorted(starts):
        run = [start]
        while run[-1] in follower:
            run.append(follower[run[-1]])
        if len(run) < LEAST:
            continue
        levels = [_log(norms.get(i, 0.0)) + lost[i] for i in run]
        lowest = min(range(len(run)), key=lambda n: levels[n])
        found.append(
            Chain(
                layers=tuple(graph.path[i] for i in run),
                fade=levels[lowest] - levels[0] if levels[0] > -math.inf else math.nan,
                lowest=graph.path[run[lowest]],
                below=levels[lowest] - top if top > -math.inf and inner[run[0]] else math.nan,
                around=graph.path[run[0]] in passed,
            )
        )
    return tuple(found)


def bypassed(graph: Graph) -> frozenset[str]:
    """Paths of the layers that some way from the loss to the data avoids."""
    count = len(graph.names)
    ends = {i for i, _ in graph.ends}
    down, up = [0] * count, [0] * count
    for i in range(count - 1, -1, -1):
        down[i] = (sum(down[j] for _, j, _ in graph.edges[i]) + (i in ends)) % PRIME
    up[0] = 1
    for i in range(count):
        for _, j, _ in graph.edges[i]:
            up[j] = (up[j] + up[i]) % PRIME
    on_all = {graph.path[i] for i in range(count) if graph.matrix[i] and up[i] * down[i] % PRIME == down[0]}
    uses: dict[str, int] = {}
    for i in range(count):
        if graph.matrix[i]:
            uses[graph.path[i]] = uses.get(graph.path[i], 0) + 1
    return frozenset(path for path, n in uses.items() if path not in on_all and n == 1)


def _nearest(graph: Graph, *, forward: bool) -> list[set[int]]:
    """The nearest weight operations of every node: towards the loss, or (forward False) towards the data."""
    count = len(graph.names)
    found: list[set[int]] = [set() for _ in range(count)]
    if forward:
        for i in range(count):
            mine = {i} if graph.matrix[i] else found[i]
            for _, j, _ in graph.edges[i]:
                if len(found[j]) < MANY:
                    found[j] |= mine
        return found
    for i in range(count - 1, -1, -1):
        for _, j, _ in graph.edges[i]:
            if len(found[i]) < MANY:
                found[i] |= {j} if graph.matrix[j] else found[j]
    return found


def _log(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf
