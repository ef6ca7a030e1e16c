"""The guard: whatever a measurement touches on the user's side is put back, also on an exception."""

import random
import sys
from collections import OrderedDict
from collections.abc import Iterable
from operator import is_not
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

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modules: dict[int, nn.Module] = {}
        self._kept: list[tuple[nn.Module, dict[str, Any], list[tuple[Any, Any]]]] = []
        self._values: dict[int, tuple[Tensor, Tensor]] = {}
        self._grads: list[tuple[Tensor, Tensor | None, bool, Tensor]] = []
        self._generators: list[tuple[torch.Generator, Tensor]] = []
        self._storages: dict[int, list[Tensor]] | None = None
        self._written: dict[int, tuple[Tensor, Tensor]] = {}
        self.add(modules)
        self._random = _random_state()

    def add(self, modules: Iterable[nn.Module]) -> None:
        """Keep more modules, such as those outside the first model that a step calls."""
        for module in modules:
            if id(module) in self._modules:
                continue
            self._modules[id(module)] = module
            attributes = module.__dict__.copy()
            containers: list[tuple[Any, Any]] = []
            for name, value in attributes.items():
                kind = type(value)
                if kind is dict or kind is OrderedDict:
                    containers.append((value, value.copy() if value else None))
                    if value and name != "_parameters" and name != "_modules":
                        self._keep_values(value.values())
                elif kind is list or kind is set:
                    containers.append((value, value.copy()))
                    self._keep_values(value)
                elif kind is tuple:
                    self._keep_values(value)
                elif isinstance(value, Tensor):
                    self._keep_values((value,))
                elif kind is torch.Generator:
                    self._generators.append((value, value.get_state()))
            self._kept.append((module, attributes, containers))
            if isinstance(module, torch.jit.ScriptModule):
                self._keep_values(module.buffers(recurse=False))
                parameters: Iterable[Any] = module.parameters(recurse=False)
            else:
                parameters = module._parameters.values()
            for parameter in parameters:
                if parameter is not None:
                    self._grads.append((parameter, parameter.grad, parameter.requires_grad, parameter.data))
        self._storages = None

    def _keep_values(self, values: Iterable[Any]) -> None:
        """Copy buffers and tensors held as plain attributes or one level inside containers."""
        for value in values:
            if not isinstance(value, Tensor) or isinstance(value, nn.Parameter) or not value.is_leaf:
                continue
            if id(value) not in self._values and value.device.type != "meta":
                self._values[id(value)] = (value, value.detach().clone())

    def before_write(self, tensor: Tensor) -> None:
        """Copy the parameters that share memory with a tensor about to be written in place."""
        if tensor.layout != torch.strided:
            return
        if self._storages is None:
            self._storages = {}
            for parameter, *_ in self._grads:
                if parameter.device.type != "meta" and parameter.layout == torch.strided:
                    self._storages.setdefault(_address(parameter), []).append(parameter)
        for parameter in self._storages.get(_address(tensor), ()):
            if id(parameter) not in self._written:
                self._written[id(parameter)] = (parameter, parameter.detach().clone())

    def before_draw(self, generator: torch.Generator) -> None:
        """Keep the state of a generator that a forward is about to draw from."""
        if all(generator is not kept for kept, _ in self._generators):
            self._generators.append((generator, generator.get_state()))

    @torch.no_grad()
    def rewind(self) -> None:
        """Put everything back as it was on entry."""
        for module, attributes, containers in self._kept:
            now = module.__dict__
            if len(now) != len(attributes) or any(map(is_not, now.values(), attributes.values())):
                now.clear()
                now.update(attributes)
            for container, copy in containers:
                if copy is not None:
                    _refill(container, copy)
                elif container:
                    container.clear()
        for tensor, value in self._values.values():
            if tensor.shape == value.shape:
                tensor.data.copy_(value)
            else:
                tensor.data = value.clone()
        for parameter, grad, requires, data in self._grads:
            if parameter.data_ptr() != data.data_ptr() or parameter.shape != data.shape:
                parameter.data = data  # a forward gave it another tensor
            if parameter.grad is not grad:
                parameter.grad = grad
            if parameter.requires_grad != requires:
                parameter.requires_grad_(requires)
        for parameter, value in self._written.values():
            parameter.data.copy_(value)
        for generator, state in self._generators:
            generator.set_state(state)
        _set_random_state(self._random)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.rewind()


def _refill(container: Any, copy: Any) -> None:
    if isinstance(container, dict):
        if len(container) != len(copy) or any(map(is_not, container.values(), copy.values())):
            container.clear()
            container.update(copy)
    elif isinstance(container, list):
        if len(container) != len(copy) or any(a is not b for a, b in zip(container, copy, strict=True)):
            container[:] = copy
    elif container != copy:
        container.clear()
        container.update(copy)


def _address(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # subclasses without storage of their own
        return id(tensor)


def _random_state() -> tuple[Any, ...]:
    numpy = sys.modules.get("numpy")
    return (
        torch.get_rng_state(),
        torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None,
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
