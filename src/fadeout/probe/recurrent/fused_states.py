"""The states that a fused recurrent layer goes through: kept at every step and at segment borders.

A reverse direction is a forward one over each sequence turned round, so lags, masks and segments
need one code.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from fadeout.errors import FadeoutError
from fadeout.probe.account.norms import read
from fadeout.probe.recurrent.cells import Factors, Weights, factors

SEGMENT_BYTES = 4 << 20  # a segment's derivatives: 1 to 8 MiB cost the same, 96 MiB leave the cache, x1.5
SEGMENT_BYTES_ELSEWHERE = 64 << 20  # on a device where a launch costs more than its work
SHORTEST = 8  # steps


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of a batch of sequences, in the packed order."""

    steps: int
    batch: int
    sizes: list[int]
    valid: Tensor | None  # (T, B); None where all are
    last: Tensor  # (T, B) bool, each sequence's last step
    turn: Tensor | None  # (T, B) int: positions of the turned sequences; None where a flip does
    lengths: list[int]

    def turned(self, x: Tensor) -> Tensor:
        """Each sequence read from its end; padding stays.  Its own inverse."""
        if self.turn is None:
            return x.flip(0)
        return x[self.turn, torch.arange(self.batch, device=x.device)]


def layout_of(sizes: list[int], device: torch.device) -> Layout:
    steps, batch = len(sizes), sizes[0]
    t = torch.arange(steps, device=device).unsqueeze(1)
    lengths = (torch.tensor(sizes, device=device).unsqueeze(1) > torch.arange(batch, device=device)).sum(0)
    valid = t < lengths
    ragged = sizes[-1] != batch
    return Layout(
        steps=steps,
        batch=batch,
        sizes=sizes,
        valid=valid if ragged else None,
        last=t == lengths - 1,
        turn=torch.where(valid, lengths - 1 - t, t) if ragged else None,
        lengths=lengths.tolist(),
    )


def padded(data: Tensor, layout: Layout) -> Tensor:
    """(T, B, F) of packed rows; zeros where a sequence has ended."""
    if layout.valid is None:
        return data.view(layout.steps, layout.batch, -1)
    spread = data.new_zeros(layout.steps, layout.batch, data.shape[-1])
    spread[layout.valid] = data
    return spread


@contextmanager
def plain_precision(device: torch.device) -> Iterator[None]:
    """Full precision, and quiet about which of torch's own implementations runs."""
    with warnings.catch_warnings(), torch.autocast(device.type, enabled=False):
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous")
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
        yield


def check_finite(seen: Sequence[tuple[Tensor, str, bool]], layout: Layout, name: str) -> None:
    """Raise with the first step (in the order of the sequence) at which something is not finite.

    Args:
        seen: Tensors (T, B, F), what each is, and whether its sequences are turned, in the order of the forward.
    """
    sums = read([x.sum().double() for x, _, _ in seen])
    for (x, what, turned), total in zip(seen, sums, strict=True):
        if math.isfinite(total) or bool(torch.isfinite(x).all()):
            continue
        bad = ~torch.isfinite(layout.turned(x) if turned else x).all(-1)
        rows = bad.any(1).nonzero().flatten().tolist()
        t = rows[-1] if turned else rows[0]
        raise FadeoutError(
            f"time_profile: {what} of '{name}' is not finite at step {t} of {layout.steps} "
            f"({int(bad[t].sum())} of {layout.batch} sequences); time is not measured behind it: "
            f"check the data at that step, or weights that let the state overflow"
        )


class Side:
    """One layer and direction after its forward run: weights, inputs, states at the borders.

    Everything is in the order of processing: a reverse direction's inputs are turned already.
    """

    def __init__(self, w: Weights, x: Tensor, layout: Layout, h: Tensor, c: Tensor | None) -> None:
        self.w, self.x, self.h, self.layout = w, x, h, layout
        wide = w.w_hh.shape[0]
        room = SEGMENT_BYTES if h.is_cpu else SEGMENT_BYTES_ELSEWHERE
        self.segment = max(SHORTEST, room // (4 * layout.batch * wide * h.element_size()))
        self.output = torch.zeros(layout.steps, layout.batch, h.shape[-1], dtype=x.dtype, device=x.device)
        self.cells: list[Tensor | None] = []
        hidden, cell = h.contiguous(), None if c is None else c.contiguous()
        for a in range(0, layout.steps, self.segment):
            b = min(a + self.segment, layout.steps)
            self.cells.append(None if cell is None else cell.clone())
            hidden, cell = self._forward(a, b, hidden, cell)

    def _forward(self, a: int, b: int, h: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The fused layer over one segment; fills `output`, returns the states behind it."""
        w, sizes = self.w, self.layout.sizes[a:b]
        alive = sizes[0]
        first = [s[:alive].unsqueeze(0).contiguous() for s in (h, c) if s is not None]
        state: Tensor | list[Tensor] = first if w.mode == "LSTM" else first[0]
        run = {"LSTM": torch.lstm, "GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}[w.mode]
        biased = w.b_ih is not None
        if self.layout.valid is None:
            made = run(self.x[a:b], state, w.flat, biased, 1, 0.0, False, False, False)  # type: ignore[operator]
            self.output[a:b] = made[0]
        else:
            mask = self.layout.valid[a:b]
            counts = torch.tensor(sizes, device="cpu")
            made = run(self.x[a:b][mask], counts, state, w.flat, biased, 1, 0.0, False, False)  # type: ignore[operator]
            self.output[a:b][mask] = made[0]
        h = torch.cat([made[1][0], h[alive:]])
        return h, None if c is None else torch.cat([made[2][0], c[alive:]])

    def borders(self) -> Iterator[tuple[int, int, Tensor | None]]:
        """Segments from the last to the first: start, end, cell state before the start."""
        for n in range(len(self.cells) - 1, -1, -1):
            a = n * self.segment
            yield a, min(a + self.segment, self.layout.steps), self.cells[n]

    def factors(self, a: int, b: int, c: Tensor | None) -> Factors:
        before = torch.cat([self.h.unsqueeze(0), self.output[: b - 1]]) if a == 0 else self.output[a - 1 : b - 1]
        valid = self.layout.valid
        return factors(self.w, self.x[a:b], before, c, None if valid is None else valid[a:b])
