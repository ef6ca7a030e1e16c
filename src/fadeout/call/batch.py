"""A batch: the forms in which people hand over data, told apart once, and the closure that calls a model with it."""

import copy
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.errors import FadeoutError

Step = Callable[[nn.Module], Tensor]
_TARGETS = frozenset("label labels target targets mask masks span spans".split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch as any verb reads it.

    Attributes:
        inputs: What the model is called with; a mapping of keyword arguments where `named`.
        targets: What the loss is given beside the output: (y,), or nothing.
        named: The whole batch is a mapping of keyword arguments.
        rows: Samples, 0 where unknown.
    """

    inputs: Any
    targets: tuple[Any, ...]
    named: bool
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """One forward pass that ends in a scalar.

    Attributes:
        run: Takes the model and returns the scalar.
        samples: Rows of the batch, 0 where unknown.
        notes: What was assumed, for the reader of the exam.
    """

    run: Step
    samples: int
    notes: list[str] = field(default_factory=list)


def parse(batch: Any, *, verb: str) -> Batch:
    """Tell the forms apart: (x, y), a mapping of keyword arguments, (x,), or x alone.

    In (x, y) x may be a tuple of inputs and y a tuple of answers.  A namedtuple is one argument.

    Raises:
        TypeError: If it holds numpy arrays, or is a loader of batches.
        ValueError: If it has no rows, or several parts that could mean anything.
    """
    if isinstance(batch, torch.utils.data.DataLoader):
        raise TypeError(f"{verb}: got a DataLoader; pass one batch, e.g. next(iter(loader)), or steps= to train a copy")
    if holds_numpy(batch):
        raise TypeError(f"{verb}: the batch holds numpy arrays; pass tensors, e.g. torch.from_numpy(x)")
    batch = _awake(batch)
    if any(is_empty(t) for t in tensors(batch)):
        raise ValueError(f"{verb}: the batch has no rows; pass at least one sample")
    if isinstance(batch, Mapping):
        return Batch(inputs=dict(batch), targets=(), named=True, rows=_rows(batch))
    if is_pair(batch):
        return Batch(inputs=batch[0], targets=(batch[1],), named=False, rows=_rows(batch))
    if isinstance(batch, (tuple, list)) and not is_named(batch):
        if len(batch) == 1:
            return Batch(inputs=batch[0], targets=(), named=False, rows=_rows(batch))
        raise ValueError(
            f"{verb}: a batch of {len(batch)} parts is ambiguous; pass (x, y), where x may be a tuple of "
            "inputs, a dict of keyword arguments, or step=lambda model: scalar"
        )
    return Batch(inputs=batch, targets=(), named=False, rows=_rows(batch))


def is_pair(batch: Any) -> bool:
    """Whether a value is (x, y)."""
    return isinstance(batch, (tuple, list)) and len(batch) == 2 and not is_named(batch)


def is_one(batches: Any) -> bool:
    """Whether a value is one batch, where an iterable of batches was asked for.

    (x, y) with a tensor for y is one batch, whatever x is; two tuples are two batches.
    """
    if isinstance(batches, (Mapping, Tensor)) or is_named(batches):
        return True
    return is_pair(batches) and isinstance(batches[1], Tensor)


def is_named(value: Any) -> bool:
    """Whether a value is a namedtuple: one argument, not several."""
    return isinstance(value, tuple) and hasattr(value, "_fields")


def is_empty(tensor: Tensor) -> bool:
    """Whether a tensor has no rows."""
    return not tensor.is_nested and tensor.dim() > 0 and tensor.shape[0] == 0


def holds_numpy(value: Any, *, depth: int = 4) -> bool:
    """Whether a numpy array stands where a tensor should."""
    numpy = sys.modules.get("numpy")
    if numpy is None or isinstance(value, Tensor):
        return False
    if isinstance(value, numpy.ndarray):
        return True
    if isinstance(value, Mapping):
        return depth > 0 and any(holds_numpy(v, depth=depth - 1) for v in value.values())
    return isinstance(value, (tuple, list)) and depth > 0 and any(holds_numpy(v, depth=depth - 1) for v in value)


def tensors(value: Any, *, depth: int = 4) -> Iterator[Tensor]:
    """Every tensor inside nested tuples, lists, mappings and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors(item, depth=depth - 1)
    elif depth and isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item, depth=depth - 1)
    elif depth and is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from tensors(getattr(value, part.name, None), depth=depth - 1)


def fresh(value: Any) -> Any:
    """The same batch in tensors and arrays of its own, for a step that may write into it."""
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, (str, bytes, int, float, bool, type(None))):
        return value
    if is_named(value):
        return type(value)(*(fresh(item) for item in value))
    if type(value) in (tuple, list):
        return type(value)(fresh(item) for item in value)
    if type(value) is dict:
        return {key: fresh(item) for key, item in value.items()}
    try:
        return copy.deepcopy(value)
    except Exception:  # user code: what can't be copied is handed on
        return value


def is_target(name: str) -> bool:
    """Whether a keyword argument of this name is an answer or a mask, never data."""
    return name.lower().rsplit("_", 1)[-1] in _TARGETS


