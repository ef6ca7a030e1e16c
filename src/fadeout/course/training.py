"""A course: training steps on a copy of model and optimizer, with probes at growing distances."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.call.alone import undisturbed
from fadeout.call.batch import fresh, is_pair, tensors
from fadeout.call.chance import TorchState, set_torch_state, torch_state
from fadeout.call.copies import copy_of
from fadeout.call.guard import Guard
from fadeout.call.modes import under_autocast, without_dropout
from fadeout.call.question import Question
from fadeout.call.subject import unwrapped
from fadeout.course.batches import Rows, Stream
from fadeout.course.capture import caught
from fadeout.course.noise import neighbours_agree, signal_to_noise
from fadeout.course.progress import fall, judge, unjudged
from fadeout.course.runner import Runner, changes, sound
from fadeout.course.scaling import scaling
from fadeout.course.schedule import FIRST, ROWS, late_rows, schedule
from fadeout.course.sound import LastSound
from fadeout.course.trespass import no_steps_on
from fadeout.course.twin import Twin, spare_of, twin_of
from fadeout.errors import ModelError
from fadeout.probe.account.norms import norm, read
from fadeout.probe.instruments import How
from fadeout.probe.reading import Shown, Taken, take_reading
from fadeout.records import Course, Reading

HOPELESS = 3  # losses in a row that are not finite
FACTORS = tuple(2.0**-n for n in range(0, 33, 4))  # of the loss scale, tried until a probe's gradient is finite
Marks = Mapping[str, Callable[[Reading], bool]]


def take_course(question: Question, *, marks: Marks | None = None) -> Taken:
    """Step 0 wholly, then training steps with brief probes between them, all on a copy.

    Args:
        question: Its batch is an iterable of batches in any form that one step takes; cycled.
        marks: Signs by name; of the first probe that shows one, the network is kept as it was then.

    Returns:
        Step 0 as `take_reading` gives it, its reading with the course.

    Raises:
        ValueError, TypeError: If the call itself is wrong.
        FadeoutError: If the model can't be copied.
        ModelError: If the model raises on the way.
    """
    _check(question)
    inner = unwrapped(question.model)[0]
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        kept = stack.enter_context(Guard(inner.modules()))  # and the random state, which is the user's
        for generator in _generators(question.batch):
            kept.before_draw(generator)
        stream = Stream([None] if question.batch is None else question.batch, question.verb)
        start = torch_state()
        with undisturbed(inner.modules(), verb=question.verb):
            twin = twin_of(question, inner, stream.first)
        if twin.originals is not None:
            stack.enter_context(no_steps_on(twin.originals))
        return _Training(question, twin, stream, start, marks or {}).run()


@dataclass(slots=True)
class _Prober:
    """Takes readings of the twin between its steps.

    Attributes:
        start: Random state that every probe draws from.
        shown: Of each mark the first probe that showed it.
    """

    question: Question
    twin: Twin
    stream: Stream
    start: TorchState
    rows: Rows
    marks: Marks
    shown: dict[str, Shown] = field(default_factory=dict)

    def take(self, n: int, how: How) -> Taken:
        """A probe; on the first batch alone where the model wants that: a graph, a queue, a carried state."""
        try:
            taken = self._take(n, how)
        except ModelError:
            if self.rows.alone or self.rows.at(n) is self.stream.first:
                raise
            self.rows.alone = True
            taken = self._take(n, how)
        for name, shows in self.marks.items():
            if name not in self.shown and shows(taken.reading):
                model = copy_of(taken.seen.subject.model)
                self.shown[name] = Shown(model=model, closure=taken.seen.closure, around=self._around)
        return taken

    def _take(self, n: int, how: How) -> Taken:
        with self._around(self.twin.model):
            return self._read(self.rows.at(n), how)

    def broken(self, before: LastSound) -> Reading | None:
        """The step at which training stopped being finite, from the last sound weights, with its own draws."""
        for one in before.newest_first():
            try:
                with before.put_back(one), Guard([]):
                    set_torch_state(one.draws)
                    found = self._read(one.batch, "brief").reading
            except ModelError:  # what is not finite may raise, in an SVD or a sampler
                continue
            if found.origin is not None:
                return replace(found, step=one.number - 1)
        return None

    def _read(self, batch: Any, how: How) -> Taken:
        twin, question = self.twin, self.question
        if not has_loss(question):
            return self._read_step(batch, how)
        return take_reading(
            replace(
                question,
                model=twin.model,
                batch=batch,
                optimizer=_one(twin.optimizer, twin.model),
                reach=question.reach if how == "start" else 0,
            ),
            how,
        )

    def _read_step(self, batch: Any, how: How) -> Taken:
        """What the user's step sends backward; a scale that overflows is lowered, as its scaler would do."""
        twin, question = self.twin, self.question
        for factor in FACTORS:
            spare = spare_of(twin, question.verb)
            with scaling(factor) as seen:
                taken = take_reading(
                    replace(
                        question,
                        model=spare.model,
                        batch=None,
                        step=lambda m, spare=spare: caught(lambda: spare.step(m, batch, spare.optimizer), twin.which),  # type: ignore[misc]
                        optimizer=_one(spare.optimizer, spare.model),
                        reach=0,
                        trains=twin.trains,
                    ),
                    how,
                )
            origin = taken.reading.origin
            if not seen.used or origin is None or origin.where != "backward" or seen.scale <= 1:
                break
        return replace(taken, reading=replace(taken.reading, loss=taken.reading.loss / seen.scale))

    def _around(self, model: nn.Module) -> AbstractContextManager[Any]:
        return _in_probe(model, self.start)


