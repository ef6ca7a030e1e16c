"""The unrolled twin of torch's fused recurrent layers: the same weights, one step at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fadeout.probe.recurrent.cells import recurrent, step, weights

State = Tensor | tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step as the twin computed it; its tensors are part of the graph.

    Attributes:
        direction: 0 forward, 1 reverse.
        t: Position in the sequence, whichever way it is read.
        h: Hidden state after the step, (B_t, P): the sequences that are this long, longest first
            where the input was packed.
        c: Cell state after it, (B_t, H); None but for an LSTM.
        gates: As `cells.GATES` names them, each (B_t, H).
        projected: What the step's input adds to the gates, W_ih x_t + b_ih, (B_t, G H).
        before: h and c that the step started from.
    """

    layer: int
    direction: int
    t: int
    h: Tensor
    c: Tensor | None
    gates: tuple[Tensor, ...]
    projected: Tensor
    before: tuple[Tensor, Tensor | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """An input in the packed layout that torch's own recurrent layers use inside.

    Attributes:
        data: Steps one after another, (sum of sizes, I).
        sizes: Sequences alive at each step, never increasing.
        h, c: Initial states in the packed order, (L D, B, *).
    """

    data: Tensor
    sizes: list[int]
    h: Tensor
    c: Tensor | None


def sequence(module: nn.RNNBase, x: Tensor | PackedSequence, hx: State | None, *, function: str) -> Sequence:
    """Check a call of a recurrent layer and bring it into one layout.

    Raises:
        ValueError: Empty sequences, wrong sizes.
        TypeError: States of the wrong kind.
    """
    lstm, ways = module.mode == "LSTM", 2 if module.bidirectional else 1
    packed = isinstance(x, PackedSequence)
    data = x.data if isinstance(x, PackedSequence) else x
    unbatched = not packed and data.dim() == 2
    if isinstance(x, PackedSequence):
        sizes = [int(n) for n in x.batch_sizes]
    else:
        if data.dim() not in (2, 3):
            raise ValueError(
                f"{function}: the input has {data.dim()} dimensions; pass (T, B, I), (B, T, I) with "
                "batch_first, (T, I) for one sequence, or a PackedSequence"
            )
        data = data.unsqueeze(1) if unbatched else (data.transpose(0, 1) if module.batch_first else data)
        sizes = [data.shape[1]] * data.shape[0]
    if not sizes or not sizes[0]:
        raise ValueError(
            f"{function}: the input has {'no steps' if not sizes else 'no sequences'}, shape "
            f"{tuple(x.data.shape if isinstance(x, PackedSequence) else x.shape)}; "
            "leave empty sequences out of the batch"
        )
    if data.shape[-1] != module.input_size:
        raise ValueError(
            f"{function}: the input has {data.shape[-1]} features, the layer takes {module.input_size}; "
            "check batch_first and the order of dimensions"
        )
    count, batch = module.num_layers * ways, sizes[0]
    data = data.reshape(-1, data.shape[-1])
    shapes = [(count, batch, module.proj_size or module.hidden_size), (count, batch, module.hidden_size)]
    if hx is None:
        zeros = [data.new_zeros(shape) for shape in shapes]
        return Sequence(data=data, sizes=sizes, h=zeros[0], c=zeros[1] if lstm else None)
    if isinstance(hx, Tensor) == lstm:
        raise TypeError(
            f"{function}: the initial state is a {type(hx).__name__}; an nn.LSTM takes (h, c), the others one tensor"
        )
    states = [s.unsqueeze(1) if unbatched else s for s in ([hx] if isinstance(hx, Tensor) else hx)]
    for state, shape in zip(states, shapes, strict=False):
        if tuple(state.shape) != shape:
            raise ValueError(f"{function}: an initial state has shape {tuple(state.shape)}, the layer needs {shape}")
    if isinstance(x, PackedSequence) and x.sorted_indices is not None:
        states = [s.index_select(1, x.sorted_indices) for s in states]
    return Sequence(data=data, sizes=sizes, h=states[0], c=states[1] if lstm else None)


def unroll(
    module: nn.RNNBase,
    x: Tensor | PackedSequence,
    hx: State | None = None,
    *,
    watch: Callable[[Step], None] | None = None,
) -> tuple[Tensor | PackedSequence, State]:
    """What `module(x, hx)` returns, computed step by step from the same Parameter objects.

    Dropout between layers takes the place it takes inside the layer, over the same layout: on a
    CPU the same state of the global generator gives the same draws; cuDNN draws from a state of
    its own, so there the masks differ.

    Args:
        watch: Called with every `Step`, layer by layer, forward before reverse, in the order of
            computation.

    Returns:
        Output and final state, h_n or (h_n, c_n), in the layout of the call.
    """
    module = recurrent(module, "unroll")
    seq = sequence(module, x, hx, function="unroll")
    data, ways = seq.data, 2 if module.bidirectional else 1
    last_h: list[Tensor] = []
    last_c: list[Tensor] = []
    for layer in range(module.num_layers):
        sides = []
        for direction in range(ways):
            n = layer * ways + direction
            first_c = None if seq.c is None else seq.c[n]
            side, h, c = _walk(module, layer, direction, data, seq.sizes, seq.h[n], first_c, watch)
            sides.append(side)
            last_h.append(h)
            if c is not None:
                last_c.append(c)
        data = torch.cat(sides, -1) if ways == 2 else sides[0]
        if module.dropout and module.training and layer < module.num_layers - 1:
            data = F.dropout(data, module.dropout)
    finals = [torch.stack(last_h)] + ([torch.stack(last_c)] if last_c else [])
    output: Tensor | PackedSequence
    if isinstance(x, PackedSequence):
        output = PackedSequence(data, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
        if x.unsorted_indices is not None:
            finals = [s.index_select(1, x.unsorted_indices) for s in finals]
    else:
        output = data.view(len(seq.sizes), seq.sizes[0], -1)
        if x.dim() == 2:
            output, finals = output.squeeze(1), [s.squeeze(1) for s in finals]
        elif module.batch_first:
            output = output.transpose(0, 1)
    return output, ((finals[0], finals[1]) if last_c else finals[0])


def _walk(
    module: nn.RNNBase,
    layer: int,
    direction: int,
    data: Tensor,
    sizes: list[int],
    h: Tensor,
    c: Tensor | None,
    watch: Callable[[Step], None] | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One layer and direction: outputs (sum of sizes, P), last h (B, P), last c."""
    w = weights(module, layer, direction)
    # One matrix product for all steps, split at once: indexing step by step makes the backward
    # of each index fill a whole tensor, which is quadratic in T.
    steps = torch.split(F.linear(data, w.w_ih, w.b_ih), sizes)
    outputs: list[Tensor | None] = [None] * len(sizes)
    first_h, first_c, done_h, done_c = h, c, [], []
    alive = sizes[-1] if direction else sizes[0]
    h, c = first_h[:alive], None if first_c is None else first_c[:alive]
    for t in range(len(sizes) - 1, -1, -1) if direction else range(len(sizes)):
        if sizes[t] > alive:  # reverse: shorter sequences begin
            h = torch.cat([h, first_h[alive : sizes[t]]])
            c = torch.cat([c, first_c[alive : sizes[t]]]) if c is not None and first_c is not None else None
        elif sizes[t] < alive:  # forward: shorter sequences end
            done_h.append(h[sizes[t] :])
            h = h[: sizes[t]]
            if c is not None:
                done_c.append(c[sizes[t] :])
                c = c[: sizes[t]]
        alive = sizes[t]
        before = (h, c)
        h, c, gates = step(w, steps[t], h, c)
        outputs[t] = h
        if watch is not None:
            watch(
                Step(
                    layer=layer,
                    direction=direction,
                    t=t,
                    h=h,
                    c=c,
                    gates=gates,
                    projected=steps[t],
                    before=before,
                )
            )
    last_h = torch.cat([h, *done_h[::-1]]) if done_h else h
    last_c = torch.cat([c, *done_c[::-1]]) if c is not None and done_c else c
    return torch.cat([o for o in outputs if o is not None]), last_h, last_c
