"""The walk: the autograd graph behind a loss as plain lists, before anything is left out."""

from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

from fadeout.probe.names import Names, readable_path
from fadeout.records import Unaccounted


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
                    self.holders.setdefault(id(parameter), []).append(readable_path(path))
        self.unaccounted: list[Unaccounted] = []
        self.cut: set[tuple[int, int]] = set()
        self.within = False

    def origin(self, i: int) -> tuple[str, str, str, Any, int]:
        return self.names.of.get(self.order[i], ("", "", "", None, 0))


def _weight_owners(modules: list[tuple[str, nn.Module]]) -> frozenset[str]:
    return frozenset(
        path for path, module in modules if any(p is not None and p.dim() >= 2 for p in module._parameters.values())
    )
