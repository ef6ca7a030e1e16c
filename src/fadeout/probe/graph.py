"""The graph: the operations between the loss and the data ends, as plain lists of integers."""

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn
from torch.autograd.graph import Node

from fadeout.probe import kinds
from fadeout.probe.names import Names
from fadeout.records import Kind, Unaccounted

Slot = tuple[int, int]  # (node, which of its outputs)
What = Literal["input", "embedding", "weight"]


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
        ends: Slots at which the account stops, with what they are and whose.
        loss_side: Nodes on the loss's side of the output.
        matrix: Nodes that apply weights.
        path: Module that holds the weights, or that ran the operation.
        runner: Module that ran it.
        kind: Kind of every node.
    """

    nodes: list[Node]
    names: list[str]
    edges: list[list[tuple[int, int, int]]]
    feeders: dict[Slot, int]
    ends: dict[Slot, tuple[What, str]]
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
    unaccounted: list[Unaccounted] = field(default_factory=list)
    parameters_reached: set[int] = field(default_factory=set)


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
    order, below = _walk(root)
    position = {node: i for i, node in enumerate(order)}
    walk = _Walk(order, below, position, names, modules)
    ends = walk.find_ends(within=within)
    return walk.shorten(ends)


def _walk(root: Node) -> tuple[list[Node], list[tuple[tuple[Node | None, int], ...]]]:
    """Every node reachable from the root in topological order, with its edges."""
    done: list[Node] = []
    edges: dict[Node, tuple[tuple[Node | None, int], ...]] = {}
    stack: list[Node] = [root]
    finished: set[Node] = set()
    while stack:
        node = stack[-1]
        if node not in edges:
            found = edges[node] = node.next_functions
            for below, _ in found:
                if below is not None and below not in edges:
                    stack.append(below)
        else:
            stack.pop()
            if node not in finished:
                finished.add(node)
                done.append(node)
    done.reverse()
    return done, [edges[node] for node in done]


class _Walk:
    """Working state of one `build`; not kept."""

    def __init__(
        self,
        order: list[Node],
        below: list[tuple[tuple[Node | None, int], ...]],
        position: dict[Node, int],
        names: Names,
        modules: list[tuple[str, nn.Module]],
    ) -> None:
        self.order = order
        self.names = names
        self.node_names = [node.name() for node in order]
        self.next = [[(-1 if b is None else position[b], slot) for b, slot in edges] for edges in below]
        self.position = position
        size = len(order)
        tracked = {id(t): path for path, t in names.inputs}
        self.variable: dict[int, Tensor] = {}
        self.data_leaf: dict[int, str] = {}
        for i, name in enumerate(self.node_names):
            if name.endswith("AccumulateGrad"):
                variable: Tensor = order[i].variable  # type: ignore[attr-defined]
                self.variable[i] = variable
                if id(variable) in tracked:
                    self.data_leaf[i] = tracked[id(variable)]
        # what lies below each node: parameters, data leaves (bottom up: reversed order)
        self.trains = [False] * size
        self.sees_leaf = [False] * size
        for i in range(size - 1, -1, -1):
            if i in self.variable:
                self.trains[i] = i not in self.data_leaf
                self.sees_leaf[i] = i in self.data_leaf
            else:
                for j, _ in self.next[i]:
                    if j >= 0:
                        self.trains[i] = self.trains[i] or self.trains[j]
                        self.sees_leaf[i] = self.sees_leaf[i] or self.sees_leaf[j]
        self.owners = _weight_owners(modules)
        self.frozen_owners = frozenset(
            path
            for path, module in modules
            if any(p is not None and p.dim() >= 2 and not p.requires_grad for p in module._parameters.values())
        )
        self.holders: dict[int, list[str]] = {}
        for path, module in modules:
            for parameter in module._parameters.values():
                if parameter is not None and parameter.dim() >= 2:
                    self.holders.setdefault(id(parameter), []).append(path)
        self.unaccounted: list[Unaccounted] = []
        self.cut: set[tuple[int, int]] = set()

    def origin(self, i: int) -> tuple[str, str, str, Any, int]:
        return self.names.of.get(self.order[i], ("", "", "", None, 0))

    # ---- ends

    def find_ends(self, *, within: bool) -> dict[Slot, tuple[What, str]]:
        ends: dict[Slot, tuple[What, str]] = {}
        if within:
            for node, slot in self.names.entered:
                i = self.position.get(node)
                if i is not None:
                    ends[(i, slot)] = ("input", self.origin(i)[0] or "input")
        for i, path in self.data_leaf.items():
            ends[(i, 0)] = ("input", path)
        if not (within and ends):
            for i, name in enumerate(self.node_names):
                if kinds.is_embedding(name):
                    ends[(i, 0)] = ("embedding", self.origin(i)[0] or "embedding")
        self._cut_frozen(ends)
        if not ends:
            ends = self._first_trained()
        for path, tensor in self.names.inputs:
            if not any(v is tensor for v in self.variable.values()):
                self.unaccounted.append(
                    Unaccounted(
                        path=path,
                        op="input",
                        why="no gradient path leads to it: rounding, indexing, detach() or no_grad() in between",
                    )
                )
        return ends

    def _cut_frozen(self, ends: dict[Slot, tuple[What, str]]) -> None:
        """Where frozen weights stand before the first trained operation, stop above them."""
        size = len(self.order)
        frozen = {
            i
            for i in range(size)
            if self.sees_leaf[i]
            and not self.trains[i]
            and kinds.is_matrix(self.node_names[i])
            and self.origin(i)[0] in self.frozen_owners
        }
        while frozen:
            blocked = set(frozen)
            for i in range(size - 1, -1, -1):  # frozen nodes above a frozen weight, too
                if not self.trains[i] and any(j in blocked for j, _ in self.next[i]):
                    blocked.add(i)
            cut = {
                (i, k) for i in range(size) if self.trains[i] for k, (j, _) in enumerate(self.next[i]) if j in blocked
            }
            below = self._reachable(cut=cut)
            alive = {leaf for leaf in self.data_leaf if leaf in below}
            if not alive:
                break
            # a leaf that is reached another way as well gets its gradient through both
            sees = [i in alive for i in range(size)]
            for i in range(size - 1, -1, -1):
                sees[i] = sees[i] or any(sees[j] for j, _ in self.next[i] if j >= 0)
            frozen = {i for i in frozen if not sees[i]}
        else:
            return
        self.cut = cut
        for i in {i for i, _ in cut}:
            onward = [
                j for k, (j, _) in enumerate(self.next[i]) if j >= 0 and (i, k) not in cut and not self._trains_only(j)
            ]
            if not onward:
                for slot in self._slots_of(i):
                    ends[(i, slot)] = ("weight", self.origin(i)[0])
        for end in [e for e in ends if e[0] not in below]:
            del ends[end]

    def _trains_only(self, i: int) -> bool:
        """Nothing but parameters lies below: no data leaf and no embedding."""
        waiting, seen = [i], set()
        while waiting:
            i = waiting.pop()
            if i in seen:
                continue
            seen.add(i)
            if self.sees_leaf[i] or kinds.is_embedding(self.node_names[i]):
                return False
            waiting += [j for j, _ in self.next[i] if j >= 0]
        return True

    def _reachable(self, *, cut: set[tuple[int, int]]) -> set[int]:
        seen = {0}
        for i in range(len(self.order)):
            if i in seen:
                seen.update(j for k, (j, _) in enumerate(self.next[i]) if j >= 0 and (i, k) not in cut)
        return seen

    def _slots_of(self, i: int) -> list[int]:
        slots = sorted({slot for edges in self.next for j, slot in edges if j == i})
        return slots or [0]

    def _first_trained(self) -> dict[Slot, tuple[What, str]]:
        """The outputs of the first operations that read only constants and parameters."""
        size = len(self.order)
        has_matrix = [False] * size
        chosen: list[int] = []
        constant: list[int] = []
        for i in range(size - 1, -1, -1):
            inputs = [j for j, _ in self.next[i] if j >= 0]
            has_matrix[i] = any(has_matrix[j] for j in inputs)
            if kinds.is_matrix(self.node_names[i]) and self.trains[i]:
                if not has_matrix[i]:
                    chosen.append(i)
                    data = self._data_positions(i)
                    if any(k < len(self.next[i]) and self.next[i][k][0] < 0 for k in data):
                        constant.append(i)
                    else:
                        continue
                has_matrix[i] = True
        first = constant or chosen
        if not first:
            first = [
                i
                for i in range(size)
                if i not in self.variable
                and not kinds.is_isometry(self.node_names[i])
                and any(j in self.variable for j, _ in self.next[i])
                and all(j < 0 or j in self.variable or kinds.is_isometry(self.node_names[j]) for j, _ in self.next[i])
            ]
        if not first:
            first = [i for i in range(size) if i not in self.variable][-1:]
        return {(i, slot): ("weight", self.origin(i)[0]) for i in first for slot in self._slots_of(i)}

    def _data_positions(self, i: int) -> tuple[int, ...]:
        base = kinds.base_name(self.node_names[i])
        return (1, 2) if base in {"Addmm", "Baddbmm", "Addbmm", "Addmv"} else (0, 1)

    # ---- the part between

    def shorten(self, ends: dict[Slot, tuple[What, str]]) -> Graph:
        size = len(self.order)
        end_nodes = {i for i, _ in ends}
        on = [False] * size
        raw: list[list[tuple[int, int, int]]] = [[] for _ in range(size)]
        for i in range(size - 1, -1, -1):
            if i in self.variable or i in end_nodes:
                continue
            kept = raw[i]
            for k, (j, slot) in enumerate(self.next[i]):
                if j >= 0 and (i, k) not in self.cut and (on[j] or (j, slot) in ends):
                    kept.append((k, j, slot))
            on[i] = bool(kept)
        reached = self._live(raw)
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
            and kinds.is_isometry(self.node_names[i])
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
        loss_side = self._loss_side(keep)
        graph = Graph(
            nodes=[self.order[i] for i in keep],
            names=[self.node_names[i] for i in keep],
            edges=edges,
            feeders=short,
            ends={(index[i], s): what for (i, s), what in ends.items() if i in index},
            variables=list(self.variable.values()),
            leaves={index[i]: t for i, t in self.variable.items() if i in index},
            loss_side=loss_side,
            matrix=[],
            kind=[],
            path=[],
            runner=[],
            owner=[],
            op=[],
            line=[],
            total=size,
            unaccounted=self.unaccounted,
            parameters_reached={id(t) for i, t in self.variable.items() if i not in self.data_leaf},
        )
        self._describe(graph, keep, [on[i] or i in end_nodes for i in range(size)])
        return graph

    def _live(self, raw: list[list[tuple[int, int, int]]]) -> set[int]:
        live = {0} if raw[0] else set()
        for i in range(len(raw)):
            if i in live:
                live.update(j for _, j, _ in raw[i] if raw[j])
        return live

    def _loss_side(self, keep: list[int]) -> list[bool]:
        """Nodes that no output of the watched module depends on; by last weights if no output is seen."""
        outputs = {
            i
            for tensor in self.names.outputs
            if tensor.grad_fn is not None and (i := self.position.get(tensor.grad_fn)) is not None and i != 0
        }
        if not outputs:
            outputs = {i for i in keep if kinds.is_matrix(self.node_names[i])}
        inside = set(outputs)
        for i in range(len(self.order)):
            if i in inside:
                inside.update(j for j, _ in self.next[i] if j >= 0)
        if not inside:
            return [False] * len(keep)
        return [i not in inside for i in keep]

    def _describe(self, graph: Graph, keep: list[int], on: list[bool]) -> None:
        unknown: dict[tuple[str, str], int] = {}
        for n, i in enumerate(keep):
            path, owner, function, code, instruction = self.origin(i)
            name = self.node_names[i]
            inner = function.endswith("/")
            function = function.rstrip("/").strip("_")
            graph.owner.append(owner)
            graph.runner.append(path)
            if i in self.variable:
                graph.kind.append("other")
                graph.path.append(self.data_leaf.get(i, ""))
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
                parameter_edges=sum(1 for j, _ in self.next[i] if j >= 0 and not on[j] and self.trains[j]),
                owner_has_weight=path in self.owners,
            )
            if graph.loss_side[n]:
                kind = "loss"
            elif not known:
                unknown[(path, kinds.readable(name))] = unknown.get((path, kinds.readable(name)), 0) + 1
            if kind == "weight" and kinds.is_matrix(name):
                path = self._holder(i, path, on)
            custom = not name[-1:].isdigit() and "::" not in name
            graph.kind.append(kind)
            graph.path.append(path)
            if inner and kinds.is_matrix(name) and kind != "loss":
                inner, function = False, function if function in ("matmul", "einsum", "linear") else "linear"
            graph.op.append(kinds.readable(name) if inner or custom or not function else function)
            graph.line.append((code, instruction))
            graph.matrix.append(kind == "weight" and kinds.is_matrix(name))
        for (path, op), count in unknown.items():
            graph.unaccounted.append(
                Unaccounted(path=path, op=op, why=f"operation of unknown kind ({count} on the way): counted as other")
            )

    def _holder(self, i: int, path: str, on: list[bool]) -> str:
        """The module that holds the matrix: the one that ran, else the parameter's own."""
        waiting = [j for j, _ in self.next[i] if j >= 0 and not on[j]]
        for _ in range(64):
            if not waiting:
                break
            j = waiting.pop()
            variable = self.variable.get(j)
            if variable is None:
                waiting += [b for b, _ in self.next[j] if b >= 0 and not on[b]]
            elif variable.dim() >= 2 and (holders := self.holders.get(id(variable))):
                return path if path in holders else holders[0]
        return path


def _weight_owners(modules: list[tuple[str, nn.Module]]) -> frozenset[str]:
    return frozenset(
        path for path, module in modules if any(p is not None and p.dim() >= 2 for p in module._parameters.values())
    )


def line_of(code: Any, instruction: int) -> str:
    """'model.py:41' from a code object and the instruction it stood at."""
    if code is None:
        return ""
    for start, stop, number in code.co_lines():
        if start <= instruction < stop and number is not None:
            return f"{code.co_filename.rsplit('/', 1)[-1]}:{number}"
    return f"{code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno}"
