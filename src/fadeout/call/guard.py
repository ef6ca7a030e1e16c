"""The guard: whatever a measurement touches on the user's side is put back, also on an exception."""

import random
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable
from operator import is_not
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from fadeout.call import privates
from fadeout.call.chance import random_state, set_random_state
from fadeout.call.interrupts import unbroken

DEPTH = 3  # of containers inside containers
SMALL = 1 << 14  # elements of a parameter whose value is kept from the start
ALL_SMALL = 1 << 22  # elements of all of them together
_CONTAINERS = (dict, OrderedDict, defaultdict, Counter, list, set, deque)
_HELD = frozenset({privates.PARAMETERS, privates.MODULES})  # of a module: what is in them is kept elsewhere


class Guard:
    """Keeps a model's state on entry and puts it back on exit, and on `rewind`.

    Kept: every module's `__dict__` (so re-bound buffers and attributes come back as the same
    objects), the values of buffers and of tensors held as plain attributes, plain containers
    up to three deep, parameters' `.grad`, `requires_grad`, attributes and hooks, train or eval
    mode, random generators held as attributes, and the random state of torch, Python and numpy.
    The values of small parameters are kept from the start, so that every way to write into them
    is undone.  Large ones are copied only when a forward is about to write into them by a call
    that is seen (`before_write`), because a copy of all would double their memory; a write that
    was not seen is told (`slipped`).  Not kept: `__slots__` and the insides of objects of the
    user's own classes.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modules: dict[int, nn.Module] = {}
        self._kept: list[tuple[nn.Module, dict[str, Any], list[tuple[Any, Any]]]] = []
        self._values: dict[int, tuple[Tensor, Tensor]] = {}
        self._grads: list[tuple[Tensor, Tensor | None, bool, Tensor]] = []
        self._dressed: list[tuple[Tensor, dict[str, Any], dict[str, dict[Any, Any]]]] = []
        self._small: list[tuple[list[Tensor], Tensor]] = []
        self._room = ALL_SMALL
        self._versions: list[tuple[Tensor, int]] = []
        self._generators: list[tuple[Any, Any]] = []
        self._storages: dict[int, list[Tensor]] | None = None
        self._written: dict[int, tuple[Tensor, Tensor]] = {}
        self._protected: list[Tensor] = []
        self._cudnn = True
        self.add(modules)
        self._random = random_state()

    def add(self, modules: Iterable[nn.Module]) -> None:
        """Keep more modules, such as those outside the first model that a step calls."""
        small: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for module in modules:
            if id(module) in self._modules:
                continue
            self._modules[id(module)] = module
            attributes = module.__dict__.copy()
            containers: list[tuple[Any, Any]] = []
            for name, value in attributes.items():
                kind = value.__class__
                if kind in _CONTAINERS:
                    if not value:
                        containers.append((value, None))
                    elif name in _HELD:
                        containers.append((value, value.copy()))
                    else:
                        self._keep_container(value, containers, depth=DEPTH)
                elif kind not in _PLAIN:
                    self._keep_item(value, containers, depth=DEPTH)
            self._kept.append((module, attributes, containers))
            if isinstance(module, torch.jit.ScriptModule):
                for buffer in module.buffers(recurse=False):
                    self._keep_value(buffer)
                parameters: Iterable[Any] = module.parameters(recurse=False)
            else:
                parameters = privates.parameters(module).values()
            for parameter in parameters:
                if parameter is not None:
                    self._keep_parameter(parameter, small)
        self._small += [(tensors, _flat(tensors)) for tensors in small.values()]
        self._storages = None

    def _keep_parameter(self, parameter: Tensor, small: dict[tuple[torch.dtype, torch.device], list[Tensor]]) -> None:
        self._grads.append((parameter, parameter.grad, parameter.requires_grad, parameter.data))
        own = vars(parameter)
        hooks = {name: dict(table) for name in privates.TENSOR_HOOKS if (table := getattr(parameter, name, None))}
        self._dressed.append((parameter, dict(own), hooks))
        if parameter.layout != torch.strided or parameter.device.type == "meta" or parameter.is_nested:
            return
        size = parameter.numel()
        if 0 < size <= SMALL and size <= self._room and type(parameter.data) is Tensor:
            self._room -= size
            small.setdefault((parameter.dtype, parameter.device), []).append(parameter)
        elif not parameter.is_inference():
            self._versions.append((parameter, privates.version(parameter)))

    def _keep_container(self, value: Any, kept: list[tuple[Any, Any]], *, depth: int) -> None:
        """Copy a plain container, the ones inside it, and the tensors that they hold."""
        kept.append((value, value.copy() if value else None))
        for item in value.values() if isinstance(value, dict) else value:
            if item.__class__ not in _PLAIN:
                self._keep_item(item, kept, depth=depth)

    def _keep_item(self, item: Any, kept: list[tuple[Any, Any]], *, depth: int) -> None:
        """Whatever an attribute or a container holds."""
        if isinstance(item, Tensor):
            self._keep_value(item)
        elif depth and type(item) in _CONTAINERS:
            self._keep_container(item, kept, depth=depth - 1)
        elif depth and isinstance(item, tuple):
            for part in item:
                self._keep_item(part, kept, depth=depth - 1)
        elif draws(item):
            self.before_draw(item)

    def _keep_value(self, value: Tensor) -> None:
        """Copy a buffer, or a tensor held as a plain attribute."""
        if isinstance(value, nn.Parameter) or not value.is_leaf:
            return
        if id(value) not in self._values and value.device.type != "meta":
            self._values[id(value)] = (value, value.detach().clone())

    def protect(self, tensors: Iterable[Tensor]) -> None:
        """Watch over tensors of the user's batch: one that is written in place is put back."""
        self._protected += tensors
        self._storages = None

    def set_gradients_aside(self) -> None:
        """Take every `.grad` off for a pass, so that nothing can write into it; `rewind` puts it back."""
        for parameter, grad, *_ in self._grads:
            if grad is not None:
                parameter.grad = None

    def before_write(self, tensor: Tensor) -> None:
        """Copy the parameters that share memory with a tensor about to be written in place."""
        if tensor.layout != torch.strided:
            return
        if self._storages is None:
            self._storages = {}
            for kept in (*(parameter for parameter, *_ in self._grads), *self._protected):
                if kept.device.type != "meta" and kept.layout == torch.strided and not kept.is_nested:
                    self._storages.setdefault(address(kept), []).append(kept)
        for kept in self._storages.get(address(tensor), ()):
            if id(kept) not in self._written:
                self._written[id(kept)] = (kept, kept.detach().clone())

    def before_draw(self, generator: Any) -> None:
        """Keep the state of a generator, of torch, Python or numpy, that a forward is about to draw from."""
        if all(generator is not kept for kept, _ in self._generators):
            self._generators.append((generator, state_of(generator)))

    def slipped(self) -> list[Tensor]:
        """Large parameters that were written into by a way that was not seen before it happened."""
        return [p for p, version in self._versions if privates.version(p) != version and id(p) not in self._written]

    @unbroken
    def rewind(self) -> None:
        """Put everything back as it was on entry."""
        with torch.no_grad():
            self._put_back()

    def _put_back(self) -> None:
        for module, attributes, containers in self._kept:
            now = module.__dict__
            if len(now) != len(attributes) or any(map(is_not, now.values(), attributes.values())):
                now.clear()
                now.update(attributes)
            for container, copy in containers:
                if copy is not None:
                    refill(container, copy)
                elif container:
                    container.clear()
        for tensor, value in self._values.values():
            if tensor.shape == value.shape and tensor.layout == value.layout == torch.strided:
                tensor.data.copy_(value)
            else:
                tensor.data = value.clone()
        for parameter, grad, requires, data in self._grads:
            if address(parameter) != address(data) or parameter.shape != data.shape:
                parameter.data = data  # a forward gave it another tensor
            if parameter.grad is not grad:
                parameter.grad = grad
            if parameter.requires_grad != requires:
                parameter.requires_grad_(requires)
        for parameter, own, hooks in self._dressed:
            _undress(parameter, own, hooks)
        for parameter, value in self._written.values():
            parameter.data.copy_(value)
        for tensors, kept in self._small:
            if kept.device.type != "cpu" or not torch.equal(_flat(tensors), kept):
                parts = torch.split(kept, [t.numel() for t in tensors])
                privates.copy_all(
                    [t.data for t in tensors], [part.view(t.shape) for t, part in zip(tensors, parts, strict=True)]
                )
        for generator, state in self._generators:
            set_state_of(generator, state)
        set_random_state(self._random)

    def __enter__(self) -> Self:
        self._cudnn = torch.backends.cudnn.enabled
        if any(_draws_in_cudnn(module) for module in self._modules.values()):
            torch.backends.cudnn.enabled = False
        return self

    @unbroken
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.backends.cudnn.enabled = self._cudnn
        self.rewind()


