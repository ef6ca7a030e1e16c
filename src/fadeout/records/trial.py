"""Records of plans and trials: what is worth trying, and what a race has shown."""

from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Treatments worth a race, in the order to try them, and those that one exam of a treated copy rules out."""

    entries: tuple[Planned, ...]
    wont_help: tuple[Planned, ...] = ()

    @property
    def first(self) -> str:
        """Id of the first treatment; "" of an empty plan."""
        return self.entries[0].treatment if self.entries else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over seeds with its 95 % interval; low and high are the mean where there is one seed."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One treatment in a race.

    Attributes:
        state: "done": ran to the end; "stopped": others were better; "failed": it raised, or was not finite.
        why: Of one that did not run to the end.
        steps: Optimizer steps of each seed.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A race: the same data, seeds and steps for every arm.

    Attributes:
        winner: Id of the treatment that won; None: none was better than no treatment.
        over_control: Paired difference of skill between winner and no treatment.
        needed: Ids of a won bundle's parts that are needed; () for a single treatment.
        noise: Largest difference of skill between two runs of no treatment; 0 for a deterministic program.
        patch: A unified diff of the user's source; None where the place was not found.
        recipe: Lines to change by hand.
    """

    case: str
    seeds: tuple[int, ...]
    steps: int
    arms: tuple[Arm, ...]
    winner: str | None
    over_control: Interval | None
    wont_help: tuple[Unhelpful, ...] = ()
    needed: tuple[str, ...] = ()
    noise: float = 0.0
    patch: str | None = None
    recipe: tuple[str, ...] = ()
