"""Jobs: what an engine is asked to do, and the protocol that every engine follows."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

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


class Engine(Protocol):
    """Runs the jobs of one case.  The same jobs give bit-identical pieces on every engine but `together`."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Piece]:
        """Pieces as they finish, in any order.  A job that fails gives a piece that says why."""

    def forget(self, arms: Collection[str]) -> None:
        """These arms do not go on."""

    def close(self) -> None:
        """End what was started, however the race ended."""


def failed(job: Job, why: str, *, seconds: float = 0.0) -> Piece:
    """The piece of a job whose arm is lost together with what it had done."""
    return Piece(
        arm=job.arm, seed=job.seed, stop=job.stop, steps=0, losses=(), curve=(), failed=why, seconds=seconds
    )  # fmt: skip
