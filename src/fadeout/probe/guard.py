"""The guard: whatever a measurement touches on the user's side is put back, also on an exception."""

import random
import sys
from collections import OrderedDict
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

class Guard:
    """Keeps a model's state on entry and puts it back on exit, and on `rewind`.

    Kept: every module's `__dict__` (so re-bound buffers and attributes come back as the same
    objects), the values of buffers and of tensors held as plain attributes, plain containers
    one level deep, parameters' `.grad` and `requires_grad`, train or eval mode, and the random
    state of torch, Python and numpy.  Parameters are copied only when a forward is about to
    write into them (`before_write`), because a copy of all would double their memory.
    """

    def __init__(self, models: Iterable[nn.Module]) -> None:
        self._modules: dict[int, nn.Module] = {}
        self._kept: list[tuple[nn.Module, dict[str, Any], dict[str, Any]]] = []
        self._values: dict[int, tuple[Tensor, Tensor]] = {}
        self._grads: list[tuple[Tensor, Tensor | None, bool]] = []
        self._storages: dict[int, list[Tensor]] = {}
        self._written: dict[int, tuple[Tensor, Tensor]] = {}
        for model in models:
            self.add(model)
        self._random = _random_state()

    def add(self, model: nn.Module) -> None:
        """Keep one more model: a module outside the first one that the step calls."""
        for module in model.modules():
            if id(module) in self._modules:
                continue
            self._modules[id(module)] = module
            attributes = dict(module.__dict__)
            containers = {
                name: copy for name, value in attributes.items() if (copy := _container(value)) is not None
            }
            self._kept.append((module, attributes, containers))
            for tensor in (*module.buffers(recurse=False), *_plain_tensors(attributes)):
                if id(tensor) not in self._values and tensor.device.type != "meta":
                    self._values[id(tensor)] = (tensor, tensor.detach().clone())
            for parameter in module.parameters(recurse=False):
                self._grads.append((parameter, parameter.grad, parameter.requires_grad))
                if parameter.device.type != "meta" and parameter.layout == torch.strided:
                    self._storages.setdefault(_address(parameter), []).append(parameter)

    def before_write(self, tensor: Tensor) -> None:
        """Copy the parameters that share memory with a tensor about to be written in place."""
        if tensor.layout != torch.strided:
            return
        for parameter in self._storages.get(_address(tensor), ()):
            if id(parameter) not in self._written:
                self._written[id(parameter)] = (parameter, parameter.detach().clone())

    @torch.no_grad()
    def rewind(self) -> None:
        """Put everything back as it was on entry."""
        for module, attributes, containers in self._kept:
            if module.__dict__.keys() != attributes.keys() or any(
                module.__dict__[name] is not value for name, value in attributes.items()
            ):
                module.__dict__.clear()
                module.__dict__.update(attributes)
            for name, copy in containers.items():
                _refill(attributes[name], copy)
        for tensor, value in self._values.values():
            if tensor.shape == value.shape:
                tensor.data.copy_(value)
            else:
                tensor.data = value.clone()
        for parameter, value in self._written.values():
            parameter.data.copy_(value)
        for parameter, grad, requires in self._grads:
            if parameter.grad is not grad:
                parameter.grad = grad
            if parameter.requires_grad != requires:
                parameter.requires_grad_(requires)
        _set_random_state(self._random)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rewind()


def _container(value: Any) -> Any:
    """A shallow copy of a plain container (caches that a forward fills), else None."""
    return value.copy() if type(value) in (dict, OrderedDict, list, set) else None


def _refill(container: Any, copy: Any) -> None:
    if isinstance(container, dict):
        if list(container) != list(copy) or any(container[k] is not v for k, v in copy.items()):
            container.clear()
            container.update(copy)
    elif isinstance(container, list):
        if len(container) != len(copy) or any(a is not b for a, b in zip(container, copy, strict=True)):
            container[:] = copy
    elif container != copy:
        container.clear()
        container.update(copy)


def _plain_tensors(attributes: dict[str, Any]) -> Iterable[Tensor]:
    """Buffers and tensors held as plain attributes or one level inside containers."""
    for name, value in attributes.items():
        if name in ("_parameters", "_modules"):
            continue
        if isinstance(value, Tensor):
            if not isinstance(value, nn.Parameter) and value.is_leaf:
                yield value
        elif isinstance(value, dict):
            yield from (v for v in value.values() if _is_plain(v))
        elif isinstance(value, (list, tuple)):
            yield from (v for v in value if _is_plain(v))


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and value.is_leaf


def _address(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # subclasses without storage of their own
        return id(tensor)


def _random_state() -> tuple[Any, ...]:
    numpy = sys.modules.get("numpy")
    return (
        torch.get_rng_state(),
        torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None,
        random.getstate(),
        numpy.random.get_state() if numpy is not None else None,
    )


def _set_random_state(state: tuple[Any, ...]) -> None:
    cpu, cuda, python, numpy_state = state
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state_all(cuda)
    random.setstate(python)
    if numpy_state is not None:
        sys.modules["numpy"].random.set_state(numpy_state)
