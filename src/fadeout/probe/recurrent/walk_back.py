"""One layer and direction walked back through time, by hand: one matrix product a step.

No autograd graph is built.  Each segment's derivatives are computed at once (`cells.factors`).
The exponents of the gradients are renewed every few steps: 5,000 steps of a default RNN lose a
thousand decades, more than float64 has.  A step is a handful of small kernels: what it reads and writes
is cut into views once a segment, and nothing waits for the device within one.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fadeout.probe.account.norms import read
from fadeout.probe.recurrent.cells import GATES, Factors
from fadeout.probe.recurrent.columns import Entry, Stream, log2, power
from fadeout.probe.recurrent.fused_states import Side

STRIDE, SHORT = 32, 8  # steps that share one exponent; where that leaves the range; else each has its own
HALF_RANGE = 50.0  # bits either side of 1 within which squares and their sums stay in float32
APART = 40.0  # bits between the carried and the entering gradient from which they need their own steps


@dataclass(slots=True)
class Carry:
    """The gradient on its way from one step to the step before, times 2 ** exponent (K, B)."""

    hidden: Tensor  # (K, B, P)
    cell: Tensor | None  # (K, B, H)
    alone: Tensor  # of the last columns: the part by the cell alone
    above: Tensor | None
    exponent: Tensor


@dataclass(slots=True)
class Rows:
    """What one layer and direction measured, a value a step, column and sequence."""

    norm: list[Tensor] = field(default_factory=list)  # log2 of the joint norm, (S, K, B)
    dots: list[Tensor] = field(default_factory=list)  # share of each path, (S, paths, B)
    parts: list[Tensor] = field(default_factory=list)  # log2 of each path's norm, (S, paths, B)
    openness: Tensor | float = 0.0
    slope: Tensor | float = 0.0


def walk_back(side: Side, enters: Entry, single: int, sink: Stream | None, *, top: bool) -> Rows:
    """One layer and direction from its last step to its first."""
    w, rows = side.w, Rows()
    wide = w.w_hh.shape[0] // len(GATES[w.mode])
    batch, count = side.layout.batch, enters.seeds.columns
    zeros = side.x.new_zeros
    carry = Carry(
        hidden=zeros(count, batch, side.h.shape[-1]),
        cell=zeros(count, batch, wide) if w.mode == "LSTM" else None,
        alone=zeros(batch, wide),
        above=None if top else zeros(batch, wide),
        exponent=torch.zeros(count, batch, dtype=torch.float64, device=side.x.device),
    )
    stride = STRIDE
    for a, b, c in side.borders():
        made = side.factors(a, b, c)
        rows.openness, rows.slope = rows.openness + made.openness, rows.slope + made.slope
        values, exponents = enters.segment(a, b, side.output)
        pass_ = Segment(side, made, values, exponents, enters, a, single, keep=sink is not None)
        tried = stride
        while True:
            after = pass_.run(carry, tried)
            shorter = pass_.shorter()
            if not shorter:
                break
            tried, stride = shorter, min(stride, max(shorter, SHORT))
        carry = after
        rows.norm.insert(0, pass_.norm())
        dots, parts = pass_.split()
        rows.dots.insert(0, dots)
        rows.parts.insert(0, parts)
        if sink is not None:
            sink.exponent[a:b] = pass_.exponent
            torch.matmul(pass_.towards_input().flatten(0, 2), w.w_ih, out=sink.value[a:b].view(-1, w.w_ih.shape[1]))
    return rows


class Segment:
    """One stretch of steps walked back, everything that was met on the way kept for the sums."""

    def __init__(
        self,
        side: Side,
        made: Factors,
        values: Tensor,
        exponents: Tensor,
        enters: Entry,
        start: int,
        single: int,
        *,
        keep: bool,
    ) -> None:
        self.w, self.made, self.enters, self.start, self.single = side.w, made, enters, start, single
        self.values, self.exponents = values, exponents
        steps, count, batch, _ = values.shape
        gates, wide = made.gates.shape[2:]
        self.last = side.layout.last[start : start + steps]
        self.valid = None if side.layout.valid is None else side.layout.valid[start : start + steps]
        self.entered = torch.empty_like(values)  # what came from above, in the segment's exponents
        self.hidden = torch.empty_like(values)
        self.cell = values.new_empty(steps, count, batch, wide) if side.w.mode == "LSTM" else None
        self.alone = values.new_empty(steps, batch, wide)
        self.above: Tensor | None = None
        # Only a layer below needs what flowed into the gates; else one buffer serves every step.
        self.flow = values.new_empty(steps if keep else 1, count, batch, gates, wide)
        self.exponent = torch.empty_like(exponents)
        self.flags: list[Tensor] = []
        self.stride = 1
        self._norms = self.exponents
        flow = self.flow if keep else self.flow.expand(steps, *self.flow.shape[1:])
        self._flow_at = (
            flow.view(steps, count * batch, -1).unbind(0) if keep else (self.flow.view(count * batch, -1),) * steps
        )
        self._gates_at, self._flows_at = made.gates.unbind(0), flow.unbind(0)
        self._keep_at = None if made.keep is None else made.keep.unbind(0)
        self._entered_at, self._hidden_at = self.entered.unbind(0), self.hidden.unbind(0)
        self._read_at, self._alone_at = self.entered[:, single].unbind(0), self.alone.unbind(0)
        self._above_at: tuple[Tensor, ...] = ()
        if self.cell is not None:
            assert made.enter is not None
            self._cell_at, self._enter_at = self.cell.unbind(0), made.enter.unbind(0)
            self._gates_at, self._output_at = made.gates[:, :, :3].unbind(0), made.gates[:, :, 3].unbind(0)
            self._flows_at, self._outwards_at = flow[..., :3, :].unbind(0), flow[..., 3, :].unbind(0)

    def run(self, carry: Carry, stride: int) -> Carry:
        """Walk back; returns what leaves at the data side of the segment."""
        self.stride, self.flags = stride, []
        if carry.above is not None and self.above is None:
            self.above = torch.empty_like(self.alone)
            self._above_at = self.above.unbind(0)
        bits = log2(self.values, self.exponents)
        c_n = self.enters.c_n
        if c_n is not None:
            late = torch.where(self.last.unsqueeze(1), c_n.abs().amax(-1).double().log2(), -math.inf)
            bits = torch.maximum(bits, late)
        for b in range(len(self.values), 0, -stride):
            a = max(0, b - stride)
            carry = self._rescaled(carry, a, b, bits)
            self._steps(carry, a, b)
        return carry

    def _rescaled(self, carry: Carry, a: int, b: int, bits: Tensor) -> Carry:
        """The same gradient with exponents that suit it and what enters in steps a to b."""
        held = carry.hidden.abs().amax(-1)
        if carry.cell is not None:
            held = torch.maximum(held, carry.cell.abs().amax(-1))
        held = held.double().log2() + carry.exponent
        stacked = torch.cat([held.unsqueeze(0), bits[a:b]])
        high = stacked.amax(0)
        known = high.isfinite()
        if b - a > 1:
            low = torch.where(stacked.isfinite(), stacked, math.inf).amin(0)
            self.flags.append(((high - low) > APART)[known].any())
        high = torch.where(known, high.floor(), 0.0)
        self.exponent[a:b] = high
        shift = power(carry.exponent - high, carry.hidden)
        one = shift[self.single]
        torch.mul(self.values[a:b], power(self.exponents[a:b] - high, self.values), out=self.entered[a:b])
        return Carry(
            hidden=carry.hidden * shift,
            cell=None if carry.cell is None else carry.cell * shift,
            alone=carry.alone * one,
            above=None if carry.above is None else carry.above * one,
            exponent=high,
        )

    def _steps(self, carry: Carry, a: int, b: int) -> None:
        """Steps b - 1 to a; updates the carry in place."""
        w, single = self.w, self.single
        c_n = None if self.enters.c_n is None else self.enters.c_n * power(-carry.exponent, self.values)
        towards = carry.hidden.view(self._flow_at[0].shape[0], -1)
        for s in range(b - 1, a - 1, -1):
            grad, flow, gates = self._hidden_at[s], self._flows_at[s], self._gates_at[s]
            torch.add(carry.hidden, self._entered_at[s], out=grad)
            read = self._read_at[s]
            mask = self.last[s].unsqueeze(-1) if self.start + s + 1 in self.enters.ends else None
            fresh: Tensor | None = read
            if w.mode == "LSTM":
                assert carry.cell is not None and self._keep_at is not None
                cell, enter = self._cell_at[s], self._enter_at[s]
                outer = grad if w.w_hr is None else grad @ w.w_hr
                read = read if w.w_hr is None else read @ w.w_hr
                torch.addcmul(carry.cell, outer, enter, out=cell)
                fresh = read * enter if mask is not None or self.above is not None else None
                if c_n is not None and mask is not None:
                    cell.addcmul_(c_n, mask.to(cell.dtype))
                    fresh = None if fresh is None else fresh + c_n[single] * mask
                torch.mul(cell.unsqueeze(2), gates, out=flow)
                torch.mul(outer, self._output_at[s], out=self._outwards_at[s])
                torch.mul(cell, self._keep_at[s], out=carry.cell)
            else:
                torch.mul(grad.unsqueeze(2), gates, out=flow)
            torch.matmul(self._flow_at[s], w.w_hh, out=towards)
            if w.mode == "GRU":
                assert self._keep_at is not None
                carry.hidden.addcmul_(grad, self._keep_at[s])
            self._part(carry, s, fresh, mask)

    def _part(self, carry: Carry, s: int, fresh: Tensor | None, mask: Tensor | None) -> None:
        """The single column's parts that cross time by the cell alone."""
        keep = None if self._keep_at is None else self._keep_at[s]
        starts = None if fresh is None or mask is None else fresh * mask
        alone = self._alone_at[s]
        if starts is None:
            alone.copy_(carry.alone)
        else:
            torch.add(carry.alone, starts, out=alone)
        if keep is None:
            carry.alone.zero_()
        else:
            torch.mul(alone, keep, out=carry.alone)
        if self.above is not None and carry.above is not None:
            assert fresh is not None
            later, above = fresh if starts is None else fresh - starts, self._above_at[s]
            torch.add(carry.above, later, out=above)
            if keep is None:
                carry.above.zero_()
            else:
                torch.mul(above, keep, out=carry.above)

    def towards_input(self) -> Tensor:
        """Gradient at the gates' input side, (S, K, B, G H)."""
        if self.made.candidate is not None:
            torch.mul(self.hidden, self.made.candidate.unsqueeze(1), out=self.flow[..., 2, :])
        return self.flow.flatten(-2)

    def _length(self, *parts: Tensor | None) -> Tensor:
        """Joint norm over the last dimension; float64 where steps stand alone."""
        dtype = torch.float64 if self.stride == 1 else None
        lengths = [torch.linalg.vector_norm(p, dim=-1, dtype=dtype) for p in parts if p is not None]
        return lengths[0] if len(lengths) == 1 else torch.hypot(lengths[0], lengths[1])

    def shorter(self) -> int:
        """0 where every number stayed within its range; else how many steps may share an exponent."""
        self._norms = self._length(self.hidden, self.cell)
        if self.stride == 1:
            return 0
        valid = self._norms if self.valid is None else torch.where(self.valid.unsqueeze(1), self._norms, 1.0)
        bits = valid.double().log2()
        held = bits.isfinite()
        outside = (bits.abs() > HALF_RANGE) & held
        # A row that is exactly zero behind one that is not: a dead unit, or flushed.
        lost = (~held[:-1] & held[1:]).any() | (~held & ~bits.isneginf()).any()
        apart = torch.stack(self.flags).any() if self.flags else torch.zeros_like(lost)
        is_apart, is_outside = read([apart.double(), (outside.any() | lost).double()])
        if is_apart:
            return 1
        return 0 if not is_outside else SHORT if self.stride > SHORT else 1

    def norm(self) -> Tensor:
        """log2 of the joint norm of each row, float64; -inf outside the sequence."""
        bits = self._norms.double().log2() + self.exponent
        return bits if self.valid is None else torch.where(self.valid.unsqueeze(1), bits, -math.inf)

    def split(self) -> tuple[Tensor, Tensor]:
        """Inner products with the whole over its square, and log2 norms, of each path."""
        n, exponent = self.single, self.exponent[:, self.single].unsqueeze(1)
        grad, entered = self.hidden[:, n], self.entered[:, n]
        dtype = torch.float64 if self.stride == 1 else grad.dtype

        def dot(x: Tensor, y: Tensor) -> Tensor:
            product: Tensor = torch.linalg.vecdot(x.to(dtype), y.to(dtype))
            return product.double()

        last = self.last.unsqueeze(-1)
        rest = self.alone if self.above is None else self.alone + self.above
        zero = torch.zeros((), dtype=torch.float64, device=grad.device)
        if self.cell is not None:
            cell = self.cell[:, n]
            direct = dot(entered, grad)
            at_last = torch.where(self.last, direct, zero)
            dots = [dot(self.alone, cell) + at_last, dot(grad - entered, grad) + dot(cell - rest, cell)]
            norms = [self._length(self.alone, entered * last), self._length(grad - entered, cell - rest)]
            if self.above is not None:
                dots.append(dot(self.above, cell) + direct - at_last)
                norms.append(self._length(self.above, entered * ~last))
        else:
            dots = [dot(self.alone, grad), dot(grad - rest, grad)]
            norms = [self._length(self.alone), self._length(grad - rest)]
            if self.above is not None:
                dots.append(dot(self.above, grad))
                norms.append(self._length(self.above))
        square = self._norms[:, n].double().square()
        shares = torch.stack(dots, 1) / square.unsqueeze(1)
        shares = torch.where(square.unsqueeze(1) == 0, zero, shares)
        return shares, torch.stack(norms, 1).double().log2() + exponent
