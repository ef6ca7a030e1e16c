"""A round: what is measured of one step of a network, optimizer by optimizer, before it is handed on."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import Optimizer

from fadeout.live.members import held
from fadeout.live.norms import norms
from fadeout.live.seen import Part
from fadeout.probe.account.norms import stride

SAMPLE = 1 << 14  # elements of a parameter on which its update is measured


class Round:
    """Of one step.

    Attributes:
        sampled: Norms are taken.
        inside: It steps inside a backward pass.
        cost: Seconds that the norms took.
        parts: What was measured, by metric.
    """

    def __init__(self, *, sampled: bool = False, inside: bool = False) -> None:
        self.sampled, self.inside = sampled, inside
        self.cost = 0.0
        self.parts: dict[str, list[Part]] = {}
        self._copies: list[Tensor] | None = None

    @contextmanager
    def counted(self) -> Iterator[None]:
        """What happens inside is the cost of the norms."""
        begun = time.perf_counter()
        yield
        self.cost += time.perf_counter() - begun

    def note_gradients(self, optimizer: Optimizer, places: Sequence[int], *, weights: bool) -> None:
        """Norms of the gradients that an optimizer is about to use, and of its weights where they are asked for."""
        parameters = held(optimizer)
        found = norms([p.grad for p in parameters])
        scale = getattr(optimizer, "grad_scale", None)
        if isinstance(scale, Tensor):  # a fused step divides by it only inside
            found = found / scale.to(found.device)
        self._note("gradient", places, found)
        if weights:
            self._note("weight", places, norms([p.detach() for p in parameters]))

    def keep(self, optimizer: Optimizer) -> None:
        """The weights before the step, so that the update can be measured."""
        self._copies = [_sampled(p).clone() for p in held(optimizer)]

    @torch.no_grad()
    def note_updates(self, optimizer: Optimizer, places: Sequence[int]) -> None:
        """How far the step has moved what was kept, over its size."""
        before, self._copies = self._copies, None
        if before is None:
            return
        now = [_sampled(p) for p in held(optimizer)]
        if [t.shape for t in now] != [t.shape for t in before] or not now:
            return
        change, size = norms([a - b for a, b in zip(now, before, strict=True)]), norms(before)
        self._note("update", places, change / size)

    def _note(self, metric: str, places: Sequence[int], values: Tensor) -> None:
        self.parts.setdefault(metric, []).append((places, values))


def _sampled(parameter: Tensor) -> Tensor:
    """At most SAMPLE elements of a parameter, spread evenly, as this process holds them."""
    flat = parameter.detach()
    part = getattr(flat, "to_local", None)
    flat = (part() if part is not None else flat).reshape(-1)
    return flat[:: max(1, stride(flat.numel(), SAMPLE))]
