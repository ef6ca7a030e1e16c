"""Beginnings: where trained parts start that no data enters - learned queries, towers on constants.

The account is kept between the loss and the data.  A trained part that reads only parameters and
constants would fall outside it without a word, so it gets an end of its own where it begins.  A
product of parameters (`B @ A`, a weight norm, a parametrisation) is no such part: it is the weight
of the operation that applies it.
"""

from typing import Literal

from fadeout.probe.graph import kinds
from fadeout.probe.graph.walk import Walk

Slot = tuple[int, int]
What = Literal["input", "embedding", "weight"]


def beginnings(walk: Walk, ends: dict[Slot, tuple[What, str]]) -> dict[Slot, tuple[What, str]]:
    """Ends for the trained matrices that lead to none of the ends given.

    A matrix whose parameters are accounted for elsewhere needs none: the first step of a recurrent
    loop applies its weights to a state of zeros.
    """
    size = len(walk.order)
    stops = {i for i, _ in ends}
    leads = _leading(walk, ends, stops)
    loose = any(
        walk.trains[i] and not leads[i] and i not in stops and not walk.loss_side[i] and kinds.is_matrix(name)
        for i, name in enumerate(walk.node_names)
    )
    if not loose:
        return {}
    signals, weights, known = _signals(walk, leads, stops, ends)
    found: dict[Slot, tuple[What, str]] = {}
    for i in range(size - 1, -1, -1):
        if i in stops or i in walk.variable or leads[i]:
            continue
        if any(j >= 0 and (leads[j] or (j, slot) in found) for j, slot in walk.next[i]):
            leads[i] = True
        if i not in weights:
            continue
        read, parameters = weights[i]
        if leads[i]:
            known |= parameters
        elif not parameters <= known:
            known |= parameters
            if read is not None and not signals[read[0]] and _alone(walk, read):
                found[read] = ("weight", _name(walk, read[0], i))
                leads[i] = True
            else:
                found |= {(i, slot): ("weight", walk.origin(i)[0] or _home(walk, parameters)) for slot in walk.slots[i]}
                stops.add(i)
    return found


def _leading(walk: Walk, ends: dict[Slot, tuple[What, str]], stops: set[int]) -> list[bool]:
    """Per node: one of the ends lies below it."""
    leads = [False] * len(walk.order)
    for i in range(len(walk.order) - 1, -1, -1):
        if i not in walk.variable and i not in stops:
            leads[i] = any(
                j >= 0 and (leads[j] or (j, slot) in ends) and (i, k) not in walk.cut
                for k, (j, slot) in enumerate(walk.next[i])
            )
    return leads


def _signals(
    walk: Walk, leads: list[bool], stops: set[int], ends: dict[Slot, tuple[What, str]]
) -> tuple[list[bool], dict[int, tuple[Slot | None, set[int]]], set[int]]:
    """Which nodes carry a signal and not a weight; what each loose matrix reads and is made of; what leading ones hold.

    Returns:
        Per node whether a signal; per loose matrix (slot of what it reads, None for a constant, and ids of
        its parameters); ids of the parameters that leading operations apply.
    """
    size, traits = len(walk.order), walk.traits
    signals = [False] * size
    signals[0] = True
    weights: dict[int, tuple[Slot | None, set[int]]] = {}
    known: set[int] = set()
    counted: set[int] = set()
    for i in range(size):
        if not signals[i] or i in walk.variable or i in stops:
            continue
        places = kinds.operands(walk.node_names[i]) if kinds.is_matrix(walk.node_names[i]) else None
        reads, applies = places or (-1, -1)
        loose = places is not None and not leads[i]
        if loose:
            reads, applies = _reading(walk, i, reads, applies)
        mine: set[int] = set()
        for k, (j, slot) in enumerate(walk.next[i]):
            if j < 0 or (i, k) in walk.cut:
                continue
            if (
                leads[j]
                or (j, slot) in ends
                or (
                    traits.matrix[j]
                    and (
                        places is None
                        or traits.deep[j]
                        or (k != applies and (traits.layer[j] or (loose and k == reads)))
                    )
                )
            ):
                signals[j] = True
            elif not (loose and k == reads):
                mine |= _parameters(walk, j, set() if loose else counted)
        if loose and not walk.loss_side[i]:
            j, slot = walk.next[i][reads] if reads < len(walk.next[i]) else (-1, 0)
            weights[i] = ((j, slot) if j >= 0 else None, mine)
        else:
            known |= mine
    return signals, weights, known


def _reading(walk: Walk, i: int, reads: int, applies: int) -> tuple[int, int]:
    """Which operand of a loose matrix is what it reads, which its weight: a constant is read, as are layers."""
    count, traits = len(walk.next[i]), walk.traits
    if applies < 0:
        return reads, applies
    first = walk.next[i][reads][0] if reads < count else -1
    second = walk.next[i][applies][0] if applies < count else -1
    if first < 0 or second < 0:
        return (reads, applies) if first < 0 else (applies, reads)
    for weighs in (traits.deep, traits.layer, traits.matrix):
        if weighs[first] != weighs[second]:
            return (reads, applies) if weighs[first] else (applies, reads)
    return reads, applies


def _parameters(walk: Walk, start: int, seen: set[int]) -> set[int]:
    """Ids of the parameters below a node."""
    found: set[int] = set()
    waiting = [start]
    while waiting:
        i = waiting.pop()
        if i in seen:
            continue
        seen.add(i)
        if i in walk.variable:
            found.add(id(walk.variable[i]))
        else:
            waiting += [j for j, _ in walk.next[i] if j >= 0]
    return found


def _home(walk: Walk, parameters: set[int]) -> str:
    """Path of a module that holds one of these."""
    return next((walk.holders[key][0] for key in parameters if key in walk.holders), "")


def _alone(walk: Walk, slot: Slot) -> bool:
    """Whether a slot can be an end: of a parameter only where nothing else uses it."""
    return slot[0] not in walk.variable or walk.uses[slot[0]] == 1


def _name(walk: Walk, i: int, reader: int) -> str:
    """The parameter's own name, else the module that made the tensor, else the one that reads it."""
    if i in walk.variable:
        return walk.names.named(walk.variable[i])
    return walk.origin(i)[0] or walk.origin(reader)[0]
