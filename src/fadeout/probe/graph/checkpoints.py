"""Checkpoints: torch's reentrant ones opened for a pass, so that the account sees the operations inside.

A reentrant checkpoint is one opaque operation to autograd.  For the length of a forward it is replaced by
the non-reentrant one, which stores as little and computes the same gradients - with one thing kept that
people stumble over: where no input of the checkpoint requires a gradient, nothing inside gets one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.utils.checkpoint as torch_checkpoint
from torch import Tensor
from torch.autograd.graph import Node

from fadeout.call import privates
from fadeout.probe.graph.names import Names


@contextmanager
def opened(names: Names) -> Iterator[None]:
    """Reentrant checkpoints run as non-reentrant ones while a forward is recorded."""
    original = torch_checkpoint.CheckpointFunction
    real: set[Node] = set()  # nodes below which something requires a gradient that we did not ask for

    class Opened(original):  # type: ignore[misc, valid-type]
        @staticmethod
        def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
            inside = [a if isinstance(a, Tensor) else privates.tree_map_only(Tensor, Tensor.detach, a) for a in args]
            if any(isinstance(a, Tensor) and _requires(a, names, real) for a in args):
                return torch_checkpoint.checkpoint(function, *inside, use_reentrant=False, preserve_rng_state=preserve)
            cut = names.cuts.inside("checkpoint", names.origin_here("checkpoint")) if torch.is_grad_enabled() else None
            with torch.no_grad(), cut or nullcontext():
                return function(*args)

    torch_checkpoint.CheckpointFunction = Opened  # type: ignore[misc]
    try:
        yield
    finally:
        torch_checkpoint.CheckpointFunction = original  # type: ignore[misc]


def _requires(tensor: Tensor, names: Names, real: set[Node]) -> bool:
    """Whether a tensor requires a gradient in the user's own training, where no input is tracked."""
    if tensor.grad_fn is None:
        return tensor.requires_grad and not names.entered_with.stands_in(tensor)
    waiting, seen = [tensor.grad_fn], {tensor.grad_fn}
    while waiting:
        node = waiting.pop()
        variable = getattr(node, "variable", None)
        if node in real or (variable is not None and not names.entered_with.stands_in(variable)):
            real.add(tensor.grad_fn)
            return True
        for below, _ in node.next_functions:
            if below is not None and below not in seen:
                seen.add(below)
                waiting.append(below)
    return False
