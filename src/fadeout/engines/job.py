"""Jobs: what an engine is asked to do, and the protocols between an engine and who does the work.

An engine knows no networks.  It hands `Work` to a `Doer`, in this process or in others, and gives back
`Answer`s: a race hands out jobs, which a `Keeper` does; the lab hands out tasks, which a `Bench` does.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fadeout.records import Piece
from fadeout.treatments.treatment import Treatment


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Take one arm with one seed from where it stands to a step.

    Attributes:
        arm: Its key in the race; two runs of the same treatment have two keys.
        treatment: None: no treatment.
        start: Steps that it has done; whoever no longer holds it at that step begins again, with the same result.
        points: Steps after which skill is measured.
        measure: Whether to measure decades and effective depth before training.
        limit: Seconds until the arm counts as hanging.
        goes_on: It may be continued later, so it is worth keeping.
    """

    arm: str
    treatment: Treatment | None
    seed: int
    stop: int
    start: int = 0
    points: tuple[int, ...] = ()
    measure: bool = False
    limit: float = math.inf
    goes_on: bool = True

    def failed(self, why: str, *, seconds: float = 0.0) -> Piece:
        """The piece of an arm that is lost together with what it had done."""
        return Piece(
            arm=self.arm, seed=self.seed, stop=self.stop, steps=0, losses=(), curve=(), failed=why, seconds=seconds
        )  # fmt: skip


class Answer(Protocol):
    """What comes back of one piece of work; `failed` says why there is nothing else, "" where it is done."""

    @property
    def failed(self) -> str: ...


class Work(Protocol):
    """One piece of work, by name and seed; see `Job` for what the attributes mean."""

    @property
    def arm(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def limit(self) -> float: ...
    @property
    def goes_on(self) -> bool: ...

    def failed(self, why: str, *, seconds: float = 0.0) -> Any:
        """The answer of work that could not be done."""


class Doer(Protocol):
    """Does work in one process."""

    def do(self, job: Any, *, limited: bool) -> Any:
        """Do one piece of work.

        Args:
            limited: End it here when its time is over; else somebody else watches the time.
        """

    def forget(self, arms: Collection[str]) -> None:
        """These arms do not go on."""


class Engine(Protocol):
    """Runs work.  The same work gives bit-identical answers on every engine but `together`."""

    def run(self, jobs: Sequence[Any]) -> Iterator[Any]:
        """Answers as they finish, in any order.  Work that fails gives an answer that says why."""

    def forget(self, arms: Collection[str]) -> None:
        """These arms do not go on."""

    def close(self) -> None:
        """End what was started, however the race ended."""
