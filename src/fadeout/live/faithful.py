"""Faithful: a replay that leaves no trace, and that is given up where it gives another output than the step did."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fadeout.call import privates
from fadeout.call.batch import tensors
from fadeout.live.calls import Call, Replay, eager, sizes_of
from fadeout.live.places import Held
from fadeout.live.reach import Reach
from fadeout.live.still import ENDED, ImpureError, still

SAMPLE = 1 << 16  # elements of an output that are compared
ALIKE = {torch.float16: 0.05, torch.bfloat16: 0.05}  # of the norm: rounding of another order of sums
ALIKE_CPU, ALIKE_DEVICE = 1e-5, 1e-3


class FaithfulReplay(Replay):
    """Checks the first time that the outputs are those of the step."""

    def __init__(self, calls: list[Call], scale: float = 1.0) -> None:
        super().__init__(calls, scale)
        self._checked: set[int] = set()

    def _ran(self, call: Call, output: Any) -> None:
        if id(call) in self._checked or privates.compiled():  # compiled code draws other masks
            return
        self._checked.add(id(call))
        then, now = list(tensors(call.output)), list(tensors(output))
        pairs = [
            (a, b) for a, b, version in zip(then, now, call.output_versions, strict=False)
            if version >= 0 and a._version == version  # not written into since
        ]  # fmt: skip
        if len(then) == len(now) and all(_alike(a, b) for a, b in pairs):
            return
        if _same(call.weights, sizes_of(call.module)):  # SAM and its like move weights between forward and step
            raise ImpureError(
                "run: the network's forward does not give the same output twice from the same state "
                f"(it depends on something outside, or a hook of the script's own changes what flows), {ENDED}"
            )


def _same(then: Tensor, now: Tensor) -> bool:
    return torch.equal(then.nan_to_num(), now.nan_to_num())  # nan is of a parameter without elements


def _alike(then: Tensor, now: Tensor) -> bool:
    if then.shape != now.shape or then.dtype != now.dtype or then.layout != torch.strided or then.is_nested:
        return then.shape == now.shape and then.dtype == now.dtype
    a, b = _sampled(then), _sampled(now)
    if not (a.is_floating_point() or a.is_complex()):
        return torch.equal(a, b)
    if torch.equal(a, b):
        return True
    most = ALIKE.get(a.dtype, ALIKE_CPU if a.device.type == "cpu" else ALIKE_DEVICE)
    a, b = a.to(torch.float64), b.to(torch.float64)
    sound = torch.isfinite(a)
    if not torch.equal(sound, torch.isfinite(b)):
        return False
    a, b = a[sound], b[sound]
    return bool((a - b).norm() <= most * a.norm())


def _sampled(tensor: Tensor) -> Tensor:
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, flat.numel() // SAMPLE)]


@contextmanager
def untouched(calls: list[Call]) -> Iterator[None]:
    """While calls are run again: what they reach is put back in the end, and nobody hears of it.

    Raises:
        ImpureError: If what they reach now can't be put back.
    """
    places: dict[int, Any] = {}
    for call in calls:
        now = Reach(eager(call.module).modules(), (call.args, call.kwargs), call.reach)
        if now.unfit:
            raise ImpureError(f"run: the network's forward uses {now.unfit}, which can't be put back, {ENDED}")
        places |= {id(place): place for place in (*call.reach.places, *now.places)}
    held = Held(places.values())
    with still({id(m): m for call in calls for m in eager(call.module).modules()}.values()):
        try:
            yield
        finally:
            held.put_back()
