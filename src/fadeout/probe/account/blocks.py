"""Blocks: residual additions, and how evenly their branches carry the gradient."""

import math
from collections.abc import Callable, Iterator

from fadeout.probe.account.tape import Tape
from fadeout.probe.graph import kinds
from fadeout.probe.graph.ends import Slot
from fadeout.probe.graph.graph import Graph
from fadeout.records import Block, EffectiveBlocks

_RECURRENT = {"RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"}  # their sums are steps in time
_PASS = {
    "Mul",
    "Div",
    "ToCopy",
    "NativeDropout",
    "Clone",
    "Add",
    "Sub",
    "Alias",
    "View",
    "UnsafeView",
    "Expand",
    "Permute",
    "Transpose",
    "Squeeze",
    "Unsqueeze",
    "Slice",  # with padding: the skip of a ResNet without projections (option A)
    "ConstantPadNd",
}


def effective_blocks(
    graph: Graph, tape: Tape, lines: list[str], influence: Callable[[int, int], float]
) -> EffectiveBlocks | None:
    """Find every residual addition and its branch share; None where there is none.

    A block is an addition one of whose inputs leads, through nothing but views, casts,
    dropout, scalings and further additions, to a tensor that its other input also reads
    through at least one weight.  Its branch share is that branch's part of the gradient at
    that tensor, <g_branch, g_in> / |g_in|^2.

    Source of n: the participation ratio of the shares, (sum s)^2 / sum s^2.
    """
    found: list[Block] = []
    counted: set[tuple[Slot, frozenset[tuple[int, int]]]] = set()
    for i, slot, branch, stream in _additions(graph):
        key = (slot, branch)
        if key in counted:
            continue
        counted.add(key)
        shares = tape.shares.get(slot, {})
        share = sum(shares[f] for f in branch if f in shares)
        found.append(Block(path=graph.path[i], share=share, influence=influence(i, stream), line=lines[i]))
    if not found:
        return None
    found.reverse()  # data side first, as layers
    finite = all(math.isfinite(b.share) for b in found)
    total = math.fsum(b.share for b in found) if finite else math.nan
    squares = math.fsum(b.share**2 for b in found) if finite else math.nan
    return EffectiveBlocks(n=total**2 / squares if squares > 0 else math.nan, branch_total=total, blocks=tuple(found))


def branch_ends(graph: Graph) -> set[int]:
    """The last trained factor of every residual branch: a layer, or a gate behind it; no norm."""
    waiting = [graph.edges[i][1 - stream][1:] for i, _, _, stream in _additions(graph)]
    waiting += [(i, 0) for i in graph.onto_parameters]
    found: set[int] = set()
    seen: set[Slot] = set()
    while waiting:
        slot = waiting.pop()
        i = slot[0]
        if slot in seen:
            continue
        seen.add(slot)
        if i in graph.multiplies:
            if graph.kind[i] == "weight":
                found.add(i)
        else:
            waiting += _passed(graph, i)
    return found


def _additions(graph: Graph) -> Iterator[tuple[int, Slot, frozenset[tuple[int, int]], int]]:
    """(node, joined slot, edges by which the branch feeds it, which input is the stream) of residual additions."""
    for i in range(len(graph.names)):
        if (
            len(graph.edges[i]) != 2
            or not kinds.is_add(graph.names[i])
            or graph.loss_side[i]
            or not graph.to_data[i]
            or graph.owner[i] in _RECURRENT
        ):
            continue
        block = _block(graph, i)
        if block is not None:
            yield (i, *block)


def _block(graph: Graph, i: int) -> tuple[Slot, frozenset[tuple[int, int]], int] | None:
    """(joined slot, edges by which the branch feeds it, which input is the stream)."""
    (_, a, ka), (_, b, kb) = graph.edges[i]
    for stream, (skip, branch) in enumerate((((a, ka), (b, kb)), ((b, kb), (a, ka)))):
        for slot in _straight(graph, skip):
            feeders = _feeds(graph, branch, slot)
            if feeders:
                return slot, feeders, stream
    return None


def _straight(graph: Graph, slot: Slot) -> list[Slot]:
    """Joined slots reached through nothing that changes what flows, nearest first."""
    found: list[Slot] = []
    waiting = [slot]
    for _ in range(16):
        if not waiting:
            break
        here = waiting.pop(0)
        if graph.feeders.get(here, 0) > 1:
            found.append(here)
            continue
        waiting += _passed(graph, here[0])
    return found


def _passed(graph: Graph, i: int) -> list[Slot]:
    """What an operation hands on but for a view, a cast, dropout, a scaling, or a further addition."""
    base = kinds.base_name(graph.names[i])
    one_way = len(graph.edges[i]) == 1 or base in {"Add", "Sub"}
    return [(j, k) for _, j, k in graph.edges[i]] if one_way and base in _PASS else []


def _feeds(graph: Graph, branch: Slot, goal: Slot) -> frozenset[tuple[int, int]]:
    """Edges into `goal` that are reached from `branch` through a weight."""
    edges: set[tuple[int, int]] = set()
    weighted = False
    seen: set[int] = set()
    waiting = [branch[0]]
    while waiting:
        i = waiting.pop()
        if i in seen or i >= goal[0]:  # topological numbers: nothing beyond the goal leads to it
            continue
        seen.add(i)
        weighted = weighted or graph.matrix[i] or graph.kind[i] == "norm"
        for e, j, k in graph.edges[i]:
            if (j, k) == goal:
                edges.add((i, e))
            else:
                waiting.append(j)
    return frozenset(edges) if weighted else frozenset()