class _Training:
    """One course, from the first probe to the record."""

    def __init__(self, question: Question, twin: Twin, stream: Stream, start: TorchState, marks: Marks) -> None:
        self.question = question
        self.twin = twin
        self.stream = stream
        self.notes = list(stream.notes)
        self.runner = Runner(twin, question.verb)
        late = late_rows(stream.first, question.steps)
        self.rows = Rows(stream.gathered, early=ROWS, late=late, until=FIRST[-1])
        self.prober = _Prober(question, twin, stream, start, self.rows, marks)
        self.probes: list[Reading] = []
        self.learned: list[float] = []
        self.before = LastSound(twin.model)
        self.broken: int | None = None
        self.fatal: Reading | None = None
        self.spoilt = False

    def run(self) -> Taken:
        """The whole course."""
        question, model = self.question, self.twin.model
        first = self.prober.take(0, "start")
        judged_by_loss = has_loss(question)
        noise = alike = math.nan
        if judged_by_loss:
            with without_dropout(model), under_autocast(model, question.autocast):
                noise = signal_to_noise(model, self.stream.gathered, question.loss, verb=question.verb)
                alike = neighbours_agree(model, self.rows.at(0), question.loss)
        judged = (
            judge(model, self.rows.at(0), question.loss, question.autocast, question.verb)
            if judged_by_loss
            else unjudged()
        )
        sizes = _sizes(model)
        initial = {name: p.detach().clone() for name, p in model.named_parameters()}
        self._add(0, first.reading, judged.at)
        goals = schedule(question.steps)
        for n in range(1, question.steps + 1):
            self._train(n, n in goals)
            hopeless = self._hopeless(n)
            if (n in goals or hopeless) and sound(model):
                self._probe(n, judged.at if judged_by_loss else self._fallen)
            if hopeless:
                break
        skipped, scaled = self.runner.left_out()
        course = Course(
            steps=len(self.runner.records),
            losses=self.runner.losses,
            probes=tuple(self.probes),
            learned=tuple(self.learned),
            constant=judged.standard.constant,
            updates=self.runner.updates(),
            growth=_growth(sizes, _sizes(model)),
            broken=self.broken,
            backwards=self.twin.backwards,
            ignores_targets=judged.standard.ignores_targets,
            clipped=self.runner.clipped(),
            signal_to_noise=noise,
            neighbours=alike,
            one_class=_one_class(self.stream.gathered),
            batches=self.stream.count,
            spoilt=self.spoilt,
            unmoved=not _moved(model, initial),
            skipped=skipped,
            scaled=scaled,
            stale=self.runner.habits.stale,
            rate_gone=self.runner.habits.rate_gone,
            travelled=_travelled(model, initial),
            fatal=self.fatal,
        )
        reading = replace(first.reading, course=course)
        return replace(first, reading=reading, notes=[*first.notes, *self.notes], shown=self.prober.shown)

    def _train(self, n: int, at_goal: bool) -> None:
        batch = self.stream.at(n - 1)
        if self.broken is None:
            self.before.before(n, batch)
        record = self.runner.run(fresh(batch))
        if self.broken is not None:
            return
        if not record.finite:
            self.broken = n
            self.spoilt = any(t.is_floating_point() and not bool(torch.isfinite(t).all()) for t in tensors(batch))
        elif at_goal and not sound(self.twin.model):
            self.broken = n
        if self.broken is not None:
            self.fatal = self.prober.broken(self.before)

    def _fallen(self, loss: float) -> float:
        """Progress by what the steps return; by the probes' own loss where they return no number."""
        first, now = self.runner.returned(first=True), self.runner.returned()
        if math.isnan(first) or math.isnan(now):
            first, now = self.probes[0].loss, loss
        return fall(first, now)

    def _hopeless(self, n: int) -> bool:
        return self.broken is not None and (n - self.broken >= HOPELESS - 1 or not sound(self.twin.model))

    def _probe(self, n: int, learned: Callable[[float], float]) -> None:
        try:
            later = self.prober.take(n, "brief")
        except ModelError as error:  # it refuses these rows now, or a value that is not finite
            self.notes.append(f"the probe after step {n:,} was left out: {error}")
        else:
            self._add(n, later.reading, learned)

    def _add(self, n: int, reading: Reading, learned: Callable[[float], float]) -> None:
        self.probes.append(replace(reading, step=n))
        self.learned.append(learned(reading.loss))


