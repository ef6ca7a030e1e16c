"""A course: training steps on a copy of model and optimizer, with probes at growing distances."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.call.alone import undisturbed
from fadeout.call.batch import closure, fresh, tensors
from fadeout.call.copies import copy_of
from fadeout.call.failures import at_line, first_line, hint
from fadeout.call.guard import Guard
from fadeout.call.isolate import Isolation
from fadeout.call.modes import under_autocast, without_dropout
from fadeout.call.subject import unwrapped
from fadeout.call.train_step import bound
from fadeout.course.batches import Rows, Stream
from fadeout.course.capture import caught, clipping, which_backward
from fadeout.course.noise import neighbours_agree, signal_to_noise
from fadeout.course.progress import judge, unjudged
from fadeout.course.trespass import Originals, ReachedError, WritesDataError, no_steps_on, no_writes_into
from fadeout.errors import FadeoutError, ModelError
from fadeout.probe.account.norms import norm, read
from fadeout.probe.graph.names import readable_path
from fadeout.probe.reading import How, Shown, Taken, take_reading
from fadeout.records import Course, Reading

FIRST = (0, 3, 6, 11, 21)  # steps after which probes are taken; from there on GROWTH times further
GROWTH = 1.9
ROWS = 512  # of a probe up to step FIRST[-1]: several batches, so that one odd batch decides nothing
FEWEST = 48  # rows of a later one, however short the course
LATER = 0.05  # of the rows that all steps read, for all later probes together: they cost two steps a row
HOPELESS = 3  # losses in a row that are not finite


def schedule(steps: int) -> tuple[int, ...]:
    """Steps after which probes are taken: 0, 3, 6, 11, 21, 40, ... and the last."""
    found = [n for n in FIRST if n < steps]
    while found[-1] >= FIRST[-1] and found[-1] * GROWTH * 1.3 < steps:
        found.append(round(found[-1] * GROWTH))
    return (*found, steps)


def _late(batch: Any, steps: int) -> int:
    """Rows of a probe after FIRST[-1]: all of these together read LATER of what the steps read."""
    size = max((len(t) for t in tensors(batch) if t.dim()), default=1)
    late = [n for n in schedule(steps) if n > FIRST[-1]]
    return max(FEWEST, min(ROWS, int(LATER * steps * size / len(late)))) if late else ROWS


@dataclass(slots=True)
class _Twin:
    """The copy that is trained."""

    model: nn.Module
    optimizer: Any
    step: Callable[[nn.Module, Any, Any], Any]
    own: Callable[..., Any] | None = None
    shares: bool = True
    originals: Originals | None = None
    which: int = 0
    backwards: int = 1
    losses: list[float] = field(default_factory=list)
    clipped: list[bool] = field(default_factory=list)
    moved: list[bool] = field(default_factory=list)
    updates: dict[str, float] = field(default_factory=dict)


def take_course(
    model: nn.Module,
    batches: Any,
    *,
    loss: Callable[..., Tensor] | None,
    optimizer: Optimizer | None,
    train_step: Callable[..., Any] | None,
    steps: int,
    within: str | None,
    autocast: torch.dtype | bool | None,
    reach: int,
    verb: str,
    marks: Mapping[str, Callable[[Reading], bool]] | None = None,
) -> Taken:
    """Step 0 wholly, then `steps` training steps with brief probes between them, all on a copy.

    Args:
        batches: An iterable of batches in any form that one step takes; cycled.
        train_step: (model, batch, optimizer) -> anything: what the user's loop does once.  By default
            zero_grad, loss, backward, step.
        steps: Optimizer steps to do.
        marks: Signs by name; of the first probe that shows one, the network is kept as it was then.

    Returns:
        Step 0 as `take_reading` gives it, its reading with the course.

    Raises:
        ValueError, TypeError: If the call itself is wrong.
        FadeoutError: If the model can't be copied.
        ModelError: If the model raises on the way.
    """
    _check(model, batches, optimizer, train_step, steps, verb)
    options: dict[str, Any] = {"within": within, "autocast": autocast, "verb": verb}
    inner = unwrapped(model)[0]
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        kept = stack.enter_context(Guard(inner.modules()))  # and the random state, which is the user's
        for generator in _generators(batches):
            kept.before_draw(generator)
        stream = Stream([None] if batches is None else batches, verb)
        start = torch.get_rng_state()
        with undisturbed(inner.modules(), verb=verb):
            twin = _twin(inner, optimizer, train_step, loss, autocast, stream.first, verb)
        if twin.originals is not None:
            stack.enter_context(no_steps_on(twin.originals))
        notes: list[str] = list(stream.notes)
        own_loss = loss is not None or train_step is None
        rows = Rows(stream.gathered, early=ROWS, late=_late(stream.first, steps), until=FIRST[-1])

        def probe(n: int, how: How) -> Taken:
            batch = rows.at(n)
            with _in_probe(twin.model, start):
                if own_loss:
                    held = _one(twin.optimizer, twin.model)
                    around = reach if how == "start" else 0
                    return take_reading(
                        twin.model, batch, loss=loss, step=None, optimizer=held, how=how, reach=around, **options
                    )
                spare = _spare(twin, verb)
                return take_reading(
                    spare.model,
                    None,
                    loss=None,
                    step=lambda m: caught(lambda: spare.step(m, batch, spare.optimizer), twin.which),
                    optimizer=_one(spare.optimizer, spare.model),
                    how=how,
                    reach=0,
                    **options,
                )

        def taken(n: int, how: How) -> Taken:
            """A probe; on the first batch alone where the model wants that: a graph, a queue, a carried state."""
            try:
                return probe(n, how)
            except ModelError:
                if rows.alone or rows.at(n) is stream.first:
                    raise
                rows.alone = True
                return probe(n, how)

        def in_probe(model: nn.Module) -> AbstractContextManager[Any]:
            return _in_probe(model, start)

        shown: dict[str, Shown] = {}

        def mark(one: Taken) -> None:
            for name, shows in (marks or {}).items():
                if name not in shown and shows(one.reading):
                    model = copy_of(one.seen.subject.model)
                    shown[name] = Shown(model=model, closure=one.seen.closure, around=in_probe)

        first = taken(0, "start")
        mark(first)
        with without_dropout(twin.model), under_autocast(twin.model, autocast):
            noise = signal_to_noise(twin.model, stream.gathered, loss, verb=verb) if own_loss else math.nan
            alike = neighbours_agree(twin.model, rows.at(0), loss) if own_loss else math.nan
        judged = judge(twin.model, rows.at(0), loss, autocast, verb) if own_loss else unjudged()
        sizes = _sizes(twin.model)
        initial = {name: p.detach().clone() for name, p in twin.model.named_parameters()}
        probes, learned, broken = [replace(first.reading, course=None)], [judged.at(first.reading.loss)], None
        goals, spoilt = schedule(steps), False
        for n in range(1, steps + 1):
            batch = stream.at(n - 1)
            _train(twin, fresh(batch), n, verb)
            if broken is None and (broken := _broken(twin, n)) is not None:
                spoilt = any(t.is_floating_point() and not bool(torch.isfinite(t).all()) for t in tensors(batch))
            if broken is None and n in goals and not _sound(twin.model):
                broken = n
            hopeless = broken is not None and (n - broken >= HOPELESS - 1 or not _sound(twin.model))
            if (n in goals or hopeless) and _sound(twin.model):
                try:
                    later = taken(n, "brief")
                    mark(later)
                    row = replace(later.reading, step=n)
                except ModelError as error:  # it refuses these rows now, or a value that is not finite
                    notes.append(f"the probe after step {n:,} was left out: {error}")
                else:
                    probes.append(row)
                    learned.append(judged.at(row.loss))
            if hopeless:
                break
        done = len(twin.losses)
        course = Course(
            steps=done,
            losses=tuple(twin.losses),
            probes=tuple(probes),
            learned=tuple(learned),
            constant=judged.standard.constant,
            updates=tuple(sorted(twin.updates.items(), key=lambda item: -item[1])),
            growth=_growth(sizes, _sizes(twin.model)),
            broken=broken,
            backwards=twin.backwards,
            ignores_targets=judged.standard.ignores_targets,
            clipped=sum(twin.clipped) / len(twin.clipped) if twin.clipped else math.nan,
            signal_to_noise=noise,
            neighbours=alike,
            one_class=_one_class(stream.gathered),
            batches=stream.count,
            spoilt=spoilt,
            unmoved=not _moved(twin.model, initial),
        )
    return replace(first, reading=replace(first.reading, course=course), notes=[*first.notes, *notes], shown=shown)


@contextmanager
def _in_probe(model: nn.Module, start: Tensor) -> Iterator[None]:
    """No dropout, and what still draws, draws the same in every probe."""
    with Guard([]), without_dropout(model):
        torch.set_rng_state(start)
        yield


def _check(
    model: Any, batches: Any, optimizer: Any, train_step: Callable[..., Any] | None, steps: int, verb: str
) -> None:
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
    found = [b[1] for b in batches if isinstance(b, (tuple, list)) and len(b) == 2 and isinstance(b[1], Tensor)]
    classes = [set(y.tolist()) for y in found if not y.is_floating_point() and y.dim() == 1 and len(y) > 1]
    if len(classes) < 2:
        return False
    several = len(set.union(*classes))
    return several > 1 and sum(map(len, classes)) <= max(0.3 * several, 1.2) * len(classes)


def _twin(
    model: nn.Module,
    optimizer: Any,
    train_step: Callable[..., Any] | None,
    loss: Callable[..., Tensor] | None,
    autocast: torch.dtype | bool | None,
    batch: Any,
    verb: str,
) -> _Twin:
    """The copy that is trained; a training step of the user's has been tried on a copy of it.

    Raises:
        FadeoutError: If something can't be copied.
        ValueError: If the step trains the original, or its arguments can't be told.
    """
    if train_step is not None:
        bound(train_step, verb=verb)  # which says what is wrong with it
    for share in (True, False):
        isolation = Isolation(verb=verb, share=share)
        copied, own = isolation.copied((model, optimizer))
        if train_step is None:
            return _Twin(copied, own, _plain_step(loss, autocast, verb))
        isolated = isolation.copied(train_step)
        twin = _Twin(copied, own, bound(isolated, verb=verb), isolated, shares=share)
        twin.originals = Originals(model.modules(), isolation.shared)
        spare = _spare(twin, verb)
        try:
            with Guard([]), no_writes_into(twin.originals, verb=verb), no_steps_on(twin.originals), _calm():
                twin.which, twin.backwards = which_backward(
                    lambda spare=spare: _ran(spare, fresh(batch), 1, verb)  # type: ignore[misc]
                )
            return twin
        except WritesDataError:
            continue
    raise FadeoutError(
        f"{verb}: train_step= writes into a tensor that it closes over and that is too large to copy; "
        "let it work on what it is given"
    )


@contextmanager
def _calm() -> Iterator[None]:
    """Without torch's warning that a copy of a scheduler no longer marks its optimizer's step."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Seems like `optimizer.step|.*lr_scheduler.step")
        yield


