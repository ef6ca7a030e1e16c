"""Sound: the weights before the latest steps, so that the step at which training breaks can be taken again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.chance import TorchState, torch_state

KEPT = 2  # steps: the break shows in a loss, and may have been made by the update before
LARGEST = 1 << 26  # elements of all parameters and buffers from which none are kept


@dataclass(slots=True)
class Before:
    """A network as it was before one step.

    Attributes:
        batch: Of that step, as the stream holds it.
        draws: State of torch's generator.
    """

    number: int
    batch: Any
    draws: TorchState
    values: list[Tensor]

    def finite(self) -> bool:
        """Whether every value is."""
        parts = [torch.isfinite(v).all() for v in self.values if v.is_floating_point()]
        return not parts or bool(torch.stack([p.to(parts[0].device) for p in parts]).all())


class LastSound:
    """Keeps the network as it was before each of the latest steps."""

    def __init__(self, model: nn.Module) -> None:
        every = [*model.parameters(), *model.buffers()]
        self._tensors = [t for t in every if t.layout == torch.strided and t.numel()]
        self._able = len(every) == len(self._tensors) and sum(t.numel() for t in every) < LARGEST
        self._kept: list[Before] = []

    @torch.no_grad()
    def before(self, number: int, batch: Any) -> None:
        """A step is about to be done on a batch."""
        if not self._able:
            return
        spare = self._kept.pop(0) if len(self._kept) == KEPT else None
        now = [t.detach() for t in self._tensors]
        if spare is None or [v.shape for v in spare.values] != [t.shape for t in now]:
            values = [t.clone() for t in now]
        else:
            values = spare.values
            for value, tensor in zip(values, now, strict=True):
                value.copy_(tensor)
        self._kept.append(Before(number=number, batch=batch, draws=torch_state(), values=values))

    def newest_first(self) -> list[Before]:
        """Those whose values are all finite."""
        return [one for one in reversed(self._kept) if one.finite()]

    @contextmanager
    def put_back(self, one: Before) -> Iterator[None]:
        """The network as it was then."""
        now = [t.detach().clone() for t in self._tensors]
        self._write(one.values)
        try:
            yield
        finally:
            self._write(now)

    @torch.no_grad()
    def _write(self, values: list[Tensor]) -> None:
        for tensor, value in zip(self._tensors, values, strict=True):
            tensor.data.copy_(value)
