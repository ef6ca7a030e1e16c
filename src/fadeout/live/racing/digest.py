"""Digests of a run: the random state and what the network was given, so that two runs can be shown to see the same."""

import random
import struct
import sys
import zlib
from typing import Any

import torch
from torch import Tensor

from fadeout.call.batch import tensors
from fadeout.call.chance import torch_state

MOST = 1 << 16  # elements of an input that are read


class Digest:
    """Numbers for every step.

    Attributes:
        random: Of the random states of torch, random and numpy at each step.
    """

    def __init__(self) -> None:
        self.random: list[int] = []
        self._given, self._made = _Sum(), _Sum()

    def see(self, args: Any) -> None:
        """A network is called with these; what lies on another device is read at the end."""
        for tensor in tensors(args):
            (self._given if tensor.grad_fn is None else self._made).add(tensor.detach())

    def step(self) -> None:
        """A step was made."""
        on_cpu, on_gpus = torch_state()
        state = zlib.crc32(on_cpu.numpy().tobytes())
        for one in on_gpus or ():
            state = zlib.crc32(one.numpy().tobytes(), state)
        own = random.getstate()[1]
        state = zlib.crc32(struct.pack("<3I", own[0], own[-2], own[-1]), state)
        if (numpy := sys.modules.get("numpy")) is not None and hasattr(numpy, "random"):
            _, keys, place, *_ = numpy.random.get_state()
            state = zlib.crc32(keys.tobytes() + struct.pack("<q", place), state)
        self.random.append(state)
        self._given.step()
        self._made.step()

    def inputs(self, *, made: bool) -> tuple[int, ...]:
        """A number a step, of everything passed to the networks since the step before.

        Args:
            made: With what another network of the same loss has made, and what changes with every treatment.
        """
        given = self._given.all()
        return (
            tuple(zlib.crc32(struct.pack("<I", b), a) for a, b in zip(given, self._made.all(), strict=True))
            if made
            else given
        )


class _Sum:
    """One number a step of what it was shown since the step before."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, list[Tensor]]] = []
        self._now, self._later = 0, list[Tensor]()

    def add(self, found: Tensor) -> None:
        if found.is_sparse or found.is_meta or found.is_quantized:
            return
        flat = found.reshape(-1)
        flat = flat[:: max(1, flat.numel() // MOST)]
        if flat.device.type == "cpu":
            self._now = _crc(flat, self._now)
        else:
            self._later.append(flat.double().sum() if not flat.is_complex() else flat.abs().double().sum())

    def step(self) -> None:
        self._steps.append((self._now, self._later))
        self._now, self._later = 0, []

    def all(self) -> tuple[int, ...]:
        return tuple(
            zlib.crc32(struct.pack(f"<{len(later)}d", *(float(t) for t in later)), now) for now, later in self._steps
        )


def _crc(flat: Tensor, before: int) -> int:
    return zlib.crc32(flat.contiguous().view(torch.uint8).numpy().tobytes(), before)