def _plain_step(
    loss: Callable[..., Tensor] | None, autocast: torch.dtype | bool | None, verb: str
) -> Callable[[nn.Module, Any, Any], Any]:
    """zero_grad, loss, backward, step."""

    def step(m: nn.Module, batch: Any, o: Optimizer) -> Tensor:
        def value() -> Tensor:
            o.zero_grad()
            with under_autocast(m, autocast):
                found = closure(m, batch, loss=loss, step=None, verb=verb).run(m)
            found.backward()  # type: ignore[no-untyped-call]
            return found.detach()

        if isinstance(o, torch.optim.LBFGS):
            first: Tensor = o.step(value)  # type: ignore[no-untyped-call]
            return first
        found = value()
        o.step()
        return found

    return step


def _spare(twin: _Twin, verb: str) -> _Twin:
    """A copy of the copy, with what the user's step closes over: a probe may call it and leave no trace."""
    isolation = Isolation(verb=verb, share=twin.shares)
    model, optimizer = isolation.copied((twin.model, twin.optimizer))
    assert twin.own is not None
    return _Twin(model, optimizer, bound(isolation.copied(twin.own), verb=verb))


def _one(optimizer: Any, model: nn.Module) -> Optimizer | None:
    """The optimizer, if it is one and holds a parameter of the model; the course says what nothing moves by."""
    if not isinstance(optimizer, Optimizer):
        return None
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return optimizer if any(id(p) in held for p in model.parameters()) else None


