"""A live arm: one treatment with one seed, built, treated and trained as far as it was asked to go."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from fadeout.call.batch import fresh
from fadeout.call.case import Case, Setup, seeded
from fadeout.call.chance import random_state, set_random_state
from fadeout.call.failures import first_line
from fadeout.call.isolate import Isolation
from fadeout.call.question import Question
from fadeout.call.train_step import bound
from fadeout.course.runner import Runner
from fadeout.course.twin import Twin, plain_step
from fadeout.engines.held_out import HeldOut
from fadeout.engines.job import Job
from fadeout.errors import FadeoutError
from fadeout.probe.process import leaves_no_trace
from fadeout.probe.reading import take_reading
from fadeout.records import Piece
from fadeout.treatments.patient import Patient

SILENT = 5  # steps in a row whose every gradient is exactly zero: one may be a batch with nothing left to learn
LEARNED = 0.1  # skill above which zero gradients may mean that the task is done


Shared = dict[int, Sequence[Any]]


class LiveArm:
    """An arm that can go on from where it stands.

    Attributes:
        steps: Done so far.
    """

    def __init__(self, case: Case, job: Job, shared: Shared) -> None:
        self.key, self.seed, self.control = job.arm, job.seed, job.treatment is None
        setup = case.build(job.seed)
        self.held_out = HeldOut(case, setup)
        self.recipe: tuple[str, ...] = ()
        optimizer = setup.optimizer
        with seeded(job.seed):  # what a treatment or dropout draws is the same on every engine
            if job.treatment is not None:
                batch = fresh(setup.batches[0])
                patient = Patient(model=setup.model, optimizer=optimizer, batch=batch, loss=setup.loss, seed=job.seed)
                receipt = job.treatment.apply(patient)
                self.recipe = receipt.recipe
                optimizer = receipt.optimizer if receipt.optimizer is not None else optimizer
            self.decades, self.depth = _measured(setup) if job.measure else (math.nan, math.nan)
        self.model, self.loss = setup.model, setup.loss
        self.batches = shared.setdefault(job.seed, setup.batches)
        self.runner = Runner(_twin(setup, optimizer), "trial")
        self.losses: list[float] = []
        self.curve: list[tuple[int, float]] = []
        self.failed = ""
        self._silent = 0
        self._random: Any = None
        with self.own_random_state():
            self.judge()

    @property
    def steps(self) -> int:
        return len(self.losses)

    def run_to(self, job: Job, seconds: float) -> Piece:
        """Train to the job's stop, or to where it fails.

        Args:
            seconds: That building it took.
        """
        begun = time.perf_counter()
        with self.own_random_state():
            while self.steps < job.stop and not self.failed:
                self._step()
                if self.steps in job.points:
                    self.judge()
            self.judge()
        return self.piece(job, seconds + time.perf_counter() - begun)

    def piece(self, job: Job, seconds: float) -> Piece:
        """What it has shown so far."""
        return Piece(
            arm=job.arm, seed=job.seed, stop=job.stop, steps=self.steps, losses=tuple(self.losses),
            curve=tuple(self.curve), failed=self.failed, seconds=seconds,
            decades=self.decades, effective_depth=self.depth, recipe=self.recipe,
        )  # fmt: skip

    def _step(self) -> None:
        batch = self.batches[self.steps % len(self.batches)]
        try:
            record = self.runner.run(fresh(batch))
        except FadeoutError as error:
            self.failed = str(error).removeprefix("trial: ")
            return
        self.note(record.loss, finite=record.finite, quiet=not self.control and silent(self.model))

    def note(self, loss: float, *, finite: bool, quiet: bool) -> None:
        """A step was done.

        Args:
            quiet: Every gradient was exactly zero; never of no treatment, which goes on whatever it does.
        """
        self.losses.append(loss)
        if not finite:
            self.failed = f"diverged: the loss is not finite at step {self.steps}"
            return
        self._silent = self._silent + 1 if quiet else 0
        if self._silent >= SILENT and not self.curve[-1][1] > LEARNED:
            self.failed = f"dead: every gradient has been exactly zero for {SILENT} steps at step {self.steps}"

    def judge(self) -> None:
        """Measure skill, unless it was at this step, or the arm has failed."""
        if self.failed or (self.curve and self.curve[-1][0] == self.steps):
            return
        try:
            self.curve.append((self.steps, self.held_out.skill()))
        except FadeoutError as error:
            self.failed = str(error).removeprefix("trial: ")

    @contextmanager
    def own_random_state(self) -> Iterator[None]:
        """The arm's own random state, and the caller's afterwards."""
        with seeded(self.seed):
            if self._random is not None:
                set_random_state(self._random)
            yield
            self._random = random_state()


def begin(case: Case, job: Job, shared: Shared) -> LiveArm | str:
    """A new arm; the reason why there is none where the treatment can't be given or a maker fails.

    Args:
        shared: Batches by seed, which all arms of one process train on: every build makes the same ones.
    """
    try:
        return LiveArm(case, job, shared)
    except FadeoutError as error:
        return str(error).removeprefix("trial: ")
    except Exception as error:  # a treatment on a network that it was not written for
        return f"{type(error).__name__}: {first_line(error)}"


def silent(model: nn.Module) -> bool:
    """Whether every gradient is exactly zero; the last layers are asked first, since there it rarely is."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    return bool(grads) and not any(bool(g.any()) for g in reversed(grads))


def _twin(setup: Setup, optimizer: Any) -> Twin:
    if setup.train_step is not None:
        own = Isolation(verb="trial").copied(setup.train_step)  # what it counts or schedules is each arm's own
        return Twin(model=setup.model, optimizer=optimizer, step=bound(own, verb="trial"))
    return Twin(model=setup.model, optimizer=optimizer, step=plain_step(setup.loss, None, "trial"))


def _measured(setup: Setup) -> tuple[float, float]:
    """(decades, effective depth); nan where one step can't be measured, which stops no race."""
    try:
        return _one_step(setup)
    except Exception:  # the treated network in one forward and backward of ours: the race itself will tell
        return math.nan, math.nan


@leaves_no_trace
def _one_step(setup: Setup) -> tuple[float, float]:
    batch = fresh(setup.batches[0])
    reading = take_reading(Question(verb="trial", model=setup.model, batch=batch, loss=setup.loss), "brief").reading
    depth = reading.depth.layers
    return reading.ledger.decades, float(depth) if depth is not None else math.nan


def threads(number: int) -> int:
    """Set torch's threads and return how many there were: sums are added in another order with more."""
    before = torch.get_num_threads()
    if before != number:
        torch.set_num_threads(number)
    return before
