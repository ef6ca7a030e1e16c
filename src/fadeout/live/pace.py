"""Pace: how often the norms are taken, so that they stay within their part of the budget."""

import math
import time

from fadeout.live.budget import Budget


class Pace:
    """Of one track.

    Attributes:
        every: Steps from one sample of the norms to the next.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.every = 1
        self._ended = 0.0
        self._spent_before = 0.0
        self._norms = math.inf
        self._step = 0.0

    def sampled(self, seconds: float) -> None:
        """The norms of a step took so long."""
        self._norms = min(1.05 * self._norms, seconds)

    def stepped(self) -> tuple[float, float] | None:
        """A step is over: how long it took, and what of that the watch took; None for the first."""
        now, found = time.perf_counter(), None
        if self._ended:
            whole, own = now - self._ended, self.budget.spent - self._spent_before
            self._step = 0.9 * self._step + 0.1 * max(0.0, whole - own) if self._step else whole - own
            found = whole, own
            self.every = self.budget.every(self._step, self._norms if self._norms < math.inf else 0.0)
        self._ended, self._spent_before = now, self.budget.spent
        return found
