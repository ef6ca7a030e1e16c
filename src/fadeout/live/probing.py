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
from fadeout.records import Course, Exam, Reading
from fadeout.rules import progress, sentence

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

    @leaves_no_trace
    def take(
        self, step: int, calls: list[Call], scale: float, optimizer: Any, loss: float, judged: Sequence[Judged]
    ) -> None:
        """A reading of the step that is about to be taken.

        Args:
            step: Optimizer steps done before it.
            scale: Loss scale of the gradients that came back.
            loss: Of this step.

        Raises:
            FadeoutError, ModelError: If the step can't be run again.
            ImpureError: If it must not be.
        """
        question = Question(verb="run", model=self.root, step=FaithfulReplay(calls, scale), optimizer=optimizer)
        with untouched(calls):
            taken = take_reading(question, "brief" if self.readings else "start")
        if self._first is None:
            self._first, self._loss = taken, loss
        self.readings.append(replace(taken.reading, step=step, loss=loss))
        self.learned.append(self._progress(loss, judged))
        if len(self.readings) > MOST:
            kept = [i for i in range(len(self.readings)) if i == 0 or i >= MOST // 2 or i % 2 == 0]
            self.readings = [self.readings[i] for i in kept]
            self.learned = [self.learned[i] for i in kept]

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

    def exam(self, facts: Facts, optimizer: Any) -> Exam:
        """What the readings so far say together; its numbers are those of the last.

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
            batches=facts.steps,
            unmoved=facts.unmoved,
        )
        start = self.readings[0]
        taken = replace(self._first, reading=replace(start, course=course))
        found = concluded(taken, time.perf_counter(), optimizer)
        last = replace(self.readings[-1], course=course)
        return replace(
            found,
            sentence=sentence(last, found.verdict, found.findings),
            progress=progress(last, found.findings),
            decades=last.ledger.decades,
            decades_per_layer=last.profile,
            effective_depth=last.depth,
            effective_blocks=last.ledger.blocks,
            ledger=last.ledger,
            layers=last.layers,
            time=last.time,
            tokens=last.tokens,
        )


def _size(target: Any) -> int:
    return target.numel() if isinstance(target, Tensor) else 0
