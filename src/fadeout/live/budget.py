"""The budget: what the watch has cost so far, and whether it may spend more."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

NORMS = 0.5  # share of the budget that the norms of every step may take; probes have the rest
LONGEST = 64  # steps at most between two samples of norms
CALM = 8  # steps over which the cost of the norms is judged


class Budget:
    """Counts seconds.

    Attributes:
        share: Of the run's time that the watch may take.
        credit: Seconds for the first probes.
        spent: Seconds that the watch took, all in all.
    """

    def __init__(self, share: float, credit: float) -> None:
        self.share, self.credit = share, credit
        self.begun = time.perf_counter()
        self.spent = 0.0
        self.probing = 0.0
        self.dearest = 0.0
        self._deep = False

    @contextmanager
    def counted(self) -> Iterator[None]:
        """What happens inside counts as the watch's own; nothing is counted twice."""
        if self._deep:
            yield
            return
        self._deep, begun = True, time.perf_counter()
        try:
            yield
        finally:
            self._deep = False
            self.spent += time.perf_counter() - begun

    @contextmanager
    def probe(self) -> Iterator[None]:
        """What happens inside is a probe, or is said of one."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - begun
            self.probing += took
            self.dearest = max(self.dearest, took)

    def passed(self) -> float:
        """Seconds since the first step."""
        return time.perf_counter() - self.begun

    def allows_probe(self) -> bool:
        """Whether one more probe, as dear as the dearest so far, stays within the credit or the budget."""
        allowed = max(self.credit, self.share * (1 - NORMS) * self.passed())
        return self.probing + self.dearest <= allowed

    def every(self, step_seconds: float, norm_seconds: float) -> int:
        """Steps from one sample of norms to the next, so that these stay within their part of the budget.

        Always a power of two: of two processes that differ, one samples at steps of the other's.
        """
        if step_seconds <= 0:
            return 1
        needed = norm_seconds / (self.share * NORMS * step_seconds) if self.share > 0 else LONGEST
        return 1 << math.ceil(math.log2(max(1.0, min(LONGEST, needed))))
