"""One optimisation step from a loss, as most loops end."""

from typing import Any

from torch import Tensor


def finish(loss: Tensor, optimizer: Any) -> Tensor:
    """Zero the gradients, go backward, step; the loss without its graph."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()
