"""Stages: the network cut at its narrowest fronts, each with what its branches carry."""

import math

from fadeout.probe.account.front import Front, Move
from fadeout.probe.account.tape import Tape
from fadeout.probe.account.trunk import Way
from fadeout.probe.graph.ends import Slot
from fadeout.probe.graph.graph import Graph
from fadeout.records import Branch, Stage

CROWD = 4  # weight operations in one stage before narrow fronts inside it are looked for


def stages(graph: Graph, tape: Tape, front: Front, way: Way, lines: list[str]) -> tuple[Stage, ...]:
    """Cut the account where the front is one gradient wide, else where it is narrowest.

    The boundaries are fronts after an executed operation, so the stages' log gains sum to the
    ledger's by construction.  A chain reads as its weight layers, a residual net as its
    blocks; a U-shaped or dense net is cut at its narrowest fronts.
    """
    moves = front.moves
    if not moves:
        return ()
    cuts = _boundaries(graph, moves)
    found = []
    start = 0
    label = "loss"
    trunk_nodes = set(way.nodes)
    for cut in cuts:
        part = moves[start : cut + 1]
        last = moves[cut]
        slot = last.only if cut < len(moves) - 1 else None
        to = _label(graph, lines, slot[0]) if slot is not None else _far_label(graph, lines, moves, cut, trunk_nodes)
        found.append(
            Stage(
                start=label,
                to=to,
                width=last.width,
                log_gain=_sum(part),
                branches=_branches(graph, tape, slot if slot is not None else _end_slot(graph, tape, cut, moves)),
            )
        )
        start, label = cut + 1, to
    return tuple(found)


def _sum(part: list[Move]) -> float:
    if any(move.own == -math.inf or move.merge == -math.inf for move in part):
        return -math.inf
    return sum(move.own + move.merge for move in part)


def _boundaries(graph: Graph, moves: list[Move]) -> list[int]:
    """Indices of the moves after which a stage ends; the last move always ends one."""
    end = len(moves) - 1
    loss_left = sum(1 for move in moves if graph.loss_side[move.node])
    cuts: list[int] = []
    weights = 0
    in_loss = loss_left > 0
    for n, move in enumerate(moves):
        loss_left -= graph.loss_side[move.node]
        weights += graph.matrix[move.node]
        if n < end and move.width == 1:
            if in_loss and not loss_left:
                cuts.append(n)
                in_loss, weights = False, 0
            elif not in_loss and weights:
                cuts.append(n)
                weights = 0
    if cuts and not weights and not any(graph.matrix[m.node] for m in moves[cuts[-1] + 1 :]):
        cuts[-1] = end  # what follows has no weights of its own
    if not cuts or cuts[-1] != end:
        cuts.append(end)
    refined: list[int] = []
    start = 0
    for cut in cuts:
        refined += _narrow(graph, moves, start, cut)
        refined.append(cut)
        start = cut + 1
    return refined


def _narrow(graph: Graph, moves: list[Move], start: int, stop: int, *, depth: int = 12) -> list[int]:
    """Narrowest fronts inside a crowded stage, halving until no part is crowded."""
    spots = [n for n in range(start, stop) if graph.matrix[moves[n].node]]
    if len(spots) <= CROWD or depth == 0:
        return []
    candidates: list[int] = []
    for here, following in zip(spots, [*spots[1:], stop], strict=True):
        narrowest = min(moves[n].width for n in range(here, following))
        # the latest narrowest front: a slope belongs to the layer it follows
        candidates.append(next(n for n in range(here, following) if moves[n].width == narrowest))
    candidates = [n for n in candidates[:-1] if n < stop]
    if not candidates:
        return []
    least = min(moves[n].width for n in candidates)
    chosen = [n for n in candidates if moves[n].width == least]
    found: list[int] = []
    begin = start
    for n in [*chosen, stop]:
        if n != stop or chosen:
            found += _narrow(graph, moves, begin, n, depth=depth - 1) if (begin, n) != (start, stop) else []
        if n != stop:
            found.append(n)
        begin = n + 1
    return found


def _label(graph: Graph, lines: list[str], i: int) -> str:
    if i in graph.leaves:
        return graph.path[i] or "input"
    if graph.path[i]:
        return graph.path[i]
    behind = _weights_behind(graph, i)
    return f"{graph.op[i]} after {behind}" if behind else f"{graph.op[i]} {lines[i]}".strip()


def _weights_behind(graph: Graph, i: int) -> str:
    """Path of the nearest layer on the data side of an operation that no module owns."""
    waiting, seen = [i], {i}
    for _ in range(32):
        if not waiting:
            break
        for _, j, _ in graph.edges[waiting.pop(0)]:
            if graph.matrix[j] and graph.path[j]:
                return graph.path[j]
            if j not in seen:
                seen.add(j)
                waiting.append(j)
    return ""


def _far_label(graph: Graph, lines: list[str], moves: list[Move], cut: int, trunk_nodes: set[int]) -> str:
    """Where a wide front stands: the next operation of the trunk, or the data."""
    for move in moves[cut + 1 :]:
        if move.node in trunk_nodes:
            return _label(graph, lines, move.node)
    if len(graph.ends) == 1:
        (slot,) = graph.ends
        return _label(graph, lines, slot[0])
    return "data"


def _end_slot(graph: Graph, tape: Tape, cut: int, moves: list[Move]) -> Slot | None:
    if cut == len(moves) - 1 and len(graph.ends) == 1:
        (slot,) = graph.ends
        return slot
    return None


def _branches(graph: Graph, tape: Tape, slot: Slot | None) -> tuple[Branch, ...]:
    if slot is None:
        return ()
    shares = tape.shares.get(slot, {})
    if len(shares) < 2:
        return ()
    found = [Branch(path=graph.path[n], op=graph.op[n], share=share) for (n, _), share in shares.items()]
    return tuple(sorted(found, key=lambda b: -b.share if not math.isnan(b.share) else 0.0))
