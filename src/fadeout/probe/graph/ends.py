"""Ends: where the account stops on the data side."""

from dataclasses import dataclass, field
from typing import Literal

from fadeout.probe.graph import kinds
from fadeout.probe.graph.beginnings import beginnings
from fadeout.probe.graph.walk import Walk
from fadeout.records import Unaccounted

Slot = tuple[int, int]  # (node, which of its outputs)
What = Literal["input", "embedding", "weight"]


@dataclass(slots=True)
class Ends:
    """Where the account stops.

    Attributes:
        data: Where data enters: what it is, and whose.
        beginnings: Where a trained part begins that no data enters: learned queries, a tower on
            features that were detached, an encoder of integer time steps.
    """

    data: dict[Slot, tuple[What, str]]
    beginnings: dict[Slot, tuple[What, str]] = field(default_factory=dict)


def find_ends(walk: Walk, *, within: bool) -> Ends:
    """Decide where the account stops.

    Data ends come first: inputs, and the results of embeddings.  A trained part that leads to none
    of them gets an end of its own where it begins, so that no trained layer is left out.

    Args:
        within: The account ends where tensors entered the watched module.
    """
    ends: dict[Slot, tuple[What, str]] = {}
    if within:
        for node, slot in walk.names.entered:
            i = walk.position.get(node)
            if i is not None:
                ends[(i, slot)] = ("input", walk.origin(i)[0] or "input")
    for i, path in walk.data_leaf.items():
        ends[(i, 0)] = ("input", path)
    whole = not (within and ends)
    if whole:
        for i, name in enumerate(walk.node_names):
            if kinds.is_embedding(name) and _looks_up(walk, i):
                ends[(i, 0)] = ("embedding", walk.origin(i)[0] or "embedding")
    _cut_frozen(walk, ends)
    found = Ends(ends)
    if whole:
        found.beginnings = beginnings(walk, ends)
    if not ends and not found.beginnings:
        ends.update(_lowest(walk))
    if walk.names.under_transform:
        why = "the model was called under a torch.func transform: the account stops at the first weights"
        walk.unaccounted.append(Unaccounted(path="", op="input", why=why))
    for path, tensor in walk.names.inputs:
        if not any(v is tensor for v in walk.variable.values()):
            walk.unaccounted.append(
                Unaccounted(
                    path=path,
                    op="input",
                    why="no gradient path leads to it: rounding, indexing, detach() or no_grad() in between",
                )
            )
    return found


def _looks_up(walk: Walk, i: int) -> bool:
    """Whether an embedding reads a table, and not a tensor that was computed from data or by layers."""
    table = walk.next[i][0][0] if walk.next[i] else -1
    if table < 0 or table in walk.variable:
        return table not in walk.data_leaf
    return not (walk.sees_leaf[table] or walk.traits.deep[table] or walk.traits.layer[table])


def _cut_frozen(walk: Walk, ends: dict[Slot, tuple[What, str]]) -> None:
    """Where frozen weights stand before the first trained operation, stop above them."""
    size = len(walk.order)
    frozen = {
        i
        for i in range(size)
        if walk.sees_leaf[i]
        and not walk.trains[i]
        and kinds.is_matrix(walk.node_names[i])
        and walk.origin(i)[0] in walk.frozen_owners
    }
    while frozen:
        blocked = set(frozen)
        for i in range(size - 1, -1, -1):  # frozen nodes above a frozen weight, too
            if not walk.trains[i] and any(j in blocked for j, _ in walk.next[i]):
                blocked.add(i)
        cut = {(i, k) for i in range(size) if walk.trains[i] for k, (j, _) in enumerate(walk.next[i]) if j in blocked}
        below = _reachable(walk, cut=cut)
        alive = {leaf for leaf in walk.data_leaf if leaf in below}
        if not alive:
            break
        # a leaf that is reached another way as well gets its gradient through both
        sees = [i in alive for i in range(size)]
        for i in range(size - 1, -1, -1):
            sees[i] = sees[i] or any(sees[j] for j, _ in walk.next[i] if j >= 0)
        left = {i for i in frozen if not sees[i]}
        if left == frozen:  # that leaf lies below none of them
            break
        frozen = left
    else:
        return
    walk.cut = cut
    slots = _slots(walk)
    for i in {i for i, _ in cut}:
        onward = [
            j for k, (j, _) in enumerate(walk.next[i]) if j >= 0 and (i, k) not in cut and not _trains_only(walk, j)
        ]
        if not onward:
            for slot in slots.get(i, [0]):
                ends[(i, slot)] = ("weight", walk.origin(i)[0])
    for end in [e for e in ends if e[0] not in below]:
        del ends[end]


def _trains_only(walk: Walk, i: int) -> bool:
    """Nothing but parameters lies below: no data leaf and no embedding."""
    waiting, seen = [i], set()
    while waiting:
        i = waiting.pop()
        if i in seen:
            continue
        seen.add(i)
        if walk.sees_leaf[i] or kinds.is_embedding(walk.node_names[i]):
            return False
        waiting += [j for j, _ in walk.next[i] if j >= 0]
    return True


def _reachable(walk: Walk, *, cut: set[tuple[int, int]]) -> set[int]:
    seen = {0}
    for i in range(len(walk.order)):
        if i in seen:
            seen.update(j for k, (j, _) in enumerate(walk.next[i]) if j >= 0 and (i, k) not in cut)
    return seen


def slots_of(walk: Walk, i: int) -> list[int]:
    return _slots(walk).get(i, [0])


def _slots(walk: Walk) -> dict[int, list[int]]:
    """The slots of every node that some edge leads to."""
    found: dict[int, set[int]] = {}
    for edges in walk.next:
        for j, slot in edges:
            found.setdefault(j, set()).add(slot)
    return {i: sorted(slots) for i, slots in found.items()}


def _lowest(walk: Walk) -> dict[Slot, tuple[What, str]]:
    """Where no matrix is trained: the operations that read parameters and nothing that was computed."""
    size = len(walk.order)
    first = [
        i
        for i in range(size)
        if i not in walk.variable
        and not kinds.is_isometry(walk.node_names[i])
        and any(j in walk.variable for j, _ in walk.next[i])
        and all(j < 0 or j in walk.variable or kinds.is_isometry(walk.node_names[j]) for j, _ in walk.next[i])
    ]
    if not first:
        first = [i for i in range(size) if i not in walk.variable][-1:]
    return {(i, slot): ("weight", walk.origin(i)[0]) for i in first for slot in slots_of(walk, i)}
