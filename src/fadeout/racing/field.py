"""The field: all arms of a race, what each has shown so far, and how they are run by an engine."""

import math
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fadeout.engines import Engine, Job
from fadeout.racing.ranks import Entrant
from fadeout.records import Board, Lane, Piece, Role
from fadeout.store.races import Races
from fadeout.treatments.treatment import Treatment

POINTS = (0.05, 0.1, 0.175, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0)  # of the horizon: where skill is measured
PATIENCE, LEAST = 20.0, 20.0  # times as long as no treatment, and seconds, until an arm counts as hanging


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Who takes part.

    Attributes:
        arm: Key of the run; a treatment that is both planned and drawn at random runs once.
        shown: It has a line of its own on the display and in the table.
    """

    arm: str
    treatment: Treatment | None
    title: str
    role: Role
    measure: bool = True
    shown: bool = True

    @property
    def parts(self) -> tuple[str, ...]:
        """Kinds of change."""
        return self.treatment.parts if self.treatment is not None else ()


class Field:
    """Runs arms to a step, with every seed, and keeps what they show.

    Attributes:
        pieces: The latest of every arm and seed.
        stopped: Arms that do not go on, and why.
        later: Optimizer steps that are still to come after the stage that runs; an estimate.
    """

    def __init__(
        self,
        engine: Engine,
        races: Races | None,
        key: str,
        seeds: tuple[int, ...],
        horizon: int,
        show: Callable[[Board], None] | None,
        limit: float | None,
    ) -> None:
        self.engine, self.races, self.key = engine, races, key
        self.seeds, self.horizon, self.show, self.limit = seeds, horizon, show, limit
        self.entries: list[Entry] = []
        self.pieces: dict[tuple[str, int], Piece] = {}
        self.seconds: dict[str, float] = {}
        self.stopped: dict[str, str] = {}
        self.known = races.pieces(key) if races is not None else {}
        self.points = tuple(sorted({max(1, round(p * horizon)) for p in POINTS}))
        self.later = 0
        self.pace = math.nan  # seconds a step of no treatment
        self._begun, self._ran, self._spent = time.perf_counter(), 0, 0.0
        self._ahead, self._running = 0, frozenset[str]()

    def at(self, share: float) -> int:
        """A share of the horizon in steps."""
        return max(1, min(self.horizon, round(share * self.horizon)))

    def run(self, entries: Iterable[Entry], stop: int, stage: str, *, goes_on: bool = True) -> None:
        """Take arms to a step; those that have failed or stand there already are passed over."""
        jobs = []
        for entry in {e.arm: e for e in entries}.values():
            if entry.arm in self.stopped or self.failed(entry.arm):
                continue
            for seed in self.seeds:
                if self._steps(entry.arm, seed) < stop:
                    jobs.append(self._job(entry, seed, stop, goes_on))
        self._ahead = sum(job.stop - job.start for job in jobs)
        self._running = frozenset(job.arm for job in jobs)
        self._tell(stage)
        todo = []
        for job in jobs:
            found = self.known.get((job.arm, job.seed, job.stop))
            if found is None:
                todo.append(job)
            else:
                self._take(found, job)
        start = time.perf_counter()
        for piece in self.engine.run(todo) if todo else ():
            job = next(j for j in todo if (j.arm, j.seed) == (piece.arm, piece.seed))
            if self.races is not None:
                self.races.keep(self.key, piece)
            self._ran += max(1, piece.steps - job.start)
            now = time.perf_counter()
            self._spent, start = self._spent + now - start, now
            self._take(piece, job)
            self._tell(stage)
        self._running = frozenset()
        self._tell(stage)

    def _job(self, entry: Entry, seed: int, stop: int, goes_on: bool) -> Job:
        limit = self.limit
        if limit is None:
            limit = max(LEAST, PATIENCE * self.pace * stop) if math.isfinite(self.pace) else math.inf
        return Job(
            arm=entry.arm, treatment=entry.treatment, seed=seed, start=self._steps(entry.arm, seed), stop=stop,
            points=self.points, measure=entry.measure and seed == self.seeds[0], limit=limit, goes_on=goes_on,
        )  # fmt: skip

    def _take(self, piece: Piece, job: Job) -> None:
        self.pieces[piece.arm, piece.seed] = piece
        self.seconds[piece.arm] = self.seconds.get(piece.arm, 0.0) + piece.seconds
        self._ahead -= job.stop - job.start
        if job.treatment is None and piece.steps and not math.isfinite(self.pace):
            self.pace = piece.seconds / piece.steps

    def _steps(self, arm: str, seed: int) -> int:
        piece = self.pieces.get((arm, seed))
        return piece.steps if piece is not None else 0

    def of(self, arm: str) -> list[Piece]:
        """Pieces of an arm, in the order of the seeds."""
        return [self.pieces[arm, seed] for seed in self.seeds if (arm, seed) in self.pieces]

    def failed(self, arm: str) -> str:
        """Why an arm failed, with the first seed it failed with; "" where it did not."""
        for piece in self.of(arm):
            if piece.failed:
                return f"seed {piece.seed}: {piece.failed}" if len(self.seeds) > 1 else piece.failed
        return ""

    def stop(self, entries: Iterable[Entry], why: str) -> None:
        """These arms do not go on."""
        arms = {entry.arm for entry in entries}
        self.stopped |= dict.fromkeys(arms, why)
        self.engine.forget(arms)

    def entrant(self, entry: Entry) -> Entrant:
        """An arm as it is ranked."""
        pieces = self.of(entry.arm)
        loss = sum(p.loss for p in pieces) / len(pieces) if pieces else math.nan
        return Entrant(arm=entry.arm, skills=tuple(p.skill for p in pieces), loss=loss, parts=entry.parts)

    def skills_at(self, arm: str, step: int) -> tuple[float, ...]:
        """Skill of every seed after a step, as last measured up to there."""
        return tuple(
            next((skill for n, skill in reversed(piece.curve) if n <= step), math.nan) for piece in self.of(arm)
        )

    def _tell(self, stage: str) -> None:
        if self.show is None:
            return
        done = sum(piece.steps for piece in self.pieces.values())
        ahead = self._ahead + self.later
        left = self._spent / self._ran * ahead if self._ran else math.nan
        self.show(
            Board(
                stage=stage, lanes=tuple(self._lane(e) for e in self.entries if e.shown), done=done,
                total=done + ahead, seconds=time.perf_counter() - self._begun, left=left,
            )
        )  # fmt: skip

    def _lane(self, entry: Entry) -> Lane:
        pieces = self.of(entry.arm)
        why = self.failed(entry.arm)
        steps = sum(p.steps for p in pieces)
        whole = self.horizon * len(self.seeds)
        entrant = self.entrant(entry)
        return Lane(
            treatment=entry.arm, title=entry.title, role=entry.role, steps=steps, of=whole,
            state="failed" if why else "done" if steps >= whole else "stopped" if entry.arm in self.stopped
            else "running" if entry.arm in self._running else "waiting",
            skill=entrant.skill, why=why or self.stopped.get(entry.arm, ""),
        )  # fmt: skip


def same(first: Sequence[Piece], second: Sequence[Piece]) -> bool:
    """Whether two runs agree to the bit, in every loss and every skill."""
    return [_bits(piece) for piece in first] == [_bits(piece) for piece in second]


def _bits(piece: Piece) -> tuple[bytes, str]:
    values = [*piece.losses, *(skill for _, skill in piece.curve)]
    return struct.pack(f"<{len(values)}d", *values), piece.failed
