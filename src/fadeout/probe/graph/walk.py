"""The walk: the autograd graph behind a loss as plain lists, before anything is left out."""

from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

from fadeout.call import privates
from fadeout.probe.graph import kinds
from fadeout.probe.graph.names import Names
from fadeout.probe.graph.paths import readable_path
from fadeout.records import Unaccounted


def leaves_of(root: Node) -> list[Tensor]:
    """The leaf tensors that collect a gradient below a node."""
    return [node.variable for node in walk_from(root)[0] if node.name().endswith("AccumulateGrad")]  # type: ignore[attr-defined]


def walk_from(root: Node) -> tuple[list[Node], list[tuple[tuple[Node | None, int], ...]]]:
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


class Walk:
    """Every node behind a loss, numbered in topological order, and what lies below each.

    Attributes:
        order: The autograd nodes, the loss first.
        node_names: Their names.
        next: Per node: (node, slot) of each of its inputs, -1 for a constant.
        variable: Leaf tensors by node.
        data_leaf: Inputs of the model among them, with their names.
        trains: A trained parameter lies below.
        sees_leaf: An input of the model lies below.
        cut: Edges along which backward is not sent.
        loss_side: No output of the watched module depends on it.
    """

    def __init__(
        self,
        order: list[Node],
        below: list[tuple[tuple[Node | None, int], ...]],
        names: Names,
        modules: list[tuple[str, nn.Module]],
    ) -> None:
        position = {node: i for i, node in enumerate(order)}
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
                elif not names.track_inputs and not isinstance(variable, nn.Parameter) and not names.named(variable):
                    self.data_leaf[i] = "input"  # a leaf that the forward made of its input
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
            if any(p is not None and p.dim() >= 2 and not p.requires_grad for p in privates.parameters(module).values())
        )
        self.holders: dict[int, list[str]] = {}
        for path, module in modules:
            for parameter in privates.parameters(module).values():
                if parameter is not None and parameter.dim() >= 2:
                    self.holders.setdefault(id(parameter), []).append(readable_path(path))
        self.unaccounted: list[Unaccounted] = []
        self.cut: set[tuple[int, int]] = set()
        self.within = False
        self._named()
        self.loss_side = self._loss_side()

    @cached_property
    def traits(self) -> "Traits":
        """What lies below each node; few graphs ask for it."""
        return Traits(self)

    @cached_property
    def slots(self) -> list[list[int]]:
        """Per node: the outputs that something reads, [0] for the loss."""
        found: list[set[int]] = [set() for _ in self.order]
        for edges in self.next:
            for j, slot in edges:
                if j >= 0:
                    found[j].add(slot)
        return [sorted(slots) or [0] for slots in found]

    @cached_property
    def uses(self) -> list[int]:
        """Per node: edges into it."""
        found = [0] * len(self.order)
        for edges in self.next:
            for j, _ in edges:
                if j >= 0:
                    found[j] += 1
        return found

    def _loss_side(self) -> list[bool]:
        """Nodes that no output depends on; where no output is seen, those above the last matrices."""
        outputs = {
            i
            for tensor in self.names.outputs
            if tensor.grad_fn is not None and (i := self.position.get(tensor.grad_fn)) is not None and i != 0
        }
        if not outputs:  # the root was not called as a whole
            outputs = {i for i, name in enumerate(self.node_names) if kinds.is_matrix(name)}
        outputs |= {self.position[t.grad_fn] for t in self.names.others if t.grad_fn in self.position} - {0}
        inside = [False] * len(self.order)
        for i in outputs:
            inside[i] = True
        for i, edges in enumerate(self.next):
            if inside[i]:
                for j, _ in edges:
                    if j >= 0:
                        inside[j] = True
        return [not within for within in inside] if outputs else inside

    def origin(self, i: int) -> tuple[str, str, str, Any, int]:
        """Where a node was made: path, owner class, function ("f/" for an inner node of f), code, instruction."""
        return self._origins[i]

    def leads(self, i: int, goal: int) -> bool:
        """Whether some way leads from node i to a node on its data side."""
        waiting, seen = [i], {i}
        while waiting:
            for j, _ in self.next[waiting.pop()]:
                if j == goal:
                    return True
                if 0 <= j < goal and j not in seen:  # topological numbers: nothing beyond the goal leads to it
                    seen.add(j)
                    waiting.append(j)
        return False

    def turn(self, i: int) -> int:
        """When it was made in the forward, as a running number; -1 where that was not seen."""
        return self._turns[i]

    def _named(self) -> None:
        """Origins and turns; a node that no call returned was made inside the call whose result reads it."""
        of = self.names.of
        turns = {node: n for n, node in enumerate(of)}
        nowhere = ("", "", "", None, 0)
        origins: list[Any] = [None] * len(self.order)
        found = [-1] * len(self.order)
        for i, node in enumerate(self.order):
            own = of.get(node)
            if own is not None:
                origins[i], found[i] = own, turns[node]
            elif origins[i] is None:
                origins[i] = nowhere
            path, owner, function, code, at = origins[i]
            inner = None
            for j, _ in self.next[i]:
                if j >= 0 and origins[j] is None:
                    if inner is None:
                        inner = origins[i] if function[-1:] in ("", "/") else (path, owner, f"{function}/", code, at)
                    origins[j], found[j] = inner, found[i]
        self._origins: list[tuple[str, str, str, Any, int]] = origins
        self._turns = found


def _weight_owners(modules: list[tuple[str, nn.Module]]) -> frozenset[str]:
    return frozenset(
        path
        for path, module in modules
        if any(p is not None and p.dim() >= 2 for p in privates.parameters(module).values())
    )


class Traits:
    """What lies below each node, itself included, as far as it tells weights from signals.

    A product of parameters is a weight.  A chain of layers on parameters (learned queries, a
    hypernetwork) is a signal: a gradient can fade in it.

    Attributes:
        matrix: A matrix is applied.
        layer: One is applied by a function that layers call: linear, a convolution.
        deep: A matrix stands behind a slope behind a matrix.
    """

    def __init__(self, walk: Walk) -> None:
        size = len(walk.order)
        self.matrix = [False] * size
        self.layer = [False] * size
        self.deep = [False] * size
        bent = [False] * size  # a slope stands behind a matrix
        for i in range(size - 1, -1, -1):
            if i in walk.variable:
                continue
            below = [j for j, _ in walk.next[i] if j >= 0]
            name = walk.node_names[i]
            applies = kinds.is_matrix(name)
            above = any(bent[j] for j in below)
            self.deep[i] = (applies and above) or any(self.deep[j] for j in below)
            over = any(self.matrix[j] for j in below)
            bent[i] = above or (over and kinds.is_elementwise_slope(name))
            self.matrix[i] = applies or over
            by_layer = applies and walk.origin(i)[2].rstrip("/") in kinds.LAYER_FUNCTIONS
            self.layer[i] = by_layer or any(self.layer[j] for j in below)