def _train(twin: _Twin, batch: Any, n: int, verb: str) -> None:
    """One step of the user's, with its numbers."""
    watch = sum(twin.moved) < FIRST[1] and n <= FIRST[-1]  # the first three steps that change something
    before = {name: p.detach().clone() for name, p in twin.model.named_parameters()} if watch else {}
    with clipping(twin.clipped), _calm():
        value = _ran(twin, batch, n, verb)
    twin.losses.append(_number(value))
    if watch:
        _measure_update(twin, before)


def _ran(twin: _Twin, batch: Any, n: int, verb: str) -> Any:
    """What the step returned.

    Raises:
        ModelError: If it raises, with the step and the user's line.
    """
    try:
        return twin.step(twin.model, batch, twin.optimizer)
    except ReachedError:
        raise ValueError(
            f"{verb}: train_step= trains the model outside instead of the one it is given, in step {n}; "
            "use its arguments, or write it as one function that names what it trains"
        ) from None
    except (Exception, SystemExit) as error:
        if isinstance(error, (FadeoutError, ValueError, TypeError)) and str(error).startswith(f"{verb}: "):
            raise
        first = first_line(error)
        raise ModelError(
            f"{verb}: training step {n} failed: {type(error).__name__}: {first}{hint(first, 'step')}{at_line(error)}"
        ) from error


