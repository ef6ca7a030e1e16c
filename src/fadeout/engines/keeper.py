"""The keeper: does jobs in one process, and keeps arms alive that may go on.

An arm is continued by the very objects that it was trained with.  Copies through pickle or `state_dict` were rejected:
optimizers drop their hooks, schedulers hold weak references, and modules count in plain attributes, so a copy may
train on differently without a word.  Whoever does not hold an arm any more trains it again from step 0; the result is
the same to the bit, and costs about a seventh more of a whole race.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from fadeout.call.case import Case
from fadeout.engines.job import Job
from fadeout.engines.limit import OutOfTime, within
from fadeout.engines.live import LiveArm, Shared, begin, threads
from fadeout.records import Piece

MOST = 1 << 30  # bytes of parameters with their gradients and two moments, over all arms that are kept


class Keeper:
    """Arms of one case in this process."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.live: dict[tuple[str, int], LiveArm] = {}
        self.shared: Shared = {}
        self.bytes = 0

    def do(self, job: Job, *, limited: bool) -> Piece:
        """Do one job.

        Args:
            limited: End it here when its time is over; else somebody else watches the time.
        """
        begun = time.perf_counter()
        try:
            with within(job.limit if limited else 0.0), one_thread():
                return self._done(job, begun)
        except OutOfTime:
            return job.failed(f"took longer than {job.limit:.0f} s", seconds=time.perf_counter() - begun)

    def _done(self, job: Job, begun: float) -> Piece:
        arm: LiveArm | str | None = self.taken(job.arm, job.seed)
        if not isinstance(arm, LiveArm) or arm.steps > job.stop:
            arm = begin(self.case, job, self.shared)
        if isinstance(arm, str):
            return job.failed(arm, seconds=time.perf_counter() - begun)
        piece = arm.run_to(job, time.perf_counter() - begun)
        if job.goes_on and not piece.failed:
            self.keep(job, arm)
        return piece

    def keep(self, job: Job, arm: LiveArm) -> None:
        """Keep an arm for later, where there is room."""
        size = _size(arm)
        if self.bytes + size <= MOST:
            self.bytes += size
            self.live[job.arm, job.seed] = arm

    def taken(self, arm: str, seed: int) -> LiveArm | None:
        """The arm that is kept, which is kept no more."""
        found = self.live.pop((arm, seed), None)
        if found is not None:
            self.bytes -= _size(found)
        return found

    def holds(self, job: Job) -> bool:
        """Whether the job's arm stands here."""
        return (job.arm, job.seed) in self.live

    def forget(self, arms: Collection[str]) -> None:
        """Let arms go."""
        for arm, seed in list(self.live):
            if arm in arms:
                self.taken(arm, seed)


def _size(arm: LiveArm) -> int:
    return 4 * sum(p.numel() * p.element_size() for p in arm.model.parameters())


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for every arm, on every engine, so that all of them add in the same order."""
    before = threads(1)
    try:
        yield
    finally:
        threads(before)
