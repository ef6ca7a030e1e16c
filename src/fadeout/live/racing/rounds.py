"""Rounds: the steps of a network, by whatever number of optimizers each of them is made.

Optimizers that step with no backward pass in between step in one round; those that ever share a round train together.
"""

from collections.abc import Sequence

Mark = tuple[int, int]  # (optimizer, backward passes so far): a step that was made, or that a loss scaler left out


def rounds_of(marks: Sequence[Mark]) -> list[tuple[frozenset[int], int]]:
    """(optimizers, backward passes so far) of every round, in their order."""
    found: list[tuple[frozenset[int], int]] = []
    for optimizer, until in marks:
        if found and found[-1][1] == until:
            found[-1] = (found[-1][0] | {optimizer}, until)
        else:
            found.append((frozenset({optimizer}), until))
    return found


def together(marks: Sequence[Mark]) -> list[frozenset[int]]:
    """Optimizers that train together, in the order of their first steps."""
    found: list[frozenset[int]] = []
    for here in dict.fromkeys(optimizers for optimizers, _ in rounds_of(marks)):
        near = [group for group in found if group & here]
        joined = here.union(*near)
        place = found.index(near[0]) if near else len(found)
        found = [group for group in found if not group & here]
        found.insert(place, joined)
    return found


def losses_by_group(losses: Sequence[float], marks: Sequence[Mark]) -> tuple[tuple[float, ...], ...]:
    """The losses of every group of optimizers: in each of its rounds, all that was sent backward since the last one."""
    series: dict[frozenset[int], list[float]] = {group: [] for group in together(marks)}
    done = 0
    for optimizers, until in rounds_of(marks):
        part = losses[done:until]
        done = max(done, until)
        if part:
            next(own for group, own in series.items() if group & optimizers).append(sum(part))
    return tuple(tuple(values) for values in series.values() if values)


def alone(marks: Sequence[Mark]) -> bool:
    """Whether one backward pass makes every round, so that all networks in it are trained by the same loss."""
    untils = [until for _, until in rounds_of(marks)]
    return untils == list(range(1, len(untils) + 1))


def fewest(marks: Sequence[Mark]) -> int:
    """Rounds of the group that made fewest; 0 where none was made."""
    rounds = rounds_of(marks)
    return min((sum(bool(group & here) for here, _ in rounds) for group in together(marks)), default=0)