def _number(value: Any) -> float:
    if isinstance(value, dict):
        value = value.get("loss")
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    if isinstance(value, Tensor):
        return float(value.detach()) if value.numel() == 1 else math.nan
    return float(value) if isinstance(value, (int, float)) else math.nan


def _moved(model: nn.Module, initial: dict[str, Tensor]) -> bool:
    """Whether any parameter differs from what it was at the start."""
    pairs = [(p.detach(), initial[name]) for name, p in model.named_parameters() if name in initial]
    return any(a.shape != b.shape or not torch.equal(a, b) for a, b in pairs)


def _generators(batches: Any) -> list[torch.Generator]:
    """Random generators of a loader's own."""
    owners = (batches, getattr(batches, "sampler", None), getattr(batches, "batch_sampler", None))
    found = [getattr(owner, "generator", None) for owner in owners]
    return [g for g in found if isinstance(g, torch.Generator)]


def _measure_update(twin: _Twin, before: dict[str, Tensor]) -> None:
    names, scalars = [], []
    for name, p in twin.model.named_parameters():
        old = before.get(name)
        if old is not None and old.shape == p.shape and p.layout == torch.strided:
            names.append((name, p.dim()))
            scalars += [norm(p.detach() - old).double(), norm(old).double()]
    values = read(scalars)
    moved = False
    for i, (name, dim) in enumerate(names):
        change, size = values[2 * i : 2 * i + 2]
        moved = moved or change != 0
        if dim >= 2 and size > 0 and math.isfinite(change):
            path = readable_path(name.rpartition(".")[0])
            twin.updates[path] = max(twin.updates.get(path, 0.0), change / size)
    twin.moved.append(moved)


def _broken(twin: _Twin, n: int) -> int | None:
    """The step, if its loss is not finite: None where no loss is returned."""
    return n if twin.losses[-1] in (math.inf, -math.inf) or _is_nan_of(twin) else None


def _is_nan_of(twin: _Twin) -> bool:
    finite_before = any(math.isfinite(v) for v in twin.losses)
    return math.isnan(twin.losses[-1]) and (finite_before or not _sound(twin.model))


def _sound(model: nn.Module) -> bool:
    parts = [torch.isfinite(p.detach()).all() for p in model.parameters() if p.layout == torch.strided]
    return not parts or bool(torch.stack([p.to(parts[0].device) for p in parts]).all())


def _sizes(model: nn.Module) -> float:
    return math.hypot(*read([norm(p.detach()).double() for p in model.parameters() if p.layout == torch.strided]))


def _growth(before: float, after: float) -> float:
    return after / before if before > 0 else math.nan
