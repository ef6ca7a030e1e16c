"""The engine `here`: one piece of work after the other in this process."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from fadeout.engines.job import Doer, Work


class Here:
    """Needs nothing, starts at once, and continues every arm from where it stands."""

    def __init__(self, make: Callable[[], Doer]) -> None:
        self.doer: Doer | None = make()

    def run(self, jobs: Sequence[Work]) -> Iterator[Any]:
        assert self.doer is not None
        for job in jobs:
            yield self.doer.do(job, limited=True)

    def forget(self, arms: Collection[str]) -> None:
        if self.doer is not None:
            self.doer.forget(arms)

    def close(self) -> None:
        self.doer = None
