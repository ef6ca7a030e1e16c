"""Paths: modules and their arguments, as a reader calls them."""

import re
from functools import lru_cache
from typing import Any

from torch import nn

from fadeout.call import privates


@lru_cache(maxsize=1 << 16)
def readable_path(path: str) -> str:
    """A module path without what parametrizations and compiled wrappers put into it."""
    if "parametrizations" not in path and privates.COMPILED not in path:
        return path.strip(".")
    return re.sub(r"\.?(_orig_mod|parametrizations\.\w+(\.\d+)?)(?=\.|$)", "", path).strip(".")


def in_order(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """All arguments, those given by name last; of torch's recurrent layers input and hx in their order."""
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return (*args, *(kwargs[name] for name in ("input", "hx")[len(args) :] if name in kwargs))
    return (*args, *kwargs.values())
