"""Records of the lab: what an experiment claims, what was measured, and what came of each expectation."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fadeout.records.interval import Interval, interval

Size = Literal["smoke", "quick", "full"]
Reproduced = Literal["reproduced", "not reproduced", "depends"]
LabStatus = Literal["not run", "done", "failed"]
Mark = Literal["lines", "bars", "heat", "points"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured number.

    Attributes:
        quantity: What was measured: "decades", "accuracy", ...
        arm: Of which network: "sigmoid", "residual", ...
        x: At which depth, length, step, ...; nan where there is none.
        seed: Of start weights, data order and noise; rows of one arm and x differ in it.
    """

    quantity: str
    arm: str
    value: float
    seed: int
    x: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All rows of one experiment, and the questions that are asked of them."""

    rows: tuple[Row, ...]

    def values(self, quantity: str, arm: str, x: float | None = None) -> tuple[float, ...]:
        """One value a seed, in the order of seeds; all x together where None.

        Raises:
            KeyError: If nothing of the kind was measured: an expectation asks for what no task measures.
        """
        found = [
            (row.seed, row.value)
            for row in self.rows
            if row.quantity == quantity and row.arm == arm and (x is None or _same(row.x, x))
        ]
        if not found:
            raise KeyError(f"no {quantity} of {arm}" + ("" if x is None else f" at {x:g}"))
        return tuple(value for _, value in sorted(found, key=lambda pair: pair[0]))

    def of(self, quantity: str, arm: str, x: float | None = None) -> Interval:
        """Mean and 95 % interval over the seeds."""
        return interval(self.values(quantity, arm, x))

    def mean(self, quantity: str, arm: str, x: float | None = None) -> float:
        """Mean over the seeds; -inf where every seed is; nan where nothing is finite."""
        values = self.values(quantity, arm, x)
        finite = [value for value in values if math.isfinite(value)]
        return statistics.fmean(finite) if finite else values[0]

    def xs(self, quantity: str, arm: str) -> tuple[float, ...]:
        """Where it was measured, in order."""
        found = {row.x for row in self.rows if row.quantity == quantity and row.arm == arm}
        return tuple(sorted(x for x in found if not math.isnan(x))) or ((math.nan,) if found else ())

    def arms(self, quantity: str) -> tuple[str, ...]:
        """Which arms have this quantity, in the order in which they were measured first."""
        return tuple(dict.fromkeys(row.arm for row in self.rows if row.quantity == quantity))

    def line(self, quantity: str, arm: str) -> tuple[tuple[float, float], ...]:
        """(x, mean over the seeds) of one arm."""
        return tuple((x, self.mean(quantity, arm, x)) for x in self.xs(quantity, arm))


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A level that a reader compares with: chance, a bound of theory.  A dashed line with its name."""

    says: str
    value: float
    upright: bool = False  # a vertical line, at x = value


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart, as data: which quantity over what, and how to read it.

    Attributes:
        title: What it shows, a sentence that states the result's question.
        quantity: Rows of this quantity are drawn, the seeds as a band around their mean.
        mark: "lines" (value over x, a line an arm), "bars" (a bar an arm), "points" (all seeds over x),
            "heat" (arm over x, the value as colour; arms are numbers or names).
        theory: A quantity whose rows are drawn as dashed lines in the colour of the same arm.
        arms: Only these, in this order; all where empty.
        names: Names of quantity, arms where the chart should say another word: (("he", "He"), ...).
        caption: How to read it, and what a reader should see, in plain words.
        percent: Values are shares, shown in per cent.
        low, high: Ends of the axis of values; of the data where nan.
    """

    title: str
    quantity: str
    x: str = ""
    y: str = ""
    mark: Mark = "lines"
    theory: str = ""
    arms: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    caption: str = ""
    x_log: bool = False
    y_log: bool = False
    percent: bool = False
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one expectation.

    Attributes:
        expected: As it was written down before the run.
        measured: In words, with numbers.
        held: None: this size of run does not ask it.
    """

    expected: str
    measured: str
    held: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A figure of a paper beside ours.

    Attributes:
        differs: What differs between the paper's setting and ours.
    """

    source: str
    what: str
    theirs: str
    ours: str
    differs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabReport:
    """One experiment of the lab as it stands.

    Attributes:
        claim: One sentence.
        story: Paragraphs that lead a reader to the claim.
        setting: What was run, in words.
        lesson: What follows, told after the figures.
        verdict: None where it has not been run, or failed.
        why: Of one that failed, or where the verdict needs a word.
        seconds: That all tasks took, added up; nan where it has not been run.
        expected_seconds: What a quick run usually takes on one core.
        size: Of the run.
        told: Words on this run: what was left out, data that was missing.
    """

    name: str
    title: str
    chapter: str
    claim: str
    source: str
    story: tuple[str, ...]
    setting: str
    lesson: tuple[str, ...]
    expectations: tuple[str, ...]
    status: LabStatus
    verdict: Reproduced | None = None
    why: str = ""
    outcomes: tuple[Outcome, ...] = ()
    compared: tuple[Compared, ...] = ()
    figures: tuple[Figure, ...] = ()
    table: Table = Table(rows=())
    seconds: float = math.nan
    expected_seconds: float = math.nan
    size: Size = "quick"
    seeds: tuple[int, ...] = ()
    data: str = "digits"
    told: tuple[str, ...] = ()

    @property
    def expectation(self) -> str:
        """All expectations as one text."""
        return " ".join(self.expectations)

    @property
    def measured(self) -> str:
        """What was measured for each expectation, as one text; "" where it has not been run."""
        return " ".join(outcome.measured for outcome in self.outcomes)


def verdict_of(outcomes: Sequence[Outcome]) -> Reproduced | None:
    """Reproduced where every expectation held, not reproduced where none did, depends in between.

    None where this size of run asks nothing.
    """
    asked = [outcome.held for outcome in outcomes if outcome.held is not None]
    if not asked:
        return None
    return "reproduced" if all(asked) else "depends" if any(asked) else "not reproduced"
