"""A snapshot: a network, its optimizer and the random state as they are, to be put back bit for bit."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.call.chance import random_state, set_random_state

_TABLES = (dict, list, set)


class Snapshot:
    """What `restore` puts back: values, identities, order, hooks, optimizer state, random state."""

    def __init__(self, modules: Iterable[nn.Module], optimizers: Iterable[Optimizer]) -> None:
        self._modules = [(m, type(m), dict(m.__dict__), _tables(m.__dict__)) for m in modules]
        tensors: dict[int, Tensor] = {}
        for module, _, _, _ in self._modules:
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                tensors[id(tensor)] = tensor
        optimizers = list(optimizers)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                for tensor in group["params"]:
                    tensors[id(tensor)] = tensor
        self._tensors = [(t, _value(t), t.requires_grad, t.grad, _value(t.grad)) for t in tensors.values()]
        self._optimizers = [(o, dict(o.__dict__), _tables(o.__dict__), _groups(o), _states(o)) for o in optimizers]
        self._random = random_state()

    @torch.no_grad()
    def restore(self) -> None:
        """Everything as it was."""
        for module, kind, own, tables in self._modules:
            module.__class__ = kind
            module.__dict__.clear()
            module.__dict__.update(own)
            for table, items in tables:
                _refill(table, items)
        for tensor, value, requires, grad, gradient in self._tensors:
            if value is not None and not _same(tensor, value):
                tensor.data = value.to(tensor.device) if tensor.shape != value.shape else tensor.data.copy_(value)
            if tensor.requires_grad != requires:
                tensor.requires_grad_(requires)
            tensor.grad = grad
            if grad is not None and gradient is not None and not _same(grad, gradient):
                grad.copy_(gradient)
        for optimizer, own, tables, groups, states in self._optimizers:
            optimizer.__dict__.clear()
            optimizer.__dict__.update(own)
            for table, items in tables:
                _refill(table, items)
            for group, items, parameters in groups:
                group.clear()
                group.update(items)
                group["params"][:] = parameters
            optimizer.param_groups[:] = [group for group, _, _ in groups]
            optimizer.state.clear()
            for parameter, state, items, values in states:
                state.clear()
                state.update(items)
                for tensor, value in values:
                    if not _same(tensor, value):
                        tensor.copy_(value)
                optimizer.state[parameter] = state
        set_random_state(self._random)


def _value(tensor: Tensor | None) -> Tensor | None:
    if (
        tensor is None
        or tensor.device.type == "meta"
        or isinstance(tensor, (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer))
    ):
        return None
    return tensor.detach().clone()


def _same(tensor: Tensor, value: Tensor) -> bool:
    if tensor.shape != value.shape or tensor.dtype != value.dtype or tensor.layout != value.layout:
        return False
    return tensor.layout == torch.strided and torch.equal(tensor.detach(), value)


def _tables(own: dict[str, Any]) -> list[tuple[Any, Any]]:
    return [(value, value.copy()) for value in own.values() if isinstance(value, _TABLES)]


def _refill(table: Any, items: Any) -> None:
    if isinstance(table, list):
        table[:] = items
        return
    table.clear()
    table.update(items)


def _groups(optimizer: Optimizer) -> list[tuple[dict[str, Any], dict[str, Any], list[Tensor]]]:
    return [(group, dict(group), list(group["params"])) for group in optimizer.param_groups]


def _states(optimizer: Optimizer) -> list[tuple[Tensor, Any, dict[str, Any], list[tuple[Tensor, Tensor]]]]:
    """Per parameter: its state, what is in it, and the values of the tensors among that."""
    return [
        (p, state, dict(state), [(v, v.detach().clone()) for v in state.values() if isinstance(v, Tensor)])
        for p, state in optimizer.state.items()
        if isinstance(state, dict)
    ]
