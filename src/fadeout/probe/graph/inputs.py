"""Inputs: float leaves of what enters a model, replaced by leaves that require a gradient."""

import copy
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.batch import is_target
from fadeout.call.guard import Guard


class Inputs:
    """What entered the model in one forward.

    Attributes:
        found: (path, leaf) of every float input.
        given: Ids of those leaves.
    """

    def __init__(self, guard: Guard, *, clone: bool, double: bool) -> None:
        self.found: list[tuple[str, Tensor]] = []
        self.given: set[int] = set()
        self._guard = guard
        self._clone = clone
        self._double = double
        self._leaves: dict[int, tuple[Tensor, Tensor]] = {}
        self._stands_in: set[int] = set()

    def stands_in(self, tensor: Tensor) -> bool:
        """Whether a leaf is one that stands for an input which the user does not ask a gradient of."""
        return id(tensor) in self._stands_in

    def release(self) -> None:
        """Drop the tensors."""
        self.found = []
        self._leaves.clear()

    def substitute(self, value: Any, path: str, *, depth: int = 4) -> Any:
        """The same structure with float leaves replaced by leaves that require a gradient."""
        if isinstance(value, Tensor):
            return self._track(value, path)
        if not depth:
            return value
        if isinstance(value, tuple):
            items = [self.substitute(v, f"{path}[{i}]", depth=depth - 1) for i, v in enumerate(value)]
            if all(a is b for a, b in zip(items, value, strict=True)):
                return value
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        if type(value) is list:
            return [self.substitute(v, f"{path}[{i}]", depth=depth - 1) for i, v in enumerate(value)]
        if isinstance(value, dict) and type(value) is not dict:
            found = copy.copy(value)
            for key, item in value.items():
                if not (isinstance(key, str) and is_target(key)):
                    found[key] = self.substitute(item, str(key), depth=depth - 1)
            return found
        if is_dataclass(value) and not isinstance(value, type):
            names = [f.name for f in fields(value) if f.init and not is_target(f.name)]
            changed = {n: self.substitute(getattr(value, n), n, depth=depth - 1) for n in names}
            return replace(value, **changed)
        if type(value) is dict:
            return {
                k: v if isinstance(k, str) and is_target(k) else self.substitute(v, str(k), depth=depth - 1)
                for k, v in value.items()
            }
        return value

    def _track(self, tensor: Tensor, path: str) -> Tensor:
        if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.device.type == "meta":
            return tensor
        if tensor.layout != torch.strided and not tensor.is_nested:
            return tensor
        if tensor.requires_grad:
            if tensor.is_leaf and id(tensor) not in self.given and not isinstance(tensor, nn.Parameter):
                self.given.add(id(tensor))
                self.found.append((path or "input", tensor))
            return tensor
        if id(tensor) in self._leaves:  # passed twice: one input still
            return self._leaves[id(tensor)][1]
        self._guard.protect([tensor])
        values = tensor.double() if self._double and tensor.is_floating_point() else tensor
        leaf = (values.clone() if values.is_inference() else values.detach()).requires_grad_(True)
        self.given.add(id(leaf))
        self._stands_in.add(id(leaf))
        self.found.append((path or "input", leaf))
        given = leaf.clone() if self._clone else leaf
        self._leaves[id(tensor)] = (tensor, given)
        return given
