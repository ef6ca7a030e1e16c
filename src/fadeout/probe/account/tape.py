"""The tape: one backward pass with hooks that write down the norm of every gradient in flight."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from fadeout.probe.account.norms import Lengths, inner, norm
from fadeout.probe.graph.ends import Slot
from fadeout.probe.graph.graph import Graph
from fadeout.probe.later import Later

Watcher = Callable[[int, Any], None]


@dataclass(slots=True)
class Tape:
    """What one backward pass wrote down, as plain floats.

    Attributes:
        order: Nodes in the order they ran.
        arrived: Norm of the whole gradient that arrived at a slot.
        sent: Per (node, input): norm of the gradient sent along an edge that feeds a join or a leaf.
        sums: Per joined slot: (node, its input, norm of the sum so far), in order of arrival.
        shares: Per joined slot: {(node, input): <g, total> / |total|^2}.
        parameters: Gradient of every requested parameter, None where the loss does not depend on it.
        returned: Per end: norm of the gradient that autograd itself returned.
        sizes: Per weight operation: elements of the gradient that arrives.
        scale: What the backward was seeded with.
        by_backward: `.backward` was used.
        half: Some gradient was float16.
        loss: Value of the scalar.
    """

    order: list[int] = field(default_factory=list)
    arrived: dict[Slot, float] = field(default_factory=dict)
    sent: dict[Slot, float] = field(default_factory=dict)
    sums: dict[Slot, list[tuple[int, int, float]]] = field(default_factory=dict)
    shares: dict[Slot, dict[tuple[int, int], float]] = field(default_factory=dict)
    parameters: list[Tensor | None] = field(default_factory=list)
    returned: dict[Slot, float] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    scale: float = 1.0
    by_backward: bool = False
    half: bool = False
    loss: float = math.nan


class _Join:
    """A slot that several gradients meet in, while they arrive."""

    __slots__ = ("held", "left", "total")

    def __init__(self, left: int) -> None:
        self.left = left
        self.held: list[tuple[int, int, Tensor]] = []
        self.total: Tensor | None = None


def record(
    graph: Graph,
    loss: Tensor,
    parameters: Sequence[Tensor],
    *,
    scale: float = 1.0,
    exact: bool = False,
    watch: dict[int, Watcher] | None = None,
    by_backward: bool = False,
    later: Later | None = None,
) -> Tape:
    """Run the backward pass and write it down.

    Args:
        graph: What lies between the loss and the ends.
        loss: The scalar; its graph is freed.
        parameters: Whose gradients are wanted, as a plain training step would.
        scale: Seed of the backward; an exact power of two.
        exact: Norms in float64 throughout.
        watch: Called with (node, the gradients that arrive there) before the node runs.
        by_backward: Use `.backward`, which some custom functions need; gradients are then
            accumulated into `.grad` and the caller puts those back.
        later: Where others' numbers wait to be read together with the tape's.
    """
    later = later or Later()
    tape = Tape(scale=scale, by_backward=by_backward)
    order = tape.order
    lengths = Lengths(exact=exact)
    measure = lengths.add
    keys: list[tuple[str, Any]] = []  # what each length is of
    note = keys.append
    share_keys: list[tuple[Slot, int, int]] = []
    products: list[Tensor] = []
    captured: dict[Slot, Tensor] = {}
    joins: dict[Slot, _Join] = {slot: _Join(count) for slot, count in graph.feeders.items() if count > 1}
    joined: dict[int, list[int]] = {}
    for n, k in joins:
        joined.setdefault(n, []).append(k)
    watch = watch or {}

    def meet(slot: Slot, total: Tensor | None) -> None:
        join = joins[slot]
        if total is not None and join.held:
            *others, (n, e, _) = join.held
            tape.shares[slot] = {(n, e): 1.0}  # what the others leave, so that shares add to 1
            for n, e, part in others:
                share_keys.append((slot, n, e))
                products.append(inner(part, total))
        join.held.clear()
        join.total = None

    def before(i: int) -> Callable[[tuple[Tensor | None, ...]], None]:
        meets = joined.get(i, ())
        matrix = graph.matrix[i]
        watcher = watch.get(i)

        def hook(gradients: tuple[Tensor | None, ...]) -> None:
            order.append(i)
            for k, gradient in enumerate(gradients):
                if gradient is not None:
                    if gradient.dtype is torch.float16:
                        tape.half = True
                    note(("arrived", (i, k)))
                    measure(gradient)
                    if matrix:
                        tape.sizes[i] = tape.sizes.get(i, 0) + gradient.numel()
            for k in meets:
                meet((i, k), gradients[k])
            if watcher is not None:
                watcher(i, gradients)
            if by_backward:
                for k in (s for n, s in (*graph.ends, *graph.beginnings) if n == i):
                    if gradients[k] is not None:
                        captured[(i, k)] = gradients[k].clone()  # type: ignore[union-attr]

        return hook

    def after(i: int, wanted: list[tuple[int, Slot]]) -> Callable[[Any, Any], None]:
        def hook(gradients: tuple[Tensor | None, ...], _: Any) -> None:
            for e, slot in wanted:
                gradient = gradients[e]
                join = joins.get(slot)
                if join is not None:
                    join.left -= 1
                if gradient is None:
                    continue
                note(("sent", (i, e)))
                measure(gradient)
                if join is None:
                    continue
                if join.total is None:
                    join.total = gradient
                    tape.sums.setdefault(slot, []).append((i, e, SENT))
                elif join.left or slot[0] in graph.leaves:  # a leaf shows its sum to no hook
                    join.total = join.total + gradient
                    tape.sums.setdefault(slot, []).append((i, e, PARTIAL))
                    note(("sum", (slot, len(tape.sums[slot]) - 1)))
                    measure(join.total)
                else:
                    tape.sums.setdefault(slot, []).append((i, e, WHOLE))
                join.held.append((i, e, gradient))

        return hook

    handles = []
    ends = [*graph.ends, *graph.beginnings]
    leaves = [slot for slot in ends if slot[0] in graph.leaves]
    inner_ends = [slot for slot in ends if slot[0] not in graph.leaves and slot in graph.feeders]
    try:
        for i, node in enumerate(graph.nodes):
            if i in graph.leaves:
                continue
            handles.append(node.register_prehook(before(i)))
            wanted = [(e, (j, k)) for e, j, k in graph.edges[i] if (j, k) in joins or j in graph.leaves]
            if wanted:
                handles.append(node.register_hook(after(i, wanted)))
        asked = [p for p in parameters if p.requires_grad]  # a step may freeze some on its way
        targets: list[Any] = [*asked, *(graph.leaves[n] for n, _ in leaves)]
        targets += [GradientEdge(graph.nodes[n], k) for n, k in inner_ends]
        seed = torch.full_like(loss, scale)
        if by_backward:
            for tensor in targets[: len(asked) + len(leaves)]:
                tensor.grad = None
            waiting = [(hooks, dict(hooks)) for v in graph.variables if (hooks := v._post_accumulate_grad_hooks)]
            for hooks, _ in waiting:  # an optimizer that steps inside backward must not train the user's model
                hooks.clear()
            try:
                torch.autograd.backward(loss, seed)
            finally:
                for hooks, own in waiting:
                    hooks.update(own)
            found: list[Any] = [t.grad for t in targets[: len(asked) + len(leaves)]]
            found += [captured.get(slot) for slot in inner_ends]
        elif targets:
            found = list(torch.autograd.grad(loss, targets, grad_outputs=seed, allow_unused=True))
        else:
            found = []
    finally:
        for handle in handles:
            handle.remove()
    gradients = iter(found[: len(asked)])
    tape.parameters = [next(gradients) if p.requires_grad else None for p in parameters]
    found = found[len(asked) :]
    for leaf, gradient in zip(leaves, found, strict=False):
        if gradient is not None and leaf in joins:
            meet(leaf, gradient)
    given = [(where, g) for where, g in zip(leaves + inner_ends, found, strict=True) if g is not None]
    ends_read = [norm(g, exact=True) for _, g in given]
    answer = later.ask([*lengths.all(), *ends_read, *products, loss.detach()])
    cursor = iter(answer.values)
    partial: dict[tuple[Slot, int], float] = {}
    for what, key in keys:
        length = next(cursor)
        if what == "arrived":
            tape.arrived[key] = length
        elif what == "sent":
            tape.sent[key] = length
        else:
            partial[key] = length
    tape.returned = {where: next(cursor) for where, _ in given}
    for where, length in tape.returned.items():  # leaves and ends that nothing beyond needed
        tape.arrived.setdefault(where, length)
    for where, events in tape.sums.items():
        tape.sums[where] = [(n, e, _sum(tape, partial, where, m, n, e, how)) for m, (n, e, how) in enumerate(events)]
    for where, n, e in share_keys:
        product, length = next(cursor), tape.arrived[where]
        share = product / length**2 if length > 0 else float("nan")
        shares = tape.shares[where]
        (last_key, rest), *_ = shares.items()
        shares[(n, e)] = share
        shares[last_key] = rest - share
    tape.loss = next(cursor)
    return tape


SENT, PARTIAL, WHOLE = -1.0, -2.0, -3.0  # how a running sum is known: the first part, measured, all that arrives


def _sum(tape: Tape, partial: dict[tuple[Slot, int], float], slot: Slot, m: int, n: int, e: int, how: float) -> float:
    """Norm of what had arrived at a join after one more part."""
    if how == SENT:
        return tape.sent[(n, e)]
    return partial[(slot, m)] if how == PARTIAL else tape.arrived.get(slot, 0.0)


def arrivals(tape: Tape) -> dict[int, float]:
    """Norm of the gradient that arrives at every node, over all its slots, the seed still in it."""
    norms: dict[int, float] = {}
    for (i, _), length in tape.arrived.items():
        norms[i] = math.hypot(norms.get(i, 0.0), length)
    return norms


def edge_norm(graph: Graph, tape: Tape, i: int, e: int, slot: Slot) -> float:
    """Norm of what node i sent along its input e, the seed still in it."""
    if graph.feeders[slot] > 1 or slot[0] in graph.leaves:
        return tape.sent.get((i, e), 0.0)
    return tape.arrived.get(slot, 0.0)
