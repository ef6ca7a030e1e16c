"""The graph: the operations between the loss and the data ends, as plain lists of integers."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

from fadeout.call import privates
from fadeout.probe.graph import kinds
from fadeout.probe.graph.ends import Ends, Slot, What, find_ends
from fadeout.probe.graph.names import Names
from fadeout.probe.graph.paths import readable_path
from fadeout.probe.graph.walk import Walk, walk_from
from fadeout.records import Gap, Kind, Unaccounted

Site = tuple[str, int, int]  # module that ran, id of the code, instruction: one line of the user's


@dataclass(slots=True)
class Graph:
    """The part of an autograd graph that lies between the loss and the data ends.

    Nodes are numbered in topological order, the loss first; an edge runs from a node to the
    slot of a later node.  Edges through isometries with one way in and one way out are
    already shortened: those nodes are in no list.

    Attributes:
        nodes: The autograd nodes.
        names: Their names.
        edges: Per node: (index among its inputs, target node, target slot).
        feeders: Per slot: number of edges into it.
        ends: Slots at which the account stops, with what they are and whose: where data enters, or,
            where it enters nowhere or meets no weights, where trained parts begin.
        beginnings: Beside them, slots at which a trained part begins that no data enters.
        loss_side: Nodes on the loss's side of the output.
        matrix: Nodes that apply weights.
        turn: When a node was made in the forward, as a running number.
        calls: Per line: when the forward made an operation there, in the graph or not.
        opaque: A custom function stands on the way, which may train parameters unseen.
        covered: Ids of the leaf tensors that operations of the account apply, scale by or add.
        to_data: Per node: it leads to an end, or is one; false on the way to beginnings alone.
        gaps: Where the forward let go of the graph, and what lost its gradient by it.
        onto_parameters: Nodes whose result is added to a stream that no data enters, and that their branch
            reads: attention onto a class token.
        multiplies: Per node: ids of the parameters that it multiplies with (not those it adds).
        path: Module that holds the weights, or that ran the operation.
        runner: Module that ran it.
        kind: Kind of every node.
    """

    nodes: list[Node]
    names: list[str]
    edges: list[list[tuple[int, int, int]]]
    feeders: dict[Slot, int]
    ends: dict[Slot, tuple[What, str]]
    beginnings: dict[Slot, tuple[What, str]]
    leaves: dict[int, Tensor]
    variables: list[Tensor]
    loss_side: list[bool]
    matrix: list[bool]
    kind: list[Kind]
    path: list[str]
    runner: list[str]
    owner: list[str]
    op: list[str]
    line: list[tuple[Any, int]]
    total: int
    turn: list[int] = field(default_factory=list)
    calls: dict[Site, list[int]] = field(default_factory=dict)
    multiplies: dict[int, list[int]] = field(default_factory=dict)
    unaccounted: list[Unaccounted] = field(default_factory=list)
    opaque: bool = False
    parameters_reached: set[int] = field(default_factory=set)
    covered: set[int] = field(default_factory=set)
    gaps: tuple[Gap, ...] = ()
    to_data: list[bool] = field(default_factory=list)
    onto_parameters: frozenset[int] = frozenset()


def build(loss: Tensor, names: Names, modules: list[tuple[str, nn.Module]], *, within: bool) -> Graph:
    """Walk the autograd graph of a loss and keep what lies between it and the data.

    Args:
        loss: The scalar, with its graph.
        names: The record of the forward that made it.
        modules: The examined modules by path; they decide kinds.
        within: The account ends where tensors entered the watched module.
    """
    root = loss.grad_fn
    assert root is not None
    walk = Walk(*walk_from(root), names, modules)
    walk.within = within
    graph = _shorten(walk, find_ends(walk, within=within))
    for turn, (path, _, _, code, at) in enumerate(names.of.values()):
        if code is not None:
            graph.calls.setdefault((path, id(code), at), []).append(turn)
    homes = {
        id(p): readable_path(path)
        for path, module in modules
        for p in privates.parameters(module).values()
        if p is not None and p.requires_grad
    }
    graph.gaps = names.cuts.gaps(walk.position.__contains__, graph.parameters_reached, homes)
    return graph


def _shorten(walk: Walk, found: Ends) -> Graph:
    size, ends = len(walk.order), found.data | found.beginnings
    end_nodes = {i for i, _ in ends}
    on = [False] * size
    raw: list[list[tuple[int, int, int]]] = [[] for _ in range(size)]
    for i in range(size - 1, -1, -1):
        if i in walk.variable or i in end_nodes:
            continue
        kept = raw[i]
        for k, (j, slot) in enumerate(walk.next[i]):
            if j >= 0 and (i, k) not in walk.cut and (on[j] or (j, slot) in ends):
                kept.append((k, j, slot))
        on[i] = bool(kept)
    reached = _live(walk, raw)
    feeders: dict[Slot, int] = {}
    into: dict[int, int] = {}
    for i in reached:
        for _, j, slot in raw[i]:
            feeders[(j, slot)] = feeders.get((j, slot), 0) + 1
            into[j] = into.get(j, 0) + 1
    quiet = {
        i
        for i in reached
        if i
        and kinds.is_isometry(walk.node_names[i])
        and len(raw[i]) == 1
        and into.get(i) == 1
        and feeders[raw[i][0][1:]] == 1  # at a join, branches must have one shape
    }
    keep = sorted((reached - quiet) | {s[0] for s in ends if s in feeders or s[0] == 0})
    index = {i: n for n, i in enumerate(keep)}
    edges: list[list[tuple[int, int, int]]] = []
    short: dict[Slot, int] = {}
    for i in keep:
        mine = []
        for k, j, slot in raw[i] if i in reached else ():
            while j in quiet:
                _, j, slot = raw[j][0]
            mine.append((k, index[j], slot))
            short[(index[j], slot)] = short.get((index[j], slot), 0) + 1
        edges.append(mine)
    graph = Graph(
        nodes=[walk.order[i] for i in keep],
        names=[walk.node_names[i] for i in keep],
        edges=edges,
        feeders=short,
        ends={(index[i], s): what for (i, s), what in found.data.items() if i in index},
        beginnings={(index[i], s): what for (i, s), what in found.beginnings.items() if i in index},
        variables=list(walk.variable.values()),
        leaves={index[i]: t for i, t in walk.variable.items() if i in index},
        loss_side=[walk.loss_side[i] for i in keep],
        matrix=[],
        kind=[],
        path=[],
        runner=[],
        owner=[],
        op=[],
        line=[],
        total=size,
        unaccounted=walk.unaccounted,
        parameters_reached={id(t) for t in walk.variable.values()},
        opaque=any(not name[-1:].isdigit() and "::" not in name for name in walk.node_names),
    )
    on = [yes or i in end_nodes for i, yes in enumerate(on)]
    graph.onto_parameters = _onto_parameters(walk, raw, reached, quiet, index)
    _describe(walk, graph, keep, on)
    graph.covered = _covered(walk, reached | end_nodes, on)
    graph.to_data = _to_data(graph)
    if graph.beginnings and not any(m and leads for m, leads in zip(graph.matrix, graph.to_data, strict=True)):
        graph.ends, graph.beginnings = graph.ends | graph.beginnings, {}
        graph.to_data = _to_data(graph)
    return graph


def _onto_parameters(
    walk: Walk, raw: list[list[tuple[int, int, int]]], reached: set[int], quiet: set[int], index: dict[int, int]
) -> frozenset[int]:
    """See `Graph`.  A shift that is added to a scaled tensor is no stream: nothing before the addition reads it."""
    found = set()
    for i in reached:
        if len(raw[i]) != 1 or not kinds.is_add(walk.node_names[i]):
            continue
        (_, branch, _) = raw[i][0]
        others = [j for j, _ in walk.next[i] if j >= 0 and j != branch and j not in walk.variable]
        if others and walk.leads(branch, others[0]):
            while branch in quiet:
                branch = raw[branch][0][1]
            found.add(index[branch])
    return frozenset(found)


def _to_data(graph: Graph) -> list[bool]:
    leads = [False] * len(graph.names)
    for i, _ in graph.ends:
        leads[i] = True
    for i in range(len(leads) - 1, -1, -1):
        leads[i] = leads[i] or any(leads[j] for _, j, _ in graph.edges[i])
    return leads


def _covered(walk: Walk, reached: set[int], on: list[bool]) -> set[int]:
    """Leaf tensors that the account's operations apply, scale by or add.

    Matrices beside the account are passed only as products of parameters, the weight of an operation
    that the account holds; a layer beside it is not in the account, and neither is what it holds.
    """
    found: set[int] = set()
    seen: set[tuple[int, bool]] = set()
    for i in reached:
        if i in walk.variable:
            found.add(id(walk.variable[i]))
            continue
        applies = kinds.is_matrix(walk.node_names[i])
        waiting = [(j, applies) for j, _ in walk.next[i] if j >= 0 and not on[j]]
        while waiting:
            j, product = waiting.pop()
            if (j, product) in seen or (kinds.is_matrix(walk.node_names[j]) and not product):
                continue
            seen.add((j, product))
            if j in walk.variable:
                found.add(id(walk.variable[j]))
            waiting += [(below, product) for below, _ in walk.next[j] if below >= 0 and not on[below]]
    return found


def _live(walk: Walk, raw: list[list[tuple[int, int, int]]]) -> set[int]:
    live = {0} if raw[0] else set()
    for i in range(len(raw)):
        if i in live:
            live.update(j for _, j, _ in raw[i] if raw[j])
    return live


def _describe(walk: Walk, graph: Graph, keep: list[int], on: list[bool]) -> None:
    unknown: dict[tuple[str, str], int] = {}
    entered = {walk.position[node] for node, _ in walk.names.entered if node in walk.position}
    for n, i in enumerate(keep):
        path, owner, function, code, instruction = walk.origin(i)
        name = walk.node_names[i]
        inner = function.endswith("/")
        function = function.rstrip("/").strip("_")
        graph.owner.append(owner)
        graph.runner.append(path)
        graph.turn.append(walk.turn(i))
        if i in walk.variable:
            graph.kind.append("other")
            graph.path.append(walk.data_leaf.get(i, ""))
            graph.op.append("input")
            graph.line.append((None, 0))
            graph.matrix.append(False)
            continue
        kind, known = kinds.propose(name, function, owner)
        data_edges = len(graph.edges[n])
        kind = kinds.decide(
            kind,
            name,
            data_edges=data_edges,
            parameter_edges=sum(1 for j, _ in walk.next[i] if j >= 0 and not on[j] and walk.trains[j]),
            owner_has_weight=path in walk.owners,
        )
        if graph.loss_side[n]:
            kind = "loss"
        elif not known:
            unknown[(path, kinds.readable(name))] = unknown.get((path, kinds.readable(name)), 0) + 1
        if kind == "weight" and kinds.is_matrix(name):
            path = _holder(walk, i, path, on)
        custom = not name[-1:].isdigit() and "::" not in name
        graph.kind.append(kind)
        graph.path.append(path)
        if inner and kinds.is_matrix(name) and kind != "loss":
            plain = kinds.base_name(name) in ("Addmm", "Mm", "Bmm", "Baddbmm")
            renamed = plain and function not in ("matmul", "einsum", "linear", "bilinear")
            inner, function = False, "linear" if renamed else function
        graph.op.append(kinds.readable(name) if inner or custom or not function else function)
        graph.line.append((code, instruction))
        # where a part is examined, what hands tensors to it is not its own
        own = not (walk.within and i in entered and not graph.edges[n])
        graph.matrix.append(own and kind == "weight" and kinds.is_matrix(name))
        found = _multiplied(walk, i, on)
        if found:
            graph.multiplies[n] = found
    for (path, op), count in unknown.items():
        graph.unaccounted.append(
            Unaccounted(path=path, op=op, why=f"operation of unknown kind ({count} on the way): counted as other")
        )


def _multiplied(walk: Walk, i: int, on: list[bool]) -> list[int]:
    """Parameters that an operation multiplies its data with: a zero in them stops the gradient."""
    base = kinds.base_name(walk.node_names[i])
    is_norm = kinds.propose(walk.node_names[i], "", "")[0] == "norm"
    if not (kinds.is_matrix(walk.node_names[i]) or base in ("Mul", "Div") or is_norm):
        return []
    found = []
    for j, _ in walk.next[i]:
        for _ in range(6):  # through a transpose, a cast, an expansion
            if j < 0 or on[j]:
                break
            variable = walk.variable.get(j)
            if variable is not None:
                if variable.dim() >= 2 or not kinds.is_matrix(walk.node_names[i]):
                    found.append(id(variable))
                break
            j = walk.next[j][0][0] if walk.next[j] else -1
    return found[:1] if is_norm else found  # the gain; the shift is added


def _holder(walk: Walk, i: int, path: str, on: list[bool]) -> str:
    """The module that holds the matrix: the one that ran, else the parameter's own."""
    waiting = [j for j, _ in walk.next[i] if j >= 0 and not on[j]]
    for _ in range(64):
        if not waiting:
            break
        j = waiting.pop()
        variable = walk.variable.get(j)
        if variable is None:
            waiting += [b for b, _ in walk.next[j] if b >= 0 and not on[b]]
        elif variable.dim() >= 2 and (holders := walk.holders.get(id(variable))):
            return path if path in holders else holders[0]
    return path


def weights_around(
    edges: list[list[tuple[int, int, int]]], matrix: list[bool], to_data: list[bool]
) -> tuple[list[bool], list[bool]]:
    """Per node: a weight operation on its data side; one between it and the loss.

    What lies beside the way to the data, a tower that starts from parameters, is not on a node's data side.
    """
    count = len(matrix)
    below, above = [False] * count, [False] * count
    for i in range(count - 1, -1, -1):
        below[i] = any((below[j] or matrix[j]) and to_data[j] >= to_data[i] for _, j, _ in edges[i])
    for i in range(count):
        if above[i] or matrix[i]:
            for _, j, _ in edges[i]:
                above[j] = True
    return below, above


def weight_sources(graph: Graph) -> list[int]:
    """Per node: itself where it applies weights, else the nearest such node towards the data; -1 for none.

    The way goes through the first input of every operation.
    """
    source = [-1] * len(graph.names)
    for i in range(len(source) - 1, -1, -1):
        if graph.matrix[i]:
            source[i] = i
        elif graph.edges[i]:
            source[i] = source[graph.edges[i][0][1]]
    return source
