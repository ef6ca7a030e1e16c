"""Twins: a slow, obvious second implementation of every measured quantity, in float64.

Nothing here is shared with the package, and nothing here is clever: gradients are cloned edge by edge
while backward runs, kept all at once, and added up by hand.
"""

import copy
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

Slot = tuple[Node, int]  # a place where gradients are summed: the output number of a node
Feeder = tuple[Node, int]  # a place gradients are sent from: the edge number of a node
End = Tensor | Slot  # a tensor stands for its own slot; for a leaf that is (AccumulateGrad, 0)


class Step(NamedTuple):
    """One executed operation: joint norm of the front before and after it, and its own part in decades."""

    node: Node
    before: float
    after: float
    own: float

    @property
    def log_gain(self) -> float:
        """Decades between before and after; 0 where the gradient was already zero."""
        return decades(self.after, self.before)

    @property
    def skip(self) -> float:
        """What merging did, the rest of the log gain; 0 where own alone is the whole of it."""
        return 0.0 if self.log_gain == self.own else self.log_gain - self.own


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinAccount:
    """The account of one backward pass.

    Attributes:
        steps: In order of execution.
        total: log10 of the joint norm at the ends; the sum of all log gains, plus log10 of the scale.
        end_norms: In the order the ends were given; 0 where nothing arrives.
        width: After each step, the slots in flight that are still to run; ends do not count.
        joins: For each slot with several feeding edges, the share of each; nan where the sum is zero.
        arriving: Norm of the whole gradient that arrives at each node, root of the sum over its slots:
            nodes that run in order of the walk, then the ends' nodes that do not run, as given.
    """

    steps: tuple[Step, ...]
    total: float
    end_norms: tuple[float, ...]
    width: tuple[int, ...]
    joins: dict[Slot, dict[Feeder, float]]
    arriving: dict[Node, float]


def account(loss: Tensor, ends: Sequence[End], *, scale: float = 1.0) -> TwinAccount:
    """Keep the account of the gradient's way from a loss to its ends.

    The graph is retained. An edge that sends nothing (None) puts nothing in flight and has share 0.

    Args:
        loss: Scalar with a live graph.
        ends: Where the account stops. Beyond an end's slot it does not go.
        scale: The gradient that backward starts with.

    Raises:
        ValueError: If the loss has no graph, no end can be reached, or one end lies beyond another in such
            a way that gradients outside the account would mix with those inside.
    """
    stops = [slot_of(end) for end in ends]
    nodes, edges = ways_to(loss, stops)
    root = slot_of(loss)
    flight = {root: as_double(torch.full_like(loss, scale))}
    sent: dict[Slot, dict[Feeder, Tensor | None]] = {}
    arrived: dict[Node, float] = {}
    steps, width = [], []
    for node, gradients in recorded(loss, nodes, stops, scale):
        before = joint(flight.values())
        mine = [slot for slot in flight if slot[0] is node]
        arrived[node] = joint(flight[slot] for slot in mine)
        for slot in mine:
            if slot not in stops:
                del flight[slot]
        others = joint(flight.values())
        out = []
        for index, target in edges[node]:
            gradient = gradients[index]
            sent.setdefault(target, {})[node, index] = gradient
            if gradient is not None:
                flight[target] = flight[target] + gradient if target in flight else gradient
                out.append(norm(gradient))
        after = joint(flight.values())
        steps.append(Step(node, before, after, decades(root_of_squares([others, *out]), before)))
        width.append(sum(slot not in stops for slot in flight))
    end_norms = [norm(flight[stop]) if stop in flight else 0.0 for stop in stops]
    order = list(dict.fromkeys([*nodes, *(node for node, _ in stops)]))
    for node in order:
        arrived.setdefault(node, joint(g for slot, g in flight.items() if slot[0] is node))
    return TwinAccount(
        steps=tuple(steps),
        total=log10(joint(flight.values())),
        end_norms=tuple(end_norms),
        width=tuple(width),
        joins={slot: shares(feeders) for slot, feeders in sent.items() if len(feeders) > 1},
        arriving={node: arrived[node] for node in order},
    )


def recorded(loss: Tensor, nodes: Iterable[Node], stops: Sequence[Slot], scale: float):
    """(node, raw gradients on its edges) of every node, in order of execution, all kept in float64."""
    records: list[tuple[Node, list[Tensor | None]]] = []

    def keep(node: Node) -> Callable:
        return lambda sent, _: records.append((node, [None if g is None else as_double(g) for g in sent]))

    hooks = [node.register_hook(keep(node)) for node in nodes]
    try:
        torch.autograd.grad(
            loss,
            [GradientEdge(*stop) for stop in dict.fromkeys(stops)],
            grad_outputs=torch.full_like(loss, scale),
            retain_graph=True,
            allow_unused=True,
        )
    finally:
        for hook in hooks:
            hook.remove()
    assert {node for node, _ in records} == set(nodes) and len(records) == len(set(nodes))
    return records


