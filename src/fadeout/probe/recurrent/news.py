"""News: whether every step of a loop reads new data and the same weights, and how it carries its state.

A stack of layers hands a state on as well, and so does an iteration towards a fixed point; only time
brings new data at every step.  A running sum brings new data, but keeps no state.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from torch.autograd.graph import Node

from fadeout.probe.graph import kinds
from fadeout.probe.graph.graph import Graph
from fadeout.probe.recurrent.carried import LEAST, Calls, Carried, pairs

Carry = Literal["gates", "decay", "weights", "gated weights"]
_PICKS = frozenset("Select Slice Index IndexSelect Gather Narrow Take TakeAlongDim MaskedSelect Diagonal".split())
_SUMS = frozenset("Add Sub Rsub Neg Expand ToCopy Alias CopySlices".split())  # beside the isometries
# Products, with the places among their inputs that are factors; a choice is a factor of 0 or 1.
_FACTORS: dict[str, set[int]] = {
    "Mul": {0, 1},
    "Div": {0, 1},
    "Addcmul": {1, 2},
    "Addcdiv": {1, 2},
    "Lerp": {2},
    "Where": set(),
}
_WHOLE = 4096  # elements of a tensor that are compared


@dataclass(frozen=True, slots=True)
class Step:
    """What lies between a state and the one before it.

    Attributes:
        way: Nodes made in this step through which the state before is read.
        read: What else it reads, as keys: two steps with the same keys read the same data.
    """

    way: frozenset[int]
    read: frozenset[Any]


def step_between(
    graph: Graph,
    turn: list[int],
    now: Collection[int],
    before: Collection[int],
    since: int,
    *,
    own: Callable[[int], bool] = lambda _: False,
    spared: bool = False,
) -> Step:
    """Follow a state back to the one before it.

    Args:
        turn: Per node: when it was made, -1 for leaves.
        now, before: The nodes that hold the two states.
        since: When the one before was made.
        own: Whether a node of an earlier step is the loop's own, and no news.
        spared: Saved tensors must not be read.
    """
    ends = {node for node, _ in graph.ends}
    inside, waiting = set(now), list(now)
    read: set[Any] = set()
    chosen: list[tuple[int, Any]] = []
    way: set[int] = set()
    up: dict[int, list[int]] = {}
    while waiting:
        i = waiting.pop()
        if i in ends:
            read.add(_end(graph, i, spared))
        pick = _is_pick(graph, i)
        if pick:
            chosen.append(_picked(graph, i, turn, since))
        for _, j, slot in graph.edges[i]:
            up.setdefault(j, []).append(i)
            if j in before:
                way.add(j)
            elif since < turn[j] <= turn[i]:
                if j not in inside:
                    inside.add(j)
                    waiting.append(j)
            elif not pick and not own(j):
                read.add((j, slot))
    waiting = list(way)
    while waiting:
        for i in up.get(waiting.pop(), ()):
            if i not in way:
                way.add(i)
                waiting.append(i)
    for j, key in chosen:
        if j not in way and not own(j):
            read.add((_line(graph, j) if j in inside else j, *key))
    return Step(frozenset(way - set(before)), frozenset(read - {None}))


def _line(graph: Graph, i: int) -> Any:
    code, instruction = graph.line[i]
    return (graph.runner[i], id(code), instruction)


def _is_pick(graph: Graph, i: int) -> bool:
    return kinds.base_name(graph.names[i]) in _PICKS


def _picked(graph: Graph, i: int, turn: list[int], since: int) -> tuple[int, Any]:
    """Which tensor a selection reads, through selections of selections, and which part of it."""
    chosen = [_chosen(graph.nodes[i])]
    while graph.edges[i]:
        _, j, slot = graph.edges[i][0]
        if not since < turn[j] <= turn[i] or not (_is_pick(graph, j) or kinds.is_isometry(graph.names[j])):
            return j, (slot, *chosen)
        if _is_pick(graph, j):
            chosen.append(_chosen(graph.nodes[j]))
        i = j
    return i, tuple(chosen)


def _chosen(node: Node) -> Any:
    """The numbers and indices by which an operation selects."""
    found = []
    for name in ("dim", "index", "start", "end", "step", "indices", "mask", "offset"):
        value = getattr(node, f"_saved_{name}", None)
        if value is not None:
            found.append(_contents(value) if isinstance(value, (Tensor, tuple, list)) else value)
    return tuple(found)


def _end(graph: Graph, i: int, spared: bool) -> Any:
    """What an end inside the step reads: a row of a table, a constant; None where it is the same for all samples."""
    if i in graph.leaves or spared or not graph.nodes:
        return (i, 0)
    node = graph.nodes[i]
    if kinds.is_embedding(graph.names[i]):
        indices = getattr(node, "_saved_indices", None)
        if not isinstance(indices, Tensor):
            return (i, 0)
        one = indices.dim() == 0 or (indices.numel() > 1 and bool((indices == indices.flatten()[0]).all()))
        return None if one else (graph.path[i], _contents(indices))
    saved = [getattr(node, f"_saved_{name}", None) for name in ("self", "mat1", "input")]
    given = [value for value in saved if isinstance(value, Tensor) and not value.requires_grad]
    return (graph.path[i], *map(_contents, given)) if given else (i, 0)


def _contents(value: Any) -> Any:
    """The first of a tensor's elements, to compare two by."""
    if isinstance(value, Tensor):
        return (tuple(value.shape), tuple(value.detach().flatten()[:_WHOLE].tolist()))
    return tuple(_contents(v) for v in value) if isinstance(value, (tuple, list)) else value


