"""An experiment: one claim about the vanishing gradient, what it expects, and how it is measured."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fadeout.records import Figure, Row, Size, Table

SIZES: tuple[Size, ...] = ("smoke", "quick", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One piece of an experiment's work; the same task gives the same rows on every engine.

    Attributes:
        x: Depth, length, ...: whatever the experiment varies; nan where one task measures all of it.
        limit: Seconds until it counts as hanging.
    """

    experiment: str
    arm: str
    seed: int
    size: Size
    x: float = math.nan
    data: str = "digits"
    limit: float = 1800.0

    @property
    def goes_on(self) -> bool:
        return False

    def failed(self, why: str, *, seconds: float = 0.0) -> "Result":
        return Result(task=self, rows=(), failed=why, seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a task has measured; `failed` says why there is nothing.

    Attributes:
        seconds: Of processor time.
    """

    task: Task
    rows: tuple[Row, ...]
    failed: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Whether an expectation held, and what was measured, in words with numbers and intervals."""

    held: bool
    measured: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What must come out if the claim is true, written down before the run.

    Attributes:
        says: A sentence with the bound in it.
        check: Looks at the table.
        needs: The smallest size of run that asks it: what needs no training is asked of a smoke run.
    """

    says: str
    check: Callable[[Table], Found]
    needs: Size = "quick"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A figure of a paper that stands beside ours.

    Attributes:
        source: Authors, year, where in the paper.
        what: The quantity.
        theirs: The paper's figure.
        ours: From the table.
        differs: What differs between the settings.
    """

    source: str
    what: str
    theirs: str
    ours: Callable[[Table], str]
    differs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One classic.

    Attributes:
        name: What a person types: `fadeout lab product`.
        title: Of its page.
        chapter: Of the book.
        claim: One sentence.
        source: Papers, with arXiv numbers.
        story: Paragraphs before the figures, for a reader who knows only what a gradient is.
        lesson: Paragraphs after them.
        setting: What is run at each size, in words.
        seconds: Of one core at each size, measured; for the list and the order of work.
        tasks: (size) -> the work, the longest first.
        measure: (task) -> rows.  Draws only from torch's generator, which was seeded with the task's seed.
        data: Data sets that it can run on; the first is the usual one.
    """

    name: str
    title: str
    chapter: str
    claim: str
    source: str
    story: tuple[str, ...]
    lesson: tuple[str, ...]
    setting: Mapping[Size, str]
    seconds: Mapping[Size, float]
    tasks: Callable[[Size], tuple[Task, ...]]
    measure: Callable[[Task], Iterable[Row]]
    expectations: tuple[Expectation, ...]
    published: tuple[Published, ...]
    figures: tuple[Figure, ...]
    data: tuple[str, ...] = ("digits",)


def grid(
    experiment: str, size: Size, arms: Iterable[str], seeds: Iterable[int], xs: Iterable[float] = (math.nan,)
) -> tuple[Task, ...]:
    """A task for every arm, x and seed; the largest x first, since it takes longest."""
    ordered, arms, seeds = sorted(xs, reverse=True), tuple(arms), tuple(seeds)
    return tuple(
        Task(experiment=experiment, arm=arm, seed=seed, size=size, x=x)
        for x in ordered
        for arm in arms
        for seed in seeds
    )
