"""The account: one recorded pass read as a Ledger - kinds, ends, weight operations, decades."""

import math
from collections.abc import Callable
from dataclasses import replace

from fadeout.probe.account.blocks import effective_blocks
from fadeout.probe.account.front import Front
from fadeout.probe.account.stages import stages
from fadeout.probe.account.tape import Tape, arrivals
from fadeout.probe.account.trunk import Way, trunk
from fadeout.probe.graph.ends import Slot, What
from fadeout.probe.graph.graph import Graph, weights_around
from fadeout.probe.graph.lines import line_of
from fadeout.probe.graph.paths import readable_path
from fadeout.records import KINDS, Edge, End, Kind, Ledger, Trunk, Unaccounted, WeightOp
from fadeout.records.decades import log10


def read_ledger(
    graph: Graph,
    tape: Tape,
    front: Front,
    *,
    floor: float,
    unseen: bool,
    influence: Callable[[int, int], float],
    outside: tuple[str, ...] = (),
    tolls: list[float] | None = None,
) -> Ledger:
    """Everything the ledger says, from one recorded pass.

    Args:
        graph: The operations between loss and ends.
        tape: What the pass wrote down.
        front: J after every operation.
        floor: log10 of the smallest norm the pass could tell from zero.
        unseen: A zero of this pass may be a gradient below the floor.
        influence: (addition, which of its inputs is the stream) -> 1 - mean cosine.
        outside: Parameters with a gradient that no operation of the account applies.
        tolls: Per node: decades that its gradient left at nearly shut gates; None where there are none.
    """
    lines = _lines(graph)
    by_kind = dict.fromkeys(KINDS, 0.0)
    operations: list[Edge] = []
    for move in front.moves:
        i = move.node
        kind = graph.kind[i]
        gain = move.own + move.merge
        if kind in ("loss", "skip"):
            by_kind[kind] += gain
        else:
            by_kind[kind] += move.own
            by_kind["skip"] += move.merge
        operations.append(Edge(path=graph.path[i], op=graph.op[i], line=lines[i], kind=kind, log_gain=gain))
    way = trunk(graph, tape)
    norms = {i: length / tape.scale for i, length in arrivals(tape).items()}
    weights = _weights(graph, norms, way, lines, tape.sizes)
    decades = _decades(weights, floor if unseen else -math.inf)
    unaccounted = [*graph.unaccounted, *_dropped(graph, tape), *_outside(outside)]
    return Ledger(
        log_gain=front.log_gain,
        decades=decades,
        shut=_shut(graph, tolls, weights, decades),
        stages=stages(graph, tape, front, way, lines),
        by_kind=tuple(by_kind.items()),
        trunk=_trunk(graph, way, lines),
        operations=tuple(operations),
        ends=_ends(graph.ends, tape),
        beginnings=_ends(graph.beginnings, tape),
        weights=tuple(weights),
        blocks=effective_blocks(graph, tape, lines, influence),
        unaccounted=tuple(unaccounted),
        closing_error=front.closing_error,
        floor=floor,
        nodes=graph.total,
        outside=outside,
    )


def _outside(parameters: tuple[str, ...]) -> list[Unaccounted]:
    """One line a module that holds parameters outside the account."""
    homes = dict.fromkeys(readable_path(name.rpartition(".")[0]) for name in parameters)
    why = "receives a gradient, but not by an operation of the account: whether it fades there is not known"
    return [Unaccounted(path=home, op="parameter", why=why) for home in homes]


def _dropped(graph: Graph, tape: Tape) -> list[Unaccounted]:
    """Operations that were given a gradient and sent none (not zeros: nothing) on the way to the data."""
    found: dict[tuple[str, str], Unaccounted] = {}
    given = {i for (i, _), length in tape.arrived.items() if length > 0}
    for i in tape.order:
        for e, j, k in graph.edges[i]:
            alone = graph.feeders[(j, k)] == 1 and j not in graph.leaves
            sent = (j, k) in tape.arrived if alone else (i, e) in tape.sent
            if i in given and not sent:
                why = "drops the gradient: it sends none on towards the data"
                found[graph.path[i], graph.op[i]] = Unaccounted(path=graph.path[i], op=graph.op[i], why=why)
    return list(found.values())


def _lines(graph: Graph) -> list[str]:
    known: dict[tuple[int, int], str] = {}
    lines = []
    for code, instruction in graph.line:
        key = (id(code), instruction)
        if key not in known:
            known[key] = line_of(code, instruction)
        lines.append(known[key])
    return lines


def _ends(ends: dict[Slot, tuple[What, str]], tape: Tape) -> tuple[End, ...]:
    return tuple(
        End(path=path or what, what=what, decades=log10(tape.arrived[slot] / tape.scale))
        for slot, (what, path) in ends.items()
        if slot in tape.arrived
    )


def _weights(
    graph: Graph, norms: dict[int, float], way: Way, lines: list[str], sizes: dict[int, int]
) -> list[WeightOp]:
    """Every use of a weight, data side first."""
    count = len(graph.names)
    below, above = weights_around(graph.edges, graph.matrix, graph.to_data)
    on_trunk = set(way.nodes)
    return [
        WeightOp(
            path=graph.path[i],
            op=graph.op[i],
            line=lines[i],
            norm=log10(norms.get(i, 0.0)),
            rms=log10(norms[i] / math.sqrt(sizes[i])) if sizes.get(i) and i in norms else math.nan,
            first=not below[i],
            last=not above[i],
            trunk=i in on_trunk,
            data=graph.to_data[i],
        )
        for i in range(count - 1, -1, -1)
        if graph.matrix[i]
    ]


def _decades(weights: list[WeightOp], floor: float) -> float:
    first = [w.norm for w in weights if w.first and w.data]
    last = [w.norm for w in weights if w.last and w.data]
    if not first or not last or any(math.isnan(n) or n == math.inf for n in (*first, *last)):
        return math.nan
    return max(*first, floor) - max(last) if max(last) > -math.inf else math.nan


def _shut(graph: Graph, tolls: list[float] | None, weights: list[WeightOp], decades: float) -> float:
    """The part of `decades` that nearly shut gates make: what is left of it once every norm has its toll back."""
    if tolls is None or not math.isfinite(decades):
        return 0.0
    nodes = [i for i in range(len(graph.names) - 1, -1, -1) if graph.matrix[i]]
    opened = _decades([replace(w, norm=w.norm + tolls[i]) for w, i in zip(weights, nodes, strict=True)], -math.inf)
    return decades - opened if math.isfinite(opened) else 0.0


def _trunk(graph: Graph, way: Way, lines: list[str]) -> Trunk:
    by_kind: dict[Kind, float] = dict.fromkeys(KINDS, 0.0)
    entries = []
    for i, kind, gain in way.entries:
        by_kind[kind] += gain
        entries.append(Edge(path=graph.path[i], op=graph.op[i], line=lines[i], kind=kind, log_gain=gain))
    return Trunk(
        log_gain=math.fsum(gain for _, _, gain in way.entries) if math.isfinite(way.log_gain) else way.log_gain,
        by_kind=tuple(by_kind.items()),
        entries=tuple(entries),
    )