def _draws_in_cudnn(module: nn.Module) -> bool:
    """Whether its dropout between layers is drawn by cuDNN, from a random state that nobody can read."""
    return (
        isinstance(module, nn.RNNBase)
        and module.dropout > 0
        and module.training
        and any(parameter.is_cuda for parameter in module.parameters())
    )


_PLAIN = frozenset({bool, int, float, str, type(None)})


def keyword_hooks() -> frozenset[int]:
    """Ids in torch's table of global forward hooks that take keyword arguments."""
    return frozenset(privates.keyword_hook_table())


def forget_keyword_hooks(before: frozenset[int]) -> None:
    """Take entries off that table which a handle's `remove` leaves there (torch.compile warns of them)."""
    table = privates.keyword_hook_table()
    for key in [key for key in table if key not in before]:
        del table[key]


def refill(container: Any, copy: Any) -> None:
    """A container with the items of its copy again; one that did not change is not touched."""
    if isinstance(container, dict):
        if len(container) != len(copy) or any(map(is_not, container.values(), copy.values())):
            container.clear()
            container.update(copy)
    elif isinstance(container, (list, deque)):
        if len(container) != len(copy) or any(map(is_not, container, copy)):
            container.clear()
            container.extend(copy)
    elif container != copy:
        container.clear()
        container.update(copy)


