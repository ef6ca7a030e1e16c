"""A batch: the three ways to call a model for one scalar, brought to one closure."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.errors import FadeoutError

Step = Callable[[nn.Module], Tensor]
_TARGETS = frozenset("label labels target targets mask masks span spans".split())


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
        batch: (x, y), a mapping of keyword arguments, or x alone.
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
    if isinstance(batch, torch.utils.data.DataLoader):
        raise TypeError(f"{verb}: got a DataLoader; pass one batch, e.g. next(iter(loader)), or steps= to train a copy")
    if any(t.dim() and not len(t) for t in tensors(batch)):
        raise ValueError(f"{verb}: the batch has no rows; pass at least one sample")
    batch = _awake(batch)
    rows = _rows(batch)
    notes: list[str] = []
    if isinstance(batch, Mapping):
        keywords = dict(batch)
        return Closure(run=lambda m: _scalar(m(**keywords), loss, (), verb, notes), samples=rows, notes=notes)
    if isinstance(batch, (tuple, list)) and len(batch) == 2 and not _is_named(batch):
        x, y = batch
        return Closure(run=lambda m: _scalar(_call(m, x), loss, (y,), verb, notes), samples=rows, notes=notes)
    if isinstance(batch, (tuple, list)) and not _is_named(batch):
        raise ValueError(
            f"{verb}: a batch of {len(batch)} parts is ambiguous; pass (x, y), where x may be a tuple of "
            "inputs, a dict of keyword arguments, or step=lambda model: scalar"
        )
    return Closure(run=lambda m: _scalar(_call(m, batch), loss, (), verb, notes), samples=rows, notes=notes)


def _rows(batch: Any) -> int:
    """Samples in a batch: a vector of answers counts them whatever the layout of the input."""
    pair = batch if isinstance(batch, (tuple, list)) and len(batch) == 2 else (batch, None)
    if isinstance(pair[1], Tensor) and pair[1].dim() == 1:
        return pair[1].shape[0]
    return next((t.shape[0] for t in tensors(batch) if t.dim()), 0)


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


def _is_named(value: Any) -> bool:
    return hasattr(value, "_fields")  # a namedtuple is one argument, not a pair


def _call(model: nn.Module, x: Any) -> Any:
    """model(x); model(*x) where its forward takes several arguments; model(**x) by their names."""
    if isinstance(x, Mapping) and x and set(x) <= _arguments(model)[1]:
        return model(**x)
    if isinstance(x, (tuple, list)) and not _is_named(x):
        needed, _, free = _arguments(model)
        if needed > 1 or (free and isinstance(x, tuple)):  # forward(a, b), or forward(*inputs)
            return model(*x)
    return model(x)


def _arguments(model: nn.Module) -> tuple[int, set[str], bool]:
    """How many arguments the forward must have, the names of all, and whether it takes any number."""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
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
        real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        noise = torch.randn(real.shape, generator=draw, dtype=torch.float32)
        part = (real * noise.to(device=real.device, dtype=real.dtype)).sum()
        total = part if total is None else total + part
    assert total is not None
    return total
