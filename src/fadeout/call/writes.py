"""Writes: which torch functions may write into the tensors that they are given."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from torch import Tensor

from fadeout.call import privates
from fadeout.call.batch import tensors


@cache
def may_write(function: str) -> bool:
    """Whether a function writes into its first arguments, by its name (embedding: by max_norm)."""
    if function.startswith(privates.IN_PLACE):
        return function.endswith("_")
    if function.startswith("__"):
        return function.startswith("__i") or function == "__setitem__"
    return (function.endswith("_") and function != "requires_grad_") or function.startswith("embedding")


def written(function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None) -> Iterator[Tensor]:
    """The tensors that a call may write into, before it runs."""
    if may_write(function):
        yield from tensors(args[:2])
        if kwargs:  # what torch.nn.init hands on is named
            yield from tensors(kwargs)
        return
    if kwargs:
        yield from tensors(kwargs.get("out"))
        if kwargs.get("inplace"):
            yield from tensors(args[:1])
            yield from tensors(kwargs.get("input"))
            return
    if takes_in_place(function) and any(a is True for a in args[1:]):  # F.relu(x, True)
        yield from tensors(args[:1])


@cache
def takes_in_place(function: str) -> bool:
    """Whether an activation or a dropout may be told to work in place."""
    return function in _IN_PLACE


_IN_PLACE = frozenset(
    """relu relu6 elu selu celu leaky_relu rrelu threshold hardtanh silu mish hardswish hardsigmoid dropout dropout1d
    dropout2d dropout3d alpha_dropout feature_alpha_dropout""".split()
)
