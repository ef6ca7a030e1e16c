"""The race: who runs how far, who wins, and what the winner can do without."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fadeout.errors import ModelError
from fadeout.racing.apart import taken_apart
from fadeout.racing.field import Entry, Field, same
from fadeout.racing.ranks import TIE, best_of, go_on, ranked, wins
from fadeout.racing.statistics import paired
from fadeout.records import Arm, Difference, Plan, Planned, State, Trial, Unhelpful, interval
from fadeout.treatments.treatment import Treatment

CONTROL, AGAIN = "none", "none again"
TRIES = 3  # arms that may go to the end, where the ones before failed on the way


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a race halves its field.

    Attributes:
        first, second: Shares of the horizon at which arms are stopped.
        best: Arms that go on after the first; one goes on after the second.
    """

    first: float
    best: int
    second: float


class Race:
    """One race; `trial` tells at any time what it has shown."""

    def __init__(self, case: str, plan: Plan, known: Mapping[str, Treatment], pace: Pace, field: Field) -> None:
        self.case, self.plan, self.known, self.pace, self.field = case, plan, known, pace, field
        self.control = Entry(arm=CONTROL, treatment=None, title="no treatment", role="control")
        self.again = Entry(arm=AGAIN, treatment=None, title="no treatment", role="control", measure=False, shown=False)
        self._draws = self._drawn()
        self.random = self._draws.pop(0) if self._draws else None
        self.planned = [self._entry(one) for one in plan.entries]
        field.entries = [self.control, *([self.random] if self.random else []), *self.planned]
        self.deterministic = True
        self.noise = 0.0
        self.winner: Entry | None = None
        self.needed: tuple[str, ...] = ()
        self.notes: list[str] = []

    def _entry(self, one: Planned) -> Entry:
        return Entry(
            arm=one.treatment,
            treatment=self.known[one.treatment],
            title=one.title,
            role="planned",
            measure=math.isnan(one.measured.decades),
        )

    def _drawn(self) -> list[Entry]:
        """Treatments that apply here, in an order by the first seed; never the plan's first."""
        rows = [one for one in (*self.plan.entries[1:], *self.plan.wont_help) if one.treatment in self.known]
        found = [self._entry(one) for one in rows]
        if not rows:
            others = [t for t in self.known.values() if t.id != self.plan.first]
            found = [Entry(arm=t.id, treatment=t, title=t.title, role="random") for t in others]
        random.Random(self.field.seeds[0]).shuffle(found)
        return [replace(entry, role="random", measure=True) for entry in found]

    def _draw_again(self, first: int) -> None:
        """Another random treatment, where the one drawn could not even be given."""
        field = self.field
        while self._draws and self.random is not None and field.failed(self.random.arm):
            if any(piece.steps for piece in field.of(self.random.arm)):
                return  # it ran and failed: that is a result
            self.random = self._draws.pop(0)
            field.entries = [self.control, self.random, *self.planned]
            field.run([self.random], first, "another treatment drawn at random")

    def run(self) -> Trial:
        """All of it.

        Raises:
            ModelError: If the program fails before its first step without any treatment.
        """
        field, first, second = self.field, self.field.at(self.pace.first), self.field.at(self.pace.second)
        self._expect(first, second, len(self.planned))
        field.run([self.control, self.again], first, "no treatment, twice")
        for piece in field.of(CONTROL):
            if piece.failed and not piece.steps:
                raise ModelError(f"trial: the program fails without any treatment: {piece.failed}")
        self.deterministic = same(field.of(CONTROL), field.of(AGAIN))
        if self.deterministic:
            field.stop([self.again], "the same to the bit")
        self._expect(first, second, len(self.planned), begun=True)
        field.run([*([self.random] if self.random else []), *self.planned], first, f"all arms to step {first:,}")
        self._draw_again(first)
        ends = [self.control, *([self.random] if self.random else [])]
        left = self._halved(self.planned, first, self.pace.best)
        field.later = len(field.seeds) * self._after(second)
        field.run(left, second, f"the best {len(left)} to step {second:,}")
        if not self.deterministic:
            ends.append(self.again)
        field.later = 0
        finalist = self._last(left, second)
        field.run([*ends, *([finalist] if finalist else [])], field.horizon, "the best one to the end")
        for _ in range(TRIES - 1):
            if finalist is None or not field.failed(finalist.arm):
                break
            finalist = self._last([e for e in left if e is not finalist], second)
            field.run([finalist] if finalist else [], field.horizon, "the next best one to the end")
        field.stop([e for e in left if e is not finalist], f"others were better after {second:,} steps")
        self._settle(finalist)
        return self.trial()

    def _expect(self, first: int, second: int, count: int, *, begun: bool = False) -> None:
        """What is still to come, for the display."""
        kept = min(count, self.pace.best)
        later = self._after(second) + kept * (second - first)
        if not begun:
            later += (count + (self.random is not None)) * first
        self.field.later = later * len(self.field.seeds)

    def _after(self, second: int) -> int:
        first, whole = self.field.at(self.pace.first), self.field.horizon
        return (whole - first) * (1 + (self.random is not None)) + (whole - second) * bool(self.planned)

    def _running(self, entries: Sequence[Entry]) -> list[Entry]:
        return [e for e in entries if not self.field.failed(e.arm) and self.field.of(e.arm)]

    def _halved(self, entries: Sequence[Entry], step: int, count: int) -> list[Entry]:
        running = self._running(entries)
        kept = {e.arm for e in go_on([self.field.entrant(e) for e in running], count, tie=self._tie())}
        self._stop([e for e in running if e.arm not in kept], step)
        return [e for e in running if e.arm in kept]

    def _stop(self, entries: Sequence[Entry], step: int) -> None:
        """Arms that others have beaten; the random one runs to the end whether it is in the plan or not."""
        own = self.random.arm if self.random else None
        self.field.stop([e for e in entries if e.arm != own], f"others were better after {step:,} steps")

    def _last(self, entries: Sequence[Entry], step: int) -> Entry | None:
        """Who goes to the end."""
        running = [e for e in self._running(entries) if e.arm not in self.field.stopped]
        if not running:
            return None
        here = [replace(self.field.entrant(e), skills=self.field.skills_at(e.arm, step)) for e in running]
        best = best_of(here, tie=self._tie())
        return next(e for e in running if e.arm == best.arm)

    def _tie(self) -> float:
        return max(TIE, self._noise())

    def _noise(self) -> float:
        """Largest difference of skill between two runs of no treatment so far."""
        if self.deterministic:
            return 0.0
        gaps = [
            abs(a - b)
            for one, two in zip(self.field.of(CONTROL), self.field.of(AGAIN), strict=True)
            for (_, a), (_, b) in zip(one.curve[1:], two.curve[1:], strict=False)
        ]
        return max((g for g in gaps if math.isfinite(g)), default=0.0)

    def _settle(self, finalist: Entry | None) -> None:
        """The winner, if there is one, and what of it is needed."""
        self.noise = self._noise()
        able = [e for e in dict.fromkeys((finalist, self.random)) if e is not None and not self.field.failed(e.arm)]
        able = [e for e in able if wins(self._skills(e), self._skills(self.control), self.noise)]
        if not able:
            return
        order = ranked([self.field.entrant(e) for e in able], tie=0.0)
        best = next(e for e in able if e.arm == order[0].arm)
        if finalist in able and best is self.random:  # it was only drawn: a tie is the plan's
            assert finalist is not None
            if self.field.entrant(finalist).skill >= order[0].skill - self._tie():
                best = finalist
        self.winner = best
        self.needed = taken_apart(best, self.field, self.field.at(self.pace.second), max(TIE, self.noise))

    def _skills(self, entry: Entry) -> tuple[float, ...]:
        """Of every seed; an untreated program that broke counts as what it was last worth, at least nothing."""
        return tuple(
            max(0.0, p.skill) if entry.role == "control" and (p.failed or not math.isfinite(p.skill)) else p.skill
            for p in self.field.of(entry.arm)
        )

    def trial(self, *, complete: bool = True) -> Trial:
        """What the race has shown so far."""
        over: Difference | None = None
        recipe: tuple[str, ...] = ()
        if self.winner is not None:
            over = paired(self._skills(self.winner), self._skills(self.control))
            recipe = self.field.of(self.winner.arm)[0].recipe
        return Trial(
            case=self.case,
            seeds=self.field.seeds,
            steps=self.field.horizon,
            arms=tuple(self._arm(e) for e in self.field.entries),
            winner=self.winner.arm if self.winner is not None else None,
            over_control=over,
            wont_help=tuple(
                Unhelpful(treatment=one.treatment, reason=one.reason, measured=one.measured)
                for one in self.plan.wont_help
            ),
            needed=self.needed,
            noise=self.noise,
            recipe=recipe,
            complete=complete,
            notes=tuple(self.notes),
        )

    def _arm(self, entry: Entry) -> Arm:
        pieces = self.field.of(entry.arm)
        why, state = self.field.failed(entry.arm), "failed"
        steps = min((p.steps for p in pieces), default=0)
        if not why:
            finished = len(pieces) == len(self.field.seeds) and steps >= self.field.horizon
            state = "done" if finished else "stopped"
            why = "" if finished else self.field.stopped.get(entry.arm, "the race was interrupted")
        foretold = next((one.measured for one in self.plan.entries if one.treatment == entry.arm), None)
        seen = next((p for p in pieces if math.isfinite(p.effective_depth)), None)
        decades = seen.decades if seen else foretold.decades if foretold else math.nan
        depth = seen.effective_depth if seen else foretold.effective_depth if foretold else math.nan
        lost = state == "failed" and entry.role != "control"
        return Arm(
            treatment=entry.arm,
            title=entry.title,
            role=entry.role,
            state=_state(state),
            why=why,
            steps=steps,
            skill=interval([] if lost else self._skills(entry)),
            loss=interval([p.loss for p in pieces]),
            decades=decades,
            effective_depth=depth,
            seconds=self.field.seconds.get(entry.arm, 0.0),
            curve=_curve([dict(p.curve) for p in pieces]),
        )


def _state(word: str) -> State:
    states: dict[str, State] = {"done": "done", "stopped": "stopped"}
    return states.get(word, "failed")


def _curve(curves: Sequence[dict[int, float]]) -> tuple[tuple[int, tuple[float, ...]], ...]:
    """(step, skill of each seed), at the steps that every seed has reached."""
    if not curves:
        return ()
    shared = [n for n in curves[0] if all(n in curve for curve in curves)]
    return tuple((n, tuple(curve[n] for curve in curves)) for n in shared)
