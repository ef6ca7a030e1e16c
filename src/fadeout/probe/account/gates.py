"""Gates: trained factors at the end of residual branches that start nearly shut, and what is lost at them.

A LayerScale of 1e-6 keeps the gradient from its branch as a zero would, and only at the start: its own gradient
is as large as any, and it opens.  What the gradient loses there says nothing of the layers.
"""

import math
from collections.abc import Callable

from torch import Tensor

from fadeout.probe.account.blocks import branch_ends
from fadeout.probe.account.passes import Observer, Pass
from fadeout.probe.account.tape import Watcher, arrivals, edge_norm
from fadeout.probe.graph.graph import Graph

SHUT = -2.0  # decades of a gate's own gain: published starts are 1e-6 to 1e-3 (LayerScale, SkipInit); 0.1 is open
AJAR = 0.3  # decades by which the tightest gate is opened to see what depends on it


class Ajar(Observer):
    """Lets more gradient through every nearly shut gate, each in proportion to what it takes."""

    def __init__(self, shut: dict[int, float]) -> None:
        self.step = AJAR / max(shut.values())
        self._shut = shut

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        for i, toll in self._shut.items():
            graph.nodes[i].register_hook(_scaled(10 ** (toll * self.step)))
        return {}


def _scaled(factor: float) -> Callable[..., tuple[Tensor | None, ...]]:
    def hook(given: tuple[Tensor | None, ...], _: object) -> tuple[Tensor | None, ...]:
        return tuple(g if g is None else g * factor for g in given)

    return hook


def shut_gates(done: Pass) -> dict[int, float]:
    """Decades that every nearly shut gate takes, by its node."""
    graph, tape = done.graph, done.tape
    totals = arrivals(tape)
    found = {}
    for i in graph.multiplies:
        if graph.kind[i] != "weight" or graph.loss_side[i]:
            continue
        arrived = totals.get(i, 0.0)
        sent = math.hypot(*(edge_norm(graph, tape, i, e, (j, k)) for e, j, k in graph.edges[i]))
        if 0 < sent < math.inf and 0 < arrived < math.inf:
            gain = math.log10(sent) - math.log10(arrived)
            if gain <= SHUT:
                found[i] = -gain
    ends = branch_ends(graph) if found else set()
    return {i: toll for i, toll in found.items() if i in ends}


def tolls(done: Pass, ajar: Pass, step: float) -> list[float]:
    """Per node: decades that its gradient leaves at nearly shut gates; of ways that meet, by their weight.

    The gradient is the sum over all ways from the loss, each with the product of its gates.  Where every gate's
    gain g becomes g ** (1 - step), it grows by `step` times what it had left at the gates.

    Args:
        done: The pass as it is.
        ajar: The same under `Ajar`, whose step is given.
    """
    before, after = arrivals(done.tape), arrivals(ajar.tape)
    found = [0.0] * len(done.graph.names)
    for i, length in before.items():
        other = after.get(i, 0.0)
        if 0 < length < math.inf and 0 < other < math.inf:
            found[i] = max((math.log10(other) - math.log10(length)) / step, 0.0)
    return found
