"""Copies: `copy.deepcopy` of a model, without what makes that slow."""

import copy
from collections import OrderedDict
from typing import Any, TypeVar

from torch import nn

_M = TypeVar("_M", bound=nn.Module)


def copy_of(model: _M, memo: dict[int, Any] | None = None) -> _M:
    """A deep copy.  Tables of hooks that are empty, most of what a module holds, are made, not copied.

    Args:
        memo: What is copied already.

    Raises:
        Exception: Whatever a `__deepcopy__` of the user's raises.
    """
    memo = {} if memo is None else memo
    for module in model.modules():
        for value in module.__dict__.values():
            if not value and value.__class__ in (OrderedDict, dict):
                memo[id(value)] = value.__class__()
    return copy.deepcopy(model, memo)