def ways_to(loss: Tensor, stops: Sequence[Slot]) -> tuple[list[Node], dict[Node, list[tuple[int, Slot]]]]:
    """Nodes that lead from the loss to a stop, in order of the walk, and each one's edges that do."""
    if loss.grad_fn is None:
        raise ValueError("account: the loss has no graph; check for detach() or no_grad() before it")
    root = slot_of(loss)
    if root in stops:
        return [], {}
    seen = reachable([loss.grad_fn], stops)
    leading: set[Node] = set()
    before = -1
    while len(leading) != before:  # until nothing changes: an obvious fixed point
        before = len(leading)
        for node in reversed(seen):
            if any(edge in stops or edge[0] in leading for edge in node.next_functions):
                leading.add(node)
    if not leading:
        raise ValueError("account: the loss does not depend on any end; check for detach() or no_grad()")
    nodes = [node for node in seen if node in leading]
    edges = {
        node: [(i, e) for i, e in enumerate(node.next_functions) if e in stops or e[0] in leading] for node in nodes
    }
    inside = leading | {node for node, _ in stops}
    outside = [node for node in reachable([node for node, _ in stops], []) if node not in leading]
    if any(target in inside for node in outside for target, _ in node.next_functions):
        raise ValueError("account: one end lies beyond another; leave out the one nearer to the loss")
    return nodes, edges


def reachable(roots: Iterable[Node], stops: Sequence[Slot]) -> list[Node]:
    """Every node that backward can reach from the roots without passing through a stop, depth first."""
    found: dict[Node, None] = {}
    ahead = list(roots)
    while ahead:
        node = ahead.pop()
        if node not in found:
            found[node] = None
            ahead += [edge[0] for edge in node.next_functions if edge[0] is not None and edge not in stops]
    return list(found)


def data_ends(loss: Tensor) -> list[End]:
    """What a user calls data in this graph: leaves that are no Parameter, and outputs of embeddings."""
    ends: list[End] = []
    for node in reachable([loss.grad_fn], []):
        leaf = getattr(node, "variable", None)
        if leaf is not None and not isinstance(leaf, nn.Parameter):
            ends.append(leaf)
        elif node.name().startswith("Embedding"):
            ends.append((node, 0))
    return ends


def gradient_norm_at(loss: Tensor, node: Node, slot: int) -> float:
    """Norm of the gradient at one slot, asked of autograd alone; 0 where none arrives."""
    (gradient,) = torch.autograd.grad(loss, [GradientEdge(node, slot)], retain_graph=True, allow_unused=True)
    return 0.0 if gradient is None else norm(as_double(gradient))


def gradients_one_by_one(make_loss: Callable[[], tuple[Tensor, Sequence[End]]]) -> tuple[float, ...]:
    """The values of `TwinAccount.arriving`, each asked of autograd by itself, on a fresh graph.

    Args:
        make_loss: Runs the forward pass once more and gives (loss, ends).
    """
    loss, ends = make_loss()
    stops = [slot_of(end) for end in ends]
    nodes, edges = ways_to(loss, stops)
    slots = dict.fromkeys([slot_of(loss), *(target for node in nodes for _, target in edges[node]), *stops])
    order = dict.fromkeys([*nodes, *(node for node, _ in stops)])
    return tuple(root_of_squares(gradient_norm_at(loss, *slot) for slot in slots if slot[0] is node) for node in order)


def shares(feeders: Mapping[Feeder, Tensor | None]) -> dict[Feeder, float]:
    """Signed part <g, G> / |G|^2 that each feeder carries of the sum G; 0 for one that sends nothing."""
    total = sum(g for g in feeders.values() if g is not None)
    square = norm(total) ** 2 if isinstance(total, Tensor) else 0.0
    return {
        feeder: math.nan if square == 0.0 else 0.0 if g is None else inner(g, total) / square
        for feeder, g in feeders.items()
    }


def slot_of(end: End) -> Slot:
    """The slot an end stands for."""
    edge = get_gradient_edge(end) if isinstance(end, Tensor) else end
    return edge[0], edge[1]


def as_double(g: Tensor) -> Tensor:
    """A dense float64 (complex128) copy that nothing else can change."""
    dense = g.detach().to_dense() if g.layout != torch.strided else g.detach()
    return dense.to(torch.complex128 if dense.is_complex() else torch.float64, copy=True)


def inner(a: Tensor, b: Tensor) -> float:
    """Inner product; of complex tensors the real part of conj(a) b."""
    return float((a.conj() * b).real.sum()) if a.is_complex() else float((a * b).sum())


