"""A course: training steps on a copy of model and optimizer, with probes at growing distances."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.errors import FadeoutError, ModelError
from fadeout.probe.batch import closure, tensors
from fadeout.probe.capture import bound, caught, which_backward
from fadeout.probe.guard import Guard
from fadeout.probe.names import readable_path
from fadeout.probe.noise import neighbours_agree, signal_to_noise
from fadeout.probe.norms import norm, read
from fadeout.probe.passes import autocast_of
from fadeout.probe.progress import Standard, fall, output_of_closure, standard
from fadeout.probe.reading import How, Taken, take_reading
from fadeout.records import Course

FIRST = (0, 3, 6, 11, 21)  # steps after which probes are taken; from there on GROWTH times further
GROWTH = 1.9
ROWS = 512  # of a probe up to step FIRST[-1]: several batches, so that one odd batch decides nothing
FEWEST = 48  # rows of a later one, however short the course
LATER = 0.05  # of the rows that all steps read, for all later probes together: they cost two steps a row
GATHERED = 8  # batches that the probes' rows come from
HOPELESS = 3  # losses in a row that are not finite


def schedule(steps: int) -> tuple[int, ...]:
    """Steps after which probes are taken: 0, 3, 6, 11, 21, 39, ... and the last."""
    found = [n for n in FIRST if n < steps]
    while found[-1] >= FIRST[-1] and found[-1] * GROWTH * 1.3 < steps:
        found.append(round(found[-1] * GROWTH))
    return (*found, steps)


@dataclass(slots=True)
class _Twin:
    """The copy that is trained."""

    model: nn.Module
    optimizer: Any
    step: Callable[[nn.Module, Any, Any], Any]
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
) -> Taken:
    """Step 0 wholly, then `steps` training steps with brief probes between them, all on a copy.

    Args:
        batches: An iterable of batches in any form that one step takes; cycled.
        train_step: (model, batch, optimizer) -> anything: what the user's loop does once.  By default
            zero_grad, loss, backward, step.
        steps: Optimizer steps to do.

    Returns:
        Step 0 as `take_reading` gives it, its reading with the course.

    Raises:
        ValueError, TypeError: If the call itself is wrong.
        FadeoutError: If the model can't be copied.
        ModelError: If the model raises on the way.
    """
    _check(model, batches, optimizer, train_step, steps, verb)
    stream = _Stream(batches, verb)
    options: dict[str, Any] = {"within": within, "autocast": autocast, "verb": verb}
    with Guard([]):  # the random state is the user's
        twin = _copy(model, optimizer, train_step, loss, autocast, verb)
        notes: list[str] = list(stream.notes)
        own_loss = loss is not None or train_step is None or _carries_loss(stream.first)
        if not own_loss:
            spare = copy.deepcopy((twin.model, twin.optimizer))
            with Guard([]):
                twin.which, twin.backwards = which_backward(lambda: twin.step(spare[0], stream.first, spare[1]))
        rows = _Rows(stream.gathered(), steps)

        def probe(n: int, how: How) -> Taken:
            batch = rows.at(n)
            with _without_dropout(twin.model):
                if own_loss:
                    held = _one(twin.optimizer, twin.model)
                    around = reach if how == "start" else 0
                    return take_reading(
                        twin.model, batch, loss=loss, step=None, optimizer=held, how=how, reach=around, **options
                    )
                model, optimizer = copy.deepcopy((twin.model, twin.optimizer))
                return take_reading(
                    model,
                    None,
                    loss=None,
                    step=lambda m: caught(lambda: twin.step(m, batch, optimizer), twin.which),
                    optimizer=_one(optimizer, model),
                    how=how,
                    reach=0,
                    **options,
                )

        first = probe(0, "start")
        noise = signal_to_noise(twin.model, stream.gathered(), loss, verb=verb) if own_loss else math.nan
        alike = neighbours_agree(twin.model, rows.at(0), loss) if own_loss else math.nan
        judged = _judge(twin.model, rows.at(0), loss if own_loss else None, verb)
        sizes = _sizes(twin.model)
        probes, learned, broken = [replace(first.reading, course=None)], [judged.at(first.reading.loss)], None
        goals = schedule(steps)
        for n in range(1, steps + 1):
            _train(twin, stream.at(n - 1), n, verb)
            broken = _broken(twin, n) if broken is None else broken
            hopeless = broken is not None and (n - broken >= HOPELESS - 1 or not _sound(twin.model))
            if (n in goals or hopeless) and _sound(twin.model):
                row = replace(probe(n, "brief").reading, step=n)
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
            one_class=_one_class(stream.gathered()),
            skipped=1 - sum(twin.moved) / len(twin.moved) if twin.moved else math.nan,
        )
    return replace(first, reading=replace(first.reading, course=course), notes=[*first.notes, *notes])


def _check(
    model: Any, batches: Any, optimizer: Any, train_step: Callable[..., Any] | None, steps: int, verb: str
) -> None:
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"{verb}: steps= counts optimizer steps, >= 1; got {steps!r}")
    if optimizer is None and train_step is None:
        raise ValueError(f"{verb}: steps= trains a copy and needs optimizer=, or train_step= with one of its own")
    if train_step is not None and not callable(train_step):
        raise TypeError(f"{verb}: train_step= must be callable; got {type(train_step).__name__}")
    if batches is None:
        raise ValueError(f"{verb}: steps= needs batches, an iterable of what one step takes, e.g. a DataLoader")
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{verb}: the model must be a torch.nn.Module, got {type(model).__name__}; "
            "pass the network itself, not a class or its output"
        )


class _Stream:
    """Batches by number: cycled, read again, or kept, as their source allows."""

    def __init__(self, batches: Any, verb: str) -> None:
        self.notes: list[str] = []
        if isinstance(batches, tuple) and len(batches) == 2 and all(isinstance(b, Tensor) for b in batches):
            batches = [batches]
            self.notes.append("steps=: one batch was given, not an iterable of batches; every step trains on it")
        elif isinstance(batches, dict):
            batches = [batches]
        elif isinstance(batches, Tensor) or not isinstance(batches, Iterable):
            raise TypeError(
                f"{verb}: with steps= the second argument is an iterable of batches, got {type(batches).__name__}; "
                "pass a DataLoader or a list"
            )
        self.verb = verb
        self.source = batches
        self.keep: list[Any] | None = None if isinstance(batches, Sequence) else []
        self.again = iter(batches) is not batches
        self.running: Iterator[Any] = iter(())
        self.taken = 0
        found = list(islice(iter(batches), GATHERED)) if self.again else []
        if not self.again:
            self.running = iter(batches)
            found = list(islice(self.running, GATHERED))
            self.keep = list(found)
        if not found:
            raise ValueError(f"{verb}: batches is empty; pass at least one batch")
        self.start = found
        self.first = found[0]

    def gathered(self) -> list[Any]:
        """The first few batches."""
        return self.start

    def at(self, n: int) -> Any:
        """Batch number n; numbers rise by one from call to call."""
        if isinstance(self.source, Sequence):
            return self.source[n % len(self.source)]
        if self.again:
            found = next(self.running, None)
            if found is None:
                self.running = iter(self.source)
                found = next(self.running)
            return found
        assert self.keep is not None
        if n >= len(self.keep):
            fresh = next(self.running, None)
            if fresh is None:
                return self.keep[n % len(self.keep)]
            self.keep.append(fresh)
        return self.keep[n]


class _Rows:
    """The same rows at every probe, fewer at the later ones of a short course."""

    def __init__(self, batches: list[Any], steps: int) -> None:
        self.batches = batches
        size = max((len(t) for t in tensors(batches[0]) if t.dim()), default=1)
        late = [n for n in schedule(steps) if n > FIRST[-1]]
        self.early = ROWS
        self.late = max(FEWEST, min(ROWS, int(LATER * steps * size / len(late)))) if late else ROWS
        self._made: dict[int, Any] = {}

    def at(self, n: int) -> Any:
        rows = self.early if n <= FIRST[-1] else self.late
        if rows not in self._made:
            self._made[rows] = _gather(self.batches, rows)
        return self._made[rows]


def _gather(batches: list[Any], rows: int) -> Any:
    """One batch of rows from several; the first batch alone where they can't be put together."""
    per = -(-rows // len(batches))
    try:
        return _joined(batches, per, rows)
    except (ValueError, TypeError, RuntimeError):
        return batches[0]


def _joined(parts: list[Any], per: int, rows: int) -> Any:
    first = parts[0]
    sizes = [{len(t) for t in tensors(part) if t.dim()} for part in parts]
    if any(len(size) != 1 for size in sizes):
        raise ValueError("tensors of one batch differ in rows")
    return _join(parts, per, rows) if not isinstance(first, Tensor) else _join([*parts], per, rows)


def _join(parts: list[Any], per: int, rows: int) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        if not first.dim():
            return first
        if any(p.shape[1:] != first.shape[1:] or p.dtype != first.dtype for p in parts):
            raise ValueError("batches differ in shape")
        return torch.cat([p[:per] for p in parts])[:rows]
    if isinstance(first, dict):
        return {key: _join([p[key] for p in parts], per, rows) for key in first}
    if type(first) in (tuple, list):
        return type(first)(_join([p[i] for p in parts], per, rows) for i in range(len(first)))
    if hasattr(first, "items") and hasattr(first, "keys"):  # BatchEncoding and its like
        return {key: _join([p[key] for p in parts], per, rows) for key in first.keys()}  # noqa: SIM118
    if any(tensors(first)):
        raise TypeError("an unknown container of tensors")
    return first


def _carries_loss(batch: Any) -> bool:
    return isinstance(batch, dict) and "labels" in batch


def _one_class(batches: list[Any]) -> bool:
    """Batches of one class each, though there are several classes."""
    found = [b[1] for b in batches if isinstance(b, (tuple, list)) and len(b) == 2 and isinstance(b[1], Tensor)]
    classes = [set(y.tolist()) for y in found if not y.is_floating_point() and y.dim() == 1 and len(y) > 1]
    if len(classes) < 2:
        return False
    several = len(set.union(*classes))
    return several > 1 and sum(map(len, classes)) <= max(0.3 * several, 1.2) * len(classes)


def _copy(
    model: nn.Module,
    optimizer: Optimizer | None,
    train_step: Callable[..., Any] | None,
    loss: Callable[..., Tensor] | None,
    autocast: torch.dtype | bool | None,
    verb: str,
) -> _Twin:
    inner = model
    while isinstance(getattr(inner, "_orig_mod", None), nn.Module):
        inner = inner._orig_mod  # type: ignore[assignment]
    if type(inner).__name__ in ("DistributedDataParallel", "DataParallel"):
        inner = inner.module  # type: ignore[assignment]
    try:
        twin, own = copy.deepcopy((inner, optimizer))
    except Exception as error:  # user code: __deepcopy__ can raise anything
        raise FadeoutError(
            f"{verb}: steps= trains a copy, and {type(inner).__name__} can't be copied "
            f"({type(error).__name__}: {error}); leave out steps= for one step on the model itself"
        ) from error
    if train_step is not None:
        return _Twin(twin, own, bound(train_step, verb=verb))

    def step(m: nn.Module, batch: Any, o: Optimizer) -> Tensor:
        o.zero_grad()
        call = closure(m, batch, loss=loss, step=None, verb=verb)
        if autocast:
            with autocast_of(m, autocast):
                value = call.run(m)
        else:
            value = call.run(m)
        value.backward()  # type: ignore[no-untyped-call]
        o.step()
        return value.detach()

    return _Twin(twin, own, step)


def _one(optimizer: Any, model: nn.Module) -> Optimizer | None:
    """The optimizer, if it is one and holds a parameter of the model; the course says what nothing moves by."""
    if not isinstance(optimizer, Optimizer):
        return None
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return optimizer if any(id(p) in held for p in model.parameters()) else None


def _train(twin: _Twin, batch: Any, n: int, verb: str) -> None:
    """One step of the user's, with its numbers."""
    watch = n <= FIRST[1]
    before = {name: p.detach().clone() for name, p in twin.model.named_parameters()} if watch else {}
    try:
        with _clipping(twin.clipped):
            value = twin.step(twin.model, batch, twin.optimizer)
    except (FadeoutError, ValueError) as error:
        if str(error).startswith(f"{verb}: "):
            raise
        raise _failed(verb, n, error) from error
    except Exception as error:
        raise _failed(verb, n, error) from error
    twin.losses.append(_number(value))
    if watch:
        _measure_update(twin, before)


def _failed(verb: str, n: int, error: Exception) -> ModelError:
    first = (str(error).strip().splitlines() or [""])[0]
    return ModelError(f"{verb}: training step {n} failed: {type(error).__name__}: {first}")


def _number(value: Any) -> float:
    if isinstance(value, dict):
        value = value.get("loss")
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    if isinstance(value, Tensor):
        return float(value.detach()) if value.numel() == 1 else math.nan
    return float(value) if isinstance(value, (int, float)) else math.nan


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


@contextmanager
def _clipping(seen: list[bool]) -> Iterator[None]:
    """Notes for every clip_grad_norm_ called by its module's name whether it bit."""
    original = torch.nn.utils.clip_grad_norm_

    def watched(parameters: Any, max_norm: float, *args: Any, **kwargs: Any) -> Tensor:
        total = original(parameters, max_norm, *args, **kwargs)
        seen.append(float(total) > float(max_norm))
        return total

    torch.nn.utils.clip_grad_norm_ = watched
    try:
        yield
    finally:
        torch.nn.utils.clip_grad_norm_ = original


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


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    dropped = [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.training]
    for module in dropped:
        module.training = False
    try:
        yield
    finally:
        for module in dropped:
            module.training = True


@dataclass(slots=True)
class _Judged:
    """Progress of the copy on the probes' rows."""

    standard: Standard
    output: Callable[[], tuple[Any, float]]
    first: float = math.nan

    def at(self, loss: float) -> float:
        """Against the best constant; by the fall of the loss where none can be judged."""
        if math.isnan(self.first):
            self.first = loss
        if math.isnan(self.standard.constant):
            return fall(self.first, loss)
        return self.standard.judge(*self.output())


def _judge(model: nn.Module, batch: Any, loss: Callable[..., Tensor] | None, verb: str) -> _Judged:
    if batch is None or (loss is None and not isinstance(batch, dict)):
        none = Standard(constant=math.nan, ignores_targets=False, judge=lambda output, value: math.nan)
        return _Judged(none, lambda: (None, math.nan))
    call = closure(model, batch, loss=loss, step=None, verb=verb)

    @torch.no_grad()
    def output() -> tuple[Any, float]:
        with Guard(model.modules()), _without_dropout(model):
            return output_of_closure(model, call)

    with Guard(model.modules()), _without_dropout(model):
        found = standard(model, batch, loss, call)
    return _Judged(found, output)
