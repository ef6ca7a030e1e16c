"""Probing: a reading of a live step by replay, and what the readings so far say together."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from fadeout.call.question import Question
from fadeout.call.standard import Standard, against_constants
from fadeout.course.progress import fall
from fadeout.errors import FadeoutError
from fadeout.exams import concluded
from fadeout.live.calls import Call
from fadeout.live.faithful import FaithfulReplay, untouched
from fadeout.probe.process import leaves_no_trace
from fadeout.probe.reading import Taken, take_reading
from fadeout.records import Course, Exam, Forecast, Ledger, Reading
from fadeout.rules import progress, sentence

UNSEEN = 1.0  # the loss of a reading where the script sent no scalar backward: finite, and the same at every probe
MOST = 24  # readings that are kept; of more, every second one between the first and the last few goes


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One call of a loss function: the network's output, the answers, and the function itself."""

    output: Any
    target: Any
    function: Callable[..., Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the watch knows of the steps between the probes.

    Attributes:
        updates: Largest relative change of each layer's weights in the first steps.
        growth: Norm of all parameters now over the start.
        broken: Step whose loss was not finite; None if never.
        clipped: Share of the clippings that bit; nan where nothing clips.
        backwards: More than 1 where losses alternate.
    """

    steps: int
    losses: tuple[float, ...]
    updates: tuple[tuple[str, float], ...]
    growth: float
    broken: int | None
    clipped: float
    backwards: int
    unmoved: bool


class Prober:
    """The readings of one track.

    Attributes:
        readings: So far, the first step's first.
        learned: Progress at each.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.readings: list[Reading] = []
        self.learned: list[float] = []
        self.constant = math.nan
        self.ignores_targets = False
        self._first: Taken | None = None
        self._loss = math.nan
        self._seen = True  # a loss, at the first reading

    @leaves_no_trace
    def take(
        self, step: int, calls: list[Call], scale: float, optimizer: Any, loss: float | None, judged: Sequence[Judged]
    ) -> None:
        """A reading of the step that is about to be taken.

        Args:
            step: Optimizer steps done before it.
            scale: Loss scale of the gradients that came back.
            loss: Of this step; None where none was seen.

        Raises:
            FadeoutError, ModelError: If the step can't be run again.
            ImpureError: If it must not be.
        """
        question = Question(verb="run", model=self.root, step=FaithfulReplay(calls, scale), optimizer=optimizer)
        with untouched(calls):
            taken = take_reading(question, "brief" if self.readings else "start")
        value = math.nan if loss is None else loss
        if self._first is None:
            self._first, self._loss, self._seen = taken, value, loss is not None
        self.readings.append(replace(taken.reading, step=step, loss=UNSEEN if loss is None else loss))
        self.learned.append(self._progress(value, judged))
        if len(self.readings) > MOST:
            kept = [i for i in range(len(self.readings)) if i == 0 or i >= MOST // 2 or i % 2 == 0]
            self.readings = [self.readings[i] for i in kept]
            self.learned = [self.learned[i] for i in kept]

    def amend(self, change: Callable[[Reading], Reading], *, every: bool = False) -> None:
        """Change what the last reading says, or every one so far."""
        places = range(len(self.readings)) if every else [len(self.readings) - 1]
        for i in places:
            self.readings[i] = change(self.readings[i])

    def _progress(self, loss: float, judged: Sequence[Judged]) -> float:
        """Against the best constant output where a loss function was seen; else by the fall of the loss."""
        for one in sorted(judged, key=lambda j: -_size(j.target)):
            try:
                found: Standard = against_constants(one.output, one.target, one.function)
                value = float(one.function(one.output, one.target)) if not math.isnan(found.constant) else math.nan
            except Exception:  # a loss on outputs that it was not written for
                continue
            if len(self.readings) == 1:
                self.ignores_targets = found.ignores_targets
            if not math.isnan(found.constant):
                if math.isnan(self.constant):
                    self.constant = found.constant
                return found.judge(one.output, value)
        return fall(self._loss, loss) if math.isnan(self.constant) else math.nan

    def exam(self, facts: Facts, optimizers: str) -> Exam:
        """What the readings so far say together; its numbers are those of the last.

        Args:
            optimizers: In words.

        Raises:
            FadeoutError: If there is no reading yet.
        """
        if self._first is None:
            raise FadeoutError("run: no step could be probed yet")
        course = Course(
            steps=facts.steps,
            losses=facts.losses,
            probes=tuple(self.readings),
            learned=tuple(self.learned),
            constant=self.constant,
            updates=facts.updates,
            growth=facts.growth,
            broken=facts.broken,
            backwards=facts.backwards,
            ignores_targets=self.ignores_targets,
            clipped=facts.clipped,
            batches=0,  # how many different ones a script reads is not known
            unmoved=facts.unmoved,
        )
        start = self.readings[0]
        taken = replace(self._first, reading=replace(start, course=course))
        found = concluded(taken, time.perf_counter(), None)
        env = found.environment
        last = replace(self.readings[-1], course=course)
        ledger = without_ours(last.ledger)
        return replace(
            found,
            sentence=sentence(last, found.verdict, found.findings),
            progress=progress(last, found.findings),
            decades=last.ledger.decades,
            decades_per_layer=last.profile,
            effective_depth=last.depth,
            effective_blocks=last.ledger.blocks,
            ledger=ledger,
            forecast=found.forecast if len(self.readings) == 1 or _foreseen(found.forecast, last) else None,
            layers=last.layers,
            time=last.time,
            tokens=last.tokens,
            environment=replace(env, optimizer=optimizers, seconds=0.0, loss=env.loss if self._seen else math.nan),
        )


def _foreseen(forecast: Forecast | None, last: Reading) -> bool:
    """Whether the last probe lies where theory expects random weights; of trained ones it knows nothing."""
    band = forecast.band if forecast is not None else None
    return band is not None and band[0] <= last.ledger.decades <= band[1]


def without_ours(ledger: Ledger) -> Ledger:
    """The trunk without the scalar that a replay makes of the outputs: it is no operation of the script's."""
    trunk = ledger.trunk
    ours = [e for e in trunk.entries if e.kind == "loss" and not (e.path or e.line)]
    if not ours:
        return ledger
    left = tuple(e for e in trunk.entries if e not in ours)
    loss = math.fsum(e.log_gain for e in left if e.kind == "loss")
    kinds = tuple((kind, loss if kind == "loss" else total) for kind, total in trunk.by_kind)
    gain = trunk.log_gain - math.fsum(e.log_gain for e in ours)
    return replace(ledger, trunk=replace(trunk, entries=left, by_kind=kinds, log_gain=gain))


def _size(target: Any) -> int:
    return target.numel() if isinstance(target, Tensor) else 0
