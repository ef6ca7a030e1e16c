"""Unregistered: layers that run inside a model which does not know them, because a plain container holds them."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from fadeout.call import privates

DEPTH = 2  # of containers inside containers


def attribute_of(owner: nn.Module, wanted: nn.Module | Tensor) -> str:
    """The attribute of a module, and the place in it, that holds an object: "hids[0]"; "" where none does."""
    for name, value in vars(owner).items():
        if name.startswith("_") and name in (privates.MODULES, privates.PARAMETERS, privates.BUFFERS):
            continue
        for place, item in _items(value):
            if item is wanted:
                return f"{name}{place}"
            inner = [n for n, m in item.named_modules() if m is wanted] if isinstance(item, nn.Module) else []
            if inner:
                return f"{name}{place}.{inner[0]}"
    return ""


def _items(value: Any, place: str = "", depth: int = DEPTH) -> Iterator[tuple[str, Any]]:
    """Modules and tensors inside a plain container, with their place."""
    if isinstance(value, (nn.Module, Tensor)):
        yield place, value
    elif depth and isinstance(value, (list, tuple)):
        for n, item in enumerate(value):
            yield from _items(item, f"{place}[{n}]", depth - 1)
    elif depth and isinstance(value, dict):
        for key, item in value.items():
            yield from _items(item, f"{place}[{key!r}]", depth - 1)
