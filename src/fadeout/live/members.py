"""Members: the optimizers that train one network, and which of them have stepped since its last whole step."""

import weakref
from collections.abc import Iterable

from torch import Tensor
from torch.optim import Optimizer


def held(optimizer: Optimizer) -> list[Tensor]:
    """The parameters of an optimizer."""
    return [p for group in optimizer.param_groups for p in group["params"]]


class Members:
    """The optimizers of a track.

    A step of the network is one round: every member steps at most once, and no new backward pass begins in between.

    Attributes:
        inside: Those that step together.
        guests: Those that were made for the same network and have not stepped with it, by their ids.
        stepped: Ids of those that have stepped in this round, in their order.
        skipped: Ids of those that a loss scaler has left out in this round.
        rounds: The sets that have stepped together so far, each once.
    """

    def __init__(self) -> None:
        self.inside: list[Optimizer] = []
        self.guests: dict[int, weakref.ref[Optimizer]] = {}
        self.stepped: list[int] = []
        self.skipped: set[int] = set()
        self.rounds: list[frozenset[int]] = []
        self._calls: dict[int, int] = {}
        self._running: Optimizer | None = None

    def __contains__(self, optimizer: Optimizer) -> bool:
        return any(one is optimizer for one in self.inside)

    def calls_of(self, optimizer: Optimizer) -> int:
        """Steps of this one; -1 where it is no member."""
        return self._calls.get(id(optimizer), 0) if optimizer in self else -1

    def invite(self, optimizer: Optimizer) -> None:
        """An optimizer was made for the same network."""
        if optimizer not in self:
            self.guests[id(optimizer)] = weakref.ref(optimizer)

    def invited(self, optimizer: Optimizer) -> bool:
        """Whether it is one of the guests."""
        ref = self.guests.get(id(optimizer))
        return ref is not None and ref() is optimizer

    def waiting(self) -> list[Optimizer]:
        """Guests that are still there."""
        return [one for ref in self.guests.values() if (one := ref()) is not None]

    def add(self, optimizer: Optimizer) -> list[Optimizer]:
        """It steps with the others from now on; those that hold parameters of its become guests, and are returned."""
        mine = {id(p) for p in held(optimizer)}
        replaced = [one for one in self.inside if any(id(p) in mine for p in held(one))]
        for one in replaced:
            self.leave(one)
            self.invite(one)
        self.guests.pop(id(optimizer), None)
        self.inside.append(optimizer)
        self._calls.setdefault(id(optimizer), 0)
        return replaced

    def leave(self, optimizer: Optimizer) -> None:
        """It is no member any more."""
        self.inside = [one for one in self.inside if one is not optimizer]
        self.stepped = [one for one in self.stepped if one != id(optimizer)]

    def shares(self, optimizer: Optimizer) -> bool:
        """Whether a member holds a parameter of this one's."""
        mine = {id(p) for p in held(optimizer)}
        return any(id(p) in mine for one in self.inside for p in held(one))

    # the two sides of a step

    def begin(self, optimizer: Optimizer) -> bool:
        """A step begins; False inside the step of another optimizer that holds the same parameters."""
        running = self._running
        if running is not None and running is not optimizer:
            mine = {id(p) for p in held(optimizer)}
            if any(id(p) in mine for p in held(running)):
                return False
        self._running = optimizer
        return True

    def end(self, optimizer: Optimizer) -> bool:
        """A step is over; False for one inside another."""
        if self._running is not None and self._running is not optimizer:
            return False
        self._running = None
        self.stepped.append(id(optimizer))
        self._calls[id(optimizer)] = self._calls.get(id(optimizer), 0) + 1
        return True

    @property
    def nested(self) -> bool:
        """Whether a step is under way."""
        return self._running is not None

    def done(self) -> bool:
        """Whether every member has stepped, or was left out."""
        return {id(one) for one in self.inside} <= {*self.stepped, *self.skipped}

    def close(self) -> None:
        """The round is over."""
        if self.stepped:
            seen = frozenset(self.stepped)
            if seen not in self.rounds:
                self.rounds.append(seen)
        self.stepped, self.skipped = [], set()

    def apart(self) -> list[Optimizer]:
        """Members that never step together with the first one, neither directly nor through others."""
        if len(self.inside) < 2:
            return []
        here = {id(one) for one in self.inside}
        rounds = [seen & here for seen in self.rounds if seen & here]
        near = {id(self.inside[0])}
        for _ in rounds:
            near = near.union(*(seen for seen in rounds if seen & near))
        known = set().union(*rounds) if rounds else set()
        return [one for one in self.inside if id(one) in known - near] if near & known else []


def words(optimizers: Iterable[Optimizer]) -> str:
    """'SGD lr 0.1 + 4 AdamW lr 0.001'."""
    counts: dict[str, int] = {}
    for one in optimizers:
        rates = sorted({float(g["lr"]) for g in one.param_groups if "lr" in g and not isinstance(g["lr"], Tensor)})
        said = type(one).__name__ + (f" lr {rates[0]:g}" if rates else "")
        counts[said] = counts.get(said, 0) + 1
    return " + ".join(said if count == 1 else f"{count} {said}" for said, count in counts.items())