def has_loss(question: Question) -> bool:
    """Whether a probe may call model and loss itself; else it catches what the user's step sends backward."""
    return question.loss is not None or question.train_step is None


@contextmanager
def _in_probe(model: nn.Module, start: TorchState) -> Iterator[None]:
    """No dropout, and what still draws, draws the same in every probe."""
    with Guard([]), without_dropout(model):
        set_torch_state(start)
        yield


def _check(question: Question) -> None:
    """Raises: ValueError, TypeError: If the call itself is wrong."""
    model, batches, optimizer = question.model, question.batch, question.optimizer
    train_step, steps, verb = question.train_step, question.steps, question.verb
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"{verb}: steps= counts optimizer steps, >= 1; got {steps!r}")
    if optimizer is None and train_step is None:
        raise ValueError(f"{verb}: steps= trains a copy and needs optimizer=, or train_step= with one of its own")
    if train_step is None and not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{verb}: optimizer= must be a torch.optim.Optimizer, got {type(optimizer).__name__}; several go through "
            "train_step=, which is handed whatever optimizer= holds"
        )
    if train_step is not None and not callable(train_step):
        raise TypeError(f"{verb}: train_step= must be callable; got {type(train_step).__name__}")
    if batches is None and train_step is None:
        raise ValueError(f"{verb}: steps= needs batches, an iterable of what one step takes, e.g. a DataLoader")
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{verb}: the model must be a torch.nn.Module, got {type(model).__name__}; "
            "pass the network itself, not a class or its output"
        )


def _one_class(batches: list[Any]) -> bool:
    """Batches of one class each, though there are several classes."""
    found = [b[1] for b in batches if is_pair(b) and isinstance(b[1], Tensor)]
    classes = [set(y.tolist()) for y in found if not y.is_floating_point() and y.dim() == 1 and len(y) > 1]
    if len(classes) < 2:
        return False
    several = len(set.union(*classes))
    return several > 1 and sum(map(len, classes)) <= max(0.3 * several, 1.2) * len(classes)


def _one(optimizer: Any, model: nn.Module) -> Optimizer | None:
    """The optimizer, if it is one and holds a parameter of the model; the course says what nothing moves by."""
    if not isinstance(optimizer, Optimizer):
        return None
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return optimizer if any(id(p) in held for p in model.parameters()) else None


def _moved(model: nn.Module, initial: dict[str, Tensor]) -> bool:
    """Whether any parameter differs from what it was at the start."""
    pairs = [(p.detach(), initial[name]) for name, p in model.named_parameters() if name in initial]
    return any(a.shape != b.shape or not torch.equal(a, b) for a, b in pairs)


def _generators(batches: Any) -> list[torch.Generator]:
    """Random generators of a loader's own."""
    owners = (batches, getattr(batches, "sampler", None), getattr(batches, "batch_sampler", None))
    found = [getattr(owner, "generator", None) for owner in owners]
    return [g for g in found if isinstance(g, torch.Generator)]


def _travelled(model: nn.Module, initial: dict[str, Tensor]) -> float:
    """Largest relative distance of a matrix from where it started."""
    return max((ratio for ratio in changes(model, initial)[1].values()), default=math.nan)


def _sizes(model: nn.Module) -> float:
    return math.hypot(*read([norm(p.detach()).double() for p in model.parameters() if p.layout == torch.strided]))


def _growth(before: float, after: float) -> float:
    return after / before if before > 0 else math.nan