def norm(g: Tensor) -> float:
    """Euclidean norm, scaled by the largest element so that squares neither vanish nor overflow."""
    largest = float(g.abs().max()) if g.numel() else 0.0
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(float((g / largest).abs().square().sum()))


def joint(gradients: Iterable[Tensor]) -> float:
    """Joint norm J of several gradients."""
    return root_of_squares(norm(g) for g in gradients)


def root_of_squares(norms: Iterable[float]) -> float:
    """Joint norm of several norms, scaled by the largest one; nan if any is nan."""
    norms = list(norms)
    largest = max(norms, default=0.0)
    if any(math.isnan(n) for n in norms):
        return math.nan
    if largest == 0.0 or math.isinf(largest):
        return largest
    return largest * math.sqrt(math.fsum((n / largest) ** 2 for n in norms))


def log10(value: float) -> float:
    """log10 with -inf at zero."""
    return math.log10(value) if value != 0.0 else -math.inf


def decades(after: float, before: float) -> float:
    """log10(after / before): -inf where it dies here, 0 where it was already dead and stays so."""
    if before == 0.0:
        return 0.0 if after == 0.0 else math.nan
    return log10(after) - log10(before)


def between_sample_share(z: Tensor) -> float:
    """1 - |mean over samples|^2 / mean |sample|^2, as spread over size; nan if z is zero. z: (N, ...)."""
    rows = z.detach().double().flatten(1)
    spread = (rows - rows.mean(0)).square().sum(1).mean()  # the same number without the cancellation
    return float(spread / rows.square().sum(1).mean())


def slopes(activation: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Derivative of an elementwise activation at every element of z, by autograd on a float64 clone."""
    leaf = z.detach().double().clone().requires_grad_()
    (slope,) = torch.autograd.grad(activation(leaf.clone()).sum(), leaf)  # a clone: it may work in place
    return slope


def mean_slope(activation: Callable[[Tensor], Tensor], z: Tensor) -> float:
    """Mean of the signed slope over all elements of z."""
    return float(slopes(activation, z).mean())


def dead(activation: Callable[[Tensor], Tensor], z: Tensor, *, unit_dim: int = -1) -> float:
    """Share of units whose slope is exactly 0 everywhere else than along unit_dim (1 for channels)."""
    by_unit = slopes(activation, z).movedim(unit_dim, 0).flatten(1)
    return sum(all(s == 0.0 for s in unit) for unit in by_unit.tolist()) / len(by_unit)


def saturated(activation: Callable[[Tensor], Tensor], z: Tensor, *, below: float = 0.08) -> float:
    """Share of elements whose |slope| is below that part of the largest |slope| on a fine grid, +-20."""
    largest = slopes(activation, torch.linspace(-20, 20, 40_001, dtype=torch.float64)).abs().max()
    return float((slopes(activation, z).abs() < below * largest).double().mean())


def update_ratio(
    model: nn.Module, optimizer: torch.optim.Optimizer, grads: Mapping[str, Tensor | None]
) -> dict[str, float]:
    """rms(update) / rms(weight) by parameter name, from one real step of a deep copy of both.

    Args:
        model: Stays as it is.
        optimizer: Stays as it is, state included.
        grads: By name as in `named_parameters`; None or missing: no gradient for that one.
    """
    model, optimizer = copy.deepcopy((model, optimizer))  # together, so that both keep the same parameters
    old = {name: p.detach().double().clone() for name, p in model.named_parameters()}
    for name, p in model.named_parameters():
        gradient = grads.get(name)
        p.grad = None if gradient is None else gradient.detach().to(p).clone()
    optimizer.step()
    new = {name: p.detach().double() for name, p in model.named_parameters()}
    return {name: float((new[name] - w).square().mean().sqrt() / w.square().mean().sqrt()) for name, w in old.items()}


def underflow_share(grads: Sequence[Tensor], dtype: torch.dtype) -> float:
    """Share of non-zero values that a cast flushes once the largest stands at the dtype's maximum.

    nan if there is no non-zero value or one that is not finite.
    """
    values = torch.cat([as_double(g).flatten() for g in grads])
    values = values[values != 0]
    if values.numel() == 0 or not values.isfinite().all():
        return math.nan
    scaled = values / values.abs().max() * torch.finfo(dtype).max
    return float((scaled.to(dtype).double() == 0).double().mean())


def theil_sen(y: Sequence[float]) -> float:
    """Median of the slopes of all pairs of points (i, y[i]); nan for fewer than two."""
    pairs = combinations(range(len(y)), 2)
    rises = [(y[j] - y[i]) / (j - i) for i, j in pairs]
    return statistics.median(rises) if rises else math.nan


def effective_blocks(branch_shares: Sequence[float]) -> float:
    """(sum s)^2 / sum s^2; nan if all are zero."""
    squares = math.fsum(s * s for s in branch_shares)
    return math.fsum(branch_shares) ** 2 / squares if squares else math.nan