def carry_of(calls: Calls, state: Carried, *, spared: bool = False) -> Carry | None:
    """How a loop carries its state, where its steps are steps in time; None where they are not.

    Returns:
        "gates" where each element is multiplied with something made of data, "decay" where with a
        constant or a parameter; "weights" where the way leads through anything else, "gated weights"
        where it also leads through such products.
    """
    graph = calls.graph
    steps = {k: _step(calls, state, k, spared) for k in _neighbours(state)}
    both = [(steps[k - 1], steps[k]) for k in pairs(state) if k - 1 in steps]
    new = sum(bool(b.read - a.read) for a, b in both)
    if 2 * new <= len(both) or any(not _alike(graph, calls, a, b, len(state.states)) for a, b in both):
        return None
    names = {kinds.base_name(graph.names[i]) for step in steps.values() for i in step.way}
    plain = {n for n in names if n not in _SUMS and not kinds.is_isometry(f"{n}Backward0") and n not in _PICKS}
    if not plain:
        return None  # a running sum
    by_data = any(_by_data(graph, step) for step in steps.values())
    if not plain <= _FACTORS.keys():
        return "gated weights" if by_data else "weights"
    return "gates" if by_data else "decay"


def _neighbours(state: Carried) -> list[int]:
    """Steps to look at and those before them; the first of all, before which there is none, only of a short loop."""
    least = 0 if len(state.states) < LEAST else 1
    return sorted({k for n in pairs(state) for k in (n - 1, n) if k >= least})


def _step(calls: Calls, state: Carried, k: int, spared: bool) -> Step:
    turn = calls.turn
    before = {i for i, _ in state.states[k - 1]} if k else set()
    since = state.turns[k - 1] if k else 2 * state.turns[0] - state.turns[1]

    def own(j: int) -> bool:
        return turn[j] >= state.start and calls.site.get(turn[j]) in state.sites

    return step_between(calls.graph, turn, [i for i, _ in state.states[k]], before, since, own=own, spared=spared)


def _alike(graph: Graph, calls: Calls, a: Step, b: Step, steps: int) -> bool:
    """Whether two steps lead the state through the same lines and the same weights."""

    def told(step: Step) -> Counter[Any]:
        applied = [i for i in step.way if graph.multiplies.get(i)]
        return Counter((graph.runner[i], graph.line[i][1], *sorted(graph.multiplies[i])) for i in applied)

    lines = [_line(graph, i) for i in b.way if graph.line[i][0] is not None]
    often = all(2 * len(calls.turns.get(line, ())) >= steps for line in lines)
    return often and (not a.way or told(a) == told(b))


def _by_data(graph: Graph, step: Step) -> bool:
    """Whether the way leads through a product of the state with something made of data."""
    return any(
        factors <= {k for k, _, _ in graph.edges[i]}
        for i in step.way
        if (factors := _FACTORS.get(kinds.base_name(graph.names[i]))) is not None
    )