def _undress(parameter: Tensor, own: dict[str, Any], hooks: dict[str, dict[Any, Any]]) -> None:
    """Attributes and hooks that a forward put on a parameter, taken off again."""
    now = vars(parameter)
    if (now or own) and (now.keys() != own.keys() or any(map(is_not, now.values(), own.values()))):
        now.clear()
        now.update(own)
    for name in privates.TENSOR_HOOKS:
        table = getattr(parameter, name, None)
        if table is not None and dict(table) != hooks.get(name, {}):
            table.clear()
            table.update(hooks.get(name, {}))


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().reshape(-1) for t in tensors])


def address(tensor: Tensor) -> int:
    """Where a tensor's memory begins: the same for views of one tensor."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # subclasses without storage of their own
        return id(tensor)


def draws(item: Any) -> bool:
    """Whether an object is a random generator: torch's, Python's or numpy's."""
    if isinstance(item, (torch.Generator, random.Random)):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(item, (numpy.random.Generator, numpy.random.RandomState))


def state_of(generator: Any) -> Any:
    """Of a generator."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if hasattr(generator, "bit_generator"):
        return generator.bit_generator.state
    return generator.get_state()


def set_state_of(generator: Any, state: Any) -> None:
    """What `state_of` gave."""
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif hasattr(generator, "bit_generator"):
        generator.bit_generator.state = state
    else:
        generator.set_state(state)
