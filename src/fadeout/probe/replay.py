"""Replay: the same backward pass with one factor of every operation of a kind replaced by 1."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fadeout.probe.account.norms import norm
from fadeout.probe.account.passes import Observer
from fadeout.probe.account.tape import Watcher
from fadeout.probe.graph import kinds
from fadeout.probe.graph.graph import Graph
from fadeout.records import Kind


class WithoutFactor(Observer):
    """Replaces what operations of one kind do to the gradient's size, and nothing else.

    Slopes pass the gradient as it came.  Weights and norms keep the direction of what they send
    towards the data, with the norm of what arrived.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.replaced = 0

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        for i, node in enumerate(graph.nodes):
            if i in graph.leaves or graph.loss_side[i] or graph.kind[i] != self.kind or not graph.edges[i]:
                continue
            slope = kinds.is_elementwise_slope(graph.names[i])
            node.register_hook(_passes(graph.edges[i], slope))
            self.replaced += 1
        return {}


def _passes(edges: list[tuple[int, int, int]], slope: bool) -> Callable[[Any, Any], Any]:
    inputs = [e for e, _, _ in edges]

    def hook(sent: tuple[Tensor | None, ...], arrived: tuple[Tensor | None, ...]) -> Any:
        given = next((g for g in arrived if g is not None), None)
        if given is None:
            return None
        changed = list(sent)
        for e in inputs:
            gradient = sent[e]
            if gradient is None:
                continue
            if slope and gradient.shape == given.shape:
                changed[e] = given.to(gradient.dtype)
            else:
                before, after = norm(given, exact=True), norm(gradient, exact=True)
                factor = torch.where(after > 0, before / after.clamp_min(1e-300), torch.zeros_like(after))
                changed[e] = gradient * factor.to(gradient.dtype)
        return tuple(changed)

    return hook