def closure(
    model: nn.Module,
    batch: Any,
    *,
    loss: Callable[..., Tensor] | None,
    step: Step | None,
    verb: str,
) -> Closure:
    """The one closure behind the three call forms.

    Args:
        model: The network, for the error messages.
        batch: Any form that `parse` takes.
        loss: loss(output, y) for (x, y); loss(output) for the rest; None: the output's own
            loss where it carries one, else its inner product with fixed Gaussian noise.
        step: Any closure model -> scalar; then batch and loss must be None.
        verb: The public function that was called, to begin messages with.

    Raises:
        ValueError: If the call mixes forms.
    """
    if step is not None:
        if batch is not None or loss is not None:
            raise ValueError(
                f"{verb}: step= is a whole forward pass by itself; leave out the batch and loss=, or leave out step="
            )
        if not callable(step):
            raise TypeError(f"{verb}: step= must be callable, model -> scalar; got {type(step).__name__}")
        return Closure(run=step, samples=0)
    if batch is None:
        raise ValueError(
            f"{verb}: no batch for {type(model).__name__}; pass (x, y) with loss=, a dict of keyword "
            "arguments, or step=lambda model: scalar"
        )
    if isinstance(loss, type):
        raise TypeError(f"{verb}: loss= must be a function, got the class {loss.__name__}; pass {loss.__name__}()")
    if loss is not None and not callable(loss):
        raise TypeError(f"{verb}: loss= must be callable; got {type(loss).__name__}")
    data = parse(batch, verb=verb)
    notes: list[str] = []
    return Closure(
        run=lambda m: _scalar(call(m, data), loss, data.targets, verb, notes), samples=data.rows, notes=notes
    )


def call(model: nn.Module, data: Batch) -> Any:
    """The model's output on a batch."""
    if data.named:
        return model(**data.inputs)
    return _call(model, data.inputs)


def _rows(batch: Any) -> int:
    """Samples in a batch: a vector of answers counts them whatever the layout of the input."""
    y = batch[1] if is_pair(batch) else None
    if isinstance(y, Tensor) and not y.is_nested and y.dim() == 1:
        return y.shape[0]
    return next((t.size(0) for t in tensors(batch) if t.dim()), 0)


def _awake(value: Any) -> Any:
    """The same batch with tensors made under inference mode, which autograd can't save, cloned."""
    if isinstance(value, Tensor):
        if not value.is_inference():
            return value
        with torch.inference_mode(False):
            return value.clone()
    if type(value) in (tuple, list):
        return type(value)(_awake(item) for item in value)
    if type(value) is dict:
        return {key: _awake(item) for key, item in value.items()}
    return value


def _call(model: nn.Module, x: Any) -> Any:
    """model(x); model(*x) where its forward takes several arguments; model(**x) by their names."""
    if isinstance(x, Mapping) and x and set(x) <= _arguments(model)[1]:
        return model(**x)
    if isinstance(x, (tuple, list)) and not is_named(x):
        needed, _, free = _arguments(model)
        if needed > 1 or (free and isinstance(x, tuple)):  # forward(a, b), or forward(*inputs)
            return model(*x)
    return model(x)


def argument_names(model: nn.Module) -> list[inspect.Parameter]:
    """The parameters that a call of the model takes: of its forward, or of a `__call__` of its class's own."""
    own = type(model).__call__
    try:
        if own is not nn.Module.__call__ and inspect.isfunction(own):
            return list(inspect.signature(own).parameters.values())[1:]
        return list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return []


def _arguments(model: nn.Module) -> tuple[int, set[str], bool]:
    """How many arguments a call must have, the names of all, and whether it takes any number."""
    parameters = argument_names(model)
    if not parameters:
        return 1, set(), False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    free = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return sum(p.default is p.empty for p in positional), {p.name for p in parameters}, free


def _own_loss(output: Any) -> Tensor | None:
    found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    return found if isinstance(found, Tensor) else None


def _scalar(
    output: Any, loss: Callable[..., Tensor] | None, targets: tuple[Any, ...], verb: str, notes: list[str]
) -> Tensor:
    if loss is not None:
        return loss(output, *targets)
    own = _own_loss(output)
    if own is not None:
        return own
    if any(target is not None for target in targets):
        raise ValueError(
            f"{verb}: the batch has answers y but there is no loss; pass loss=, e.g. loss=F.cross_entropy, or x alone"
        )
    said = "no loss given: the scalar is the output's inner product with fixed noise"
    if said not in notes:
        notes.append(said)
    return noise_product(output, verb=verb)


def noise_product(output: Any, *, verb: str, seed: int = 0) -> Tensor:
    """The inner product of every differentiable output with fixed Gaussian noise.

    Raises:
        FadeoutError: If no output is differentiable.
    """
    found = [t for t in tensors(output) if t.requires_grad]
    if not found:
        raise FadeoutError(
            f"{verb}: no output of the model requires a gradient, so there is nothing to account for; "
            "check for detach(), no_grad() or an argmax before the output, or pass loss="
        )
    draw = torch.Generator().manual_seed(seed)
    total: Tensor | None = None
    for tensor in found:
        real = tensor.values() if tensor.is_nested and tensor.layout is torch.jagged else tensor
        real = torch.view_as_real(real) if real.is_complex() else real
        pieces = real.unbind() if real.is_nested else (real,)
        for piece in pieces:
            noise = torch.randn(piece.shape, generator=draw, dtype=torch.float32, device="cpu")
            part = (piece * noise.to(device=piece.device, dtype=piece.dtype)).sum()
            total = part if total is None else total + part
    assert total is not None
    return total
