"""Heard: what a script tells of the step that it is about to take: losses, loss functions, clipping, a loss scale."""

from typing import Any

from torch import Tensor

from fadeout.live.probing import Judged

MOST = 8  # calls of loss functions that are kept


class Heard:
    """Of one step.

    Attributes:
        total: Sum of the scalars that were sent backward; None where there was none.
        first: The same at the first evaluation of a closure that is asked several times.
        clips: Norms before clipping, with the largest that is allowed.
        judged: Calls of loss functions.
    """

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.first: Tensor | None = None
        self.clips: list[tuple[Tensor, float]] = []
        self.judged: list[Judged] = []
        self.scaler: Any = None

    def backward(self, loss: Tensor | None) -> None:
        """A scalar is sent backward."""
        if loss is not None:
            value = loss.detach().float().clone()
            self.total = value if self.total is None else self.total + value

    def keep(self, one: Judged) -> None:
        """A loss function was called."""
        if len(self.judged) < MOST:
            self.judged.append(one)

    @property
    def loss(self) -> Tensor | None:
        """Of the step."""
        return self.first if self.first is not None else self.total

    def scale(self) -> float:
        """The loss scale in the gradients that came back through the network."""
        if self.scaler is None or not self.scaler.is_enabled():
            return 1.0
        return float(self.scaler.get_scale())

    def forget(self) -> None:
        """The step is over."""
        self.total = self.first = None
        self.clips = []
