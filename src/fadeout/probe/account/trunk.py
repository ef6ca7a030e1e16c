"""The trunk: the way from loss to data through most weight layers, with a factor for each step."""

import math
from dataclasses import dataclass

from fadeout.probe.account.tape import Tape, arrivals, edge_norm
from fadeout.probe.graph.graph import Graph
from fadeout.records import Kind
from fadeout.records.decades import log10


@dataclass(slots=True)
class Way:
    """One path through the graph.

    Attributes:
        nodes: Operations on it, loss side first.
        entries: (operation, kind, log gain): the operation's own factor on its edge and, at
            joins, what the other branches add (skip).
        log_gain: log10 of the gradient at its end; -inf where it dies on the way.
    """

    nodes: list[int]
    entries: list[tuple[int, Kind, float]]
    log_gain: float


def trunk(graph: Graph, tape: Tape) -> Way:
    """The path through most weight operations; ties go to the live, then to the longer one."""
    count = len(graph.names)
    ends = {i for i, _ in graph.ends}
    best: list[tuple[int, int, int] | None] = [None] * count  # (alive, weights, length) down to an end
    step: list[tuple[int, int, int] | None] = [None] * count
    for i in range(count - 1, -1, -1):
        weight = int(graph.matrix[i])
        options = []
        for e, j, k in graph.edges[i]:
            onward = best[j]
            if onward is None:
                continue
            alive = int(onward[0] and edge_norm(graph, tape, i, e, (j, k)) > 0)
            options.append(((alive, onward[1] + weight, onward[2] + 1), (e, j, k)))
        if options:
            best[i], step[i] = max(options, key=lambda o: o[0])
        elif i in ends:
            best[i] = (1, weight, 0)
    nodes = [0]
    entries: list[tuple[int, Kind, float]] = []
    totals = arrivals(tape)
    here = _total(totals, tape.scale, 0)
    i = 0
    while (onward := step[i]) is not None:
        e, j, k = onward
        edge = edge_norm(graph, tape, i, e, (j, k))
        kind: Kind = graph.kind[i]
        gain = _ratio(edge, here)
        entries.append((i, kind, gain))
        if not math.isfinite(gain):
            return Way(nodes=_follow(step, nodes, j), entries=entries, log_gain=gain)
        arriving = _total(totals, tape.scale, j)
        join = _ratio(arriving, edge)
        if join:
            entries.append((j, "loss" if kind == "loss" else "skip", join))
            if not math.isfinite(join):
                return Way(nodes=_follow(step, nodes, j), entries=entries, log_gain=join)
        here = arriving
        i = j
        nodes.append(i)
    return Way(nodes=nodes, entries=entries, log_gain=log10(here / tape.scale))


def _follow(step: list[tuple[int, int, int] | None], nodes: list[int], i: int) -> list[int]:
    nodes.append(i)
    while (onward := step[i]) is not None:
        i = onward[1]
        nodes.append(i)
    return nodes


def _total(totals: dict[int, float], scale: float, i: int) -> float:
    """Norm of everything that arrives at node i."""
    return totals.get(i, scale if i == 0 else 0.0)


def _ratio(after: float, before: float) -> float:
    if after > 0 and before > 0 and math.isfinite(after) and math.isfinite(before):
        return math.log10(after / before) if 0 < after / before < math.inf else math.log10(after) - math.log10(before)
    if after == 0:
        return -math.inf
    return math.nan
