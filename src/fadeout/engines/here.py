"""The engine `here`: one arm after the other in this process."""

from collections.abc import Collection, Iterator, Sequence

from fadeout.call.case import Case
from fadeout.engines.job import Job
from fadeout.engines.keeper import Keeper
from fadeout.records import Piece


class Here:
    """Needs nothing, starts at once, and continues every arm from where it stands."""

    def __init__(self, case: Case) -> None:
        self.keeper = Keeper(case)

    def run(self, jobs: Sequence[Job]) -> Iterator[Piece]:
        for job in jobs:
            yield self.keeper.do(job, limited=True)

    def forget(self, arms: Collection[str]) -> None:
        self.keeper.forget(arms)

    def close(self) -> None:
        self.keeper.live.clear()
