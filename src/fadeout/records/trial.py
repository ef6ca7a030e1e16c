"""Records of plans and trials: what is worth trying, and what a race has shown."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from fadeout.records.interval import Interval

Role = Literal["control", "random", "planned"]
State = Literal["done", "stopped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one forward and backward of a treated copy tells; nan where it could not be measured."""

    decades: float
    effective_depth: float
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One treatment of a plan.

    Attributes:
        treatment: Its id.
        predicted: What theory expects of the treated network; nan where it says nothing.
        measured: What the treated copy shows.
        reason: Why it is tried, or why it won't help.
    """

    treatment: str
    title: str
    predicted: Measured
    measured: Measured
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Plan:
    """Treatments worth a race, in the order to try them, and those that one exam of a treated copy rules out."""

    entries: tuple[Planned, ...]
    wont_help: tuple[Planned, ...] = ()

    @property
    def first(self) -> str:
        """Id of the first treatment; "" of an empty plan."""
        return self.entries[0].treatment if self.entries else ""

    def __repr__(self) -> str:
        return f"Plan({len(self.entries)} to try, first {self.first!r}; {len(self.wont_help)} will not help)"

    def __str__(self) -> str:
        from fadeout.render.race.said import plan_lines

        return "\n".join(plan_lines(self)) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A paired difference over seeds with its 95 % interval; low and high are the same where there is one seed."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One treatment in a race.

    Attributes:
        state: "done": ran to the end; "stopped": others were better; "failed": it raised, or was not finite.
        why: Of one that did not run to the end.
        steps: Optimizer steps of each seed.
        seconds: Of all seeds together.
        skill: On held-out rows: 0 the best constant output, 1 nothing left to learn.
        loss: Smoothed training loss at the end.
        decades, effective_depth: Of the treated network before training.
        curve: (step, skill of each seed) as they were measured.
    """

    treatment: str
    title: str
    role: Role
    state: State
    why: str
    steps: int
    skill: Interval
    loss: Interval
    decades: float
    effective_depth: float
    seconds: float
    curve: tuple[tuple[int, tuple[float, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unhelpful:
    """A treatment that did not help here."""

    treatment: str
    reason: str
    measured: Measured


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Trial:
    """A race: the same data, seeds and steps for every arm.

    Attributes:
        winner: Id of the treatment that won; None: none was better than no treatment.
        over_control: Paired difference of skill between winner and no treatment.
        needed: Ids of a won bundle's parts that are needed; () for a single treatment.
        noise: Largest difference of skill between two runs of no treatment; 0 for a deterministic program.
        patch: A unified diff of the user's source; None where the place was not found.
        recipe: Lines to change by hand.
        complete: False of a race that was interrupted.
        notes: What a reader should know besides.
        scale: What skill was measured on, where not on held-out rows.
        undecided: Why no winner could be named at all; "" where one could be.
    """

    case: str
    seeds: tuple[int, ...]
    steps: int
    arms: tuple[Arm, ...]
    winner: str | None
    over_control: Difference | None
    wont_help: tuple[Unhelpful, ...] = ()
    needed: tuple[str, ...] = ()
    noise: float = 0.0
    patch: str | None = None
    recipe: tuple[str, ...] = ()
    complete: bool = True
    notes: tuple[str, ...] = ()
    scale: str = ""
    undecided: str = ""

    def arm(self, treatment: str) -> Arm:
        """The arm of a treatment; where it ran twice, the one that ran further.

        Raises:
            KeyError: If it was not in the race.
        """
        found = [arm for arm in self.arms if arm.treatment == treatment]
        if not found:
            raise KeyError(treatment)
        return max(found, key=lambda arm: arm.steps)

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract, schema `fadeout.trial/1`: plain dicts, lists, strings and numbers."""
        from fadeout.store.contract import to_dict

        return to_dict(self)

    def __repr__(self) -> str:
        gained = self.over_control.difference if self.over_control is not None else math.nan
        won = f"winner {self.winner!r}, {gained:+.2f} over no treatment" if self.winner else "no winner"
        begun = "" if self.complete else ", interrupted"
        return f"Trial({self.case!r}: {len(self.arms)} arms, {len(self.seeds)} seeds, {self.steps} steps; {won}{begun})"

    def __str__(self) -> str:
        from fadeout.render.race.text import text

        return text(self)

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from fadeout.render.race.text import RaceReport

        return RaceReport(trial=self).__rich_console__(console, options)

    def _repr_html_(self) -> str:
        from fadeout.render.race.page import fragment

        return fragment(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one arm showed with one seed, from its first step up to `stop`: as engines return and races store it.

    Attributes:
        arm: Its key in the race.
        stop: Optimizer steps that were asked for.
        steps: That were done; fewer where it failed.
        losses: Training loss of every step.
        curve: (step, skill on held-out rows), from step 0 on.
        failed: Why it could not go on; "" where it could.
        seconds: Of this piece.
        decades, effective_depth: Of the treated network before training; nan where not measured.
        recipe: Lines that the treatment wants changed by hand.
    """

    arm: str
    seed: int
    stop: int
    steps: int
    losses: tuple[float, ...]
    curve: tuple[tuple[int, float], ...]
    failed: str = ""
    seconds: float = 0.0
    decades: float = math.nan
    effective_depth: float = math.nan
    recipe: tuple[str, ...] = ()

    @property
    def skill(self) -> float:
        """As it was last measured; nan where it never was."""
        return self.curve[-1][1] if self.curve else math.nan

    @property
    def loss(self) -> float:
        """Smoothed: the mean of the last tenth of the steps, at least 5."""
        last = self.losses[-max(5, len(self.losses) // 10) :]
        return sum(last) / len(last) if last else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One arm on the progress display.

    Attributes:
        state: "waiting", "running", "stopped", "failed" or "done".
        steps: Done so far, of every seed together.
        of: All that are planned for it at this time.
        skill: Mean over seeds as last measured; nan before that.
    """

    treatment: str
    title: str
    role: Role
    state: Literal["waiting", "running", "stopped", "failed", "done"]
    steps: int
    of: int
    skill: float
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A race as it stands: what a progress display draws.

    Attributes:
        stage: What is done now, in words.
        done, total: Optimizer steps over all arms and seeds; the total is known up to which arms go on.
        seconds: Since the race began.
        left: Seconds still to go, estimated; nan before the first piece.
    """

    stage: str
    lanes: tuple[Lane, ...]
    done: int
    total: int
    seconds: float
    left: float
