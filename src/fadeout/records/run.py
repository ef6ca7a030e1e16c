"""Records of a run: a training script as it was watched."""

import math
from dataclasses import dataclass, field
from typing import Any

from fadeout.records.exam import Exam


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """One quantity of every parameter over time.

    A bin holds the smallest and the largest value over its steps; bins of long runs are joined, so that
    every extreme is kept.

    Attributes:
        metric: "gradient", "weight", "update" (ratio), or of the whole step "loss", "rate", "total" (gradient norm
            before clipping), "step_ms", "watch_ms".
        names: Parameters, or () for a quantity of the whole step.
        first, last: Steps of each bin, counted from 1.
        low, high: A row a bin, a value a name.
    """

    metric: str
    names: tuple[str, ...]
    first: tuple[int, ...]
    last: tuple[int, ...]
    low: tuple[tuple[float, ...], ...]
    high: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """Something that was said while the script ran.

    Attributes:
        step: Optimizer steps done.
        code: Of a finding; "" for other words.
        level: Of a finding; "gone" where a finding that was told no longer stands; or "word".
    """

    step: int
    code: str
    level: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One network and the optimizers that train it.

    Attributes:
        name: Class of the module.
        optimizer: Classes and rates, in words.
        steps: Optimizer steps done.
        skipped: Steps that a GradScaler left out.
        probes: Steps after which a probe was taken.
        exam: Of the last probe; None where there was none.
        ranks: Processes that wrote norms of their own shards; 1 where every process holds all.
        process: Rank and number of the process: "0:4711".
    """

    name: str
    optimizer: str
    steps: int
    skipped: int
    probes: tuple[int, ...]
    exam: Exam | None
    samples: tuple[Samples, ...] = ()
    noticed: tuple[Noticed, ...] = ()
    ranks: int = 1
    process: str = ""

    def of(self, metric: str) -> Samples | None:
        """The samples of one quantity; None where it was not recorded."""
        return next((s for s in self.samples if s.metric == metric), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A watched run.

    Attributes:
        script: As it was typed.
        exit_code: Of the script; None while it runs, or after it was killed.
        seconds: From the first optimizer step to the last one.
        watching: Seconds that the watch itself took.
        words: What a reader should know besides.
        gave_up: The watch ended before the script did, at an error of its own.
    """

    script: str
    started: str
    exit_code: int | None
    seconds: float
    watching: float
    tracks: tuple[Track, ...]
    words: tuple[str, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    gave_up: bool = False

    @property
    def share(self) -> float:
        """Part of the time that the watch took; nan where nothing was timed."""
        return min(1.0, self.watching / self.seconds) if self.seconds > 0 else math.nan
