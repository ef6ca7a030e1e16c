"""The way back through time: the gradient at every step of torch's recurrent layers, exactly.

The fused layer runs forward once, layer by layer, keeping its outputs and the cell states at
segment borders (`fused_states`); then gradients walk back, layer by layer and segment by segment
(`walk_back`).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fadeout.errors import FadeoutError
from fadeout.probe.recurrent.cells import GATES, SIGMOIDS, recurrent, weights
from fadeout.probe.recurrent.columns import Entry, Seeds, Stream, merged, seeds_of
from fadeout.probe.recurrent.fused_states import Layout, Side, check_finite, layout_of, padded, plain_precision
from fadeout.probe.recurrent.profiles import GateState, TimePath, Walked
from fadeout.probe.recurrent.unrolled import State, sequence
from fadeout.probe.recurrent.walk_back import Rows, walk_back

DECADE = math.log10(2.0)


@torch.no_grad()
def time_profile(
    module: nn.RNNBase,
    x: Tensor | PackedSequence,
    hx: State | None = None,
    *,
    gradient: Tensor | PackedSequence | None = None,
    state_gradient: Tensor | tuple[Tensor | None, Tensor | None] | None = None,
    path: str = "",
) -> tuple[Walked, ...]:
    """The gradient at every time step of one recurrent module, for each layer and direction.

    Works in the module's dtype, at least float32, with one power of two a sequence: no length
    underflows.  With dropout between layers call it under the random state of the real forward
    (on a CPU it then draws the same masks); it draws from the global generator as the module does.

    Args:
        x, hx: The module's input as the real forward saw it.
        gradient: dL/d output, in the output's own layout; None where the loss doesn't read it.
        state_gradient: dL/d h_n, or (dL/d h_n, dL/d c_n), each may be None.
        path: The module's dotted path, for the records and errors.

    Returns:
        One profile a layer and direction, data side first.

    Raises:
        ValueError: No steps, or a gradient that doesn't fit.
        TypeError: Not a recurrent layer, or states of the wrong kind.
        FadeoutError: Input, states or gradient are not finite; the step is named.
    """
    module, name = recurrent(module, "time_profile"), path or type(module).__name__
    seq = sequence(module, x, hx, function="time_profile")
    dtype = module.weight_ih_l0.dtype if module.weight_ih_l0.dtype is torch.float64 else torch.float32
    device, ways = seq.data.device, 2 if module.bidirectional else 1
    layout = layout_of(seq.sizes, device)
    with plain_precision(device):
        inputs = padded(seq.data.to(dtype), layout)
        seen: list[tuple[Tensor, str, bool]] = [(inputs, "the input", False)]
        layers: list[list[Side]] = []
        drops: list[Tensor | None] = []
        for layer in range(module.num_layers):
            sides = []
            for way in range(ways):
                w, n = weights(module, layer, way, upcast=True), layer * ways + way
                c = None if seq.c is None else seq.c[n].to(dtype)
                side = Side(w, layout.turned(inputs) if way else inputs, layout, seq.h[n].to(dtype), c)
                seen.append((side.output, f"the hidden state of layer {layer}", bool(way)))
                sides.append(side)
            layers.append(sides)
            inputs = (
                torch.cat([layout.turned(s.output) if n else s.output for n, s in enumerate(sides)], -1)
                if ways == 2
                else sides[0].output
            )
            drop = None
            if module.dropout and module.training and layer < module.num_layers - 1:
                # Over the packed rows, as inside the layer: the draws depend on the layout.
                ones = torch.ones(sum(seq.sizes), inputs.shape[-1], dtype=dtype, device=device)
                drop = padded(F.dropout(ones, module.dropout), layout)
                inputs = inputs * drop
            drops.append(drop)
        check_finite(seen, layout, name)
        del seen
        given = _given(module, x, gradient, layout, dtype)  # after the forward, whose faults come first
        states = _given_states(module, x, state_gradient, dtype)
        seeds = seeds_of(given, states, layers[-1][0].output, layout, ways)
        del given, inputs
        return _walk(module, layers, drops, seeds, states, layout, path)


def _given(
    module: nn.RNNBase,
    x: Tensor | PackedSequence,
    gradient: Tensor | PackedSequence | None,
    layout: Layout,
    dtype: torch.dtype,
) -> Tensor | None:
    """dL/d output as (T, B, D P), packed order."""
    if gradient is None:
        return None
    width = (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1)
    if isinstance(x, PackedSequence):
        flat = gradient.data
        fits = flat.shape == (sum(layout.sizes), width)
    else:
        if isinstance(gradient, PackedSequence):
            raise TypeError("time_profile: the gradient is packed, the input is not; pass both in one layout")
        unbatched = x.dim() == 2
        fits = tuple(gradient.shape) == (*x.shape[:-1], width)
        flat = gradient if unbatched or not module.batch_first else gradient.transpose(0, 1)
        flat = flat.reshape(-1, flat.shape[-1])
    if not fits:
        raise ValueError(
            f"time_profile: the gradient has shape {tuple(gradient.data.shape)}, the output of this call has "
            f"another; pass dL/d output as it arrived, {width} features"
        )
    spread = padded(flat.detach().to(dtype), layout)
    if not math.isfinite(float(spread.abs().amax())):
        t = int((~torch.isfinite(spread)).flatten(1).any(1).nonzero()[-1])
        raise FadeoutError(
            f"time_profile: the gradient arriving at step {t} is not finite; look for its origin on the loss side"
        )
    return spread


def _given_states(
    module: nn.RNNBase,
    x: Tensor | PackedSequence,
    given: Tensor | tuple[Tensor | None, Tensor | None] | None,
    dtype: torch.dtype,
) -> tuple[Tensor | None, Tensor | None] | None:
    """dL/d h_n and dL/d c_n as (L D, B, *), packed order."""
    both = given if isinstance(given, tuple) else (given, None)
    if both[0] is None and both[1] is None:
        return None
    found: list[Tensor | None] = []
    for part in both:
        if part is not None:
            part = part.detach().to(dtype)
            if not isinstance(x, PackedSequence) and x.dim() == 2:
                part = part.unsqueeze(1)
            if isinstance(x, PackedSequence) and x.sorted_indices is not None:
                part = part.index_select(1, x.sorted_indices)
            if not bool(torch.isfinite(part).all()):
                raise FadeoutError(
                    "time_profile: the gradient arriving at the final state is not finite; "
                    "look for its origin on the loss side"
                )
        found.append(part)
    return found[0], found[1]


def _walk(
    module: nn.RNNBase,
    layers: list[list[Side]],
    drops: list[Tensor | None],
    seeds: Seeds,
    states: tuple[Tensor | None, Tensor | None] | None,
    layout: Layout,
    path: str,
) -> tuple[Walked, ...]:
    """Layers from the top down; each leaves the stream that enters the layer below."""
    ways, found = len(layers[0]), []
    below: Stream | None = None
    for layer in range(len(layers) - 1, -1, -1):
        coming, below = below, None
        if coming is not None and drops[layer] is not None:
            coming.value.mul_(drops[layer].unsqueeze(1))  # type: ignore[union-attr]
        width = layers[layer][0].h.shape[-1]
        for way, side in enumerate(layers[layer]):
            n = layer * ways + way
            enters = Entry(
                seeds,
                way,
                None if coming is None else coming.value[..., way * width : (way + 1) * width],
                None if coming is None else coming.exponent,
                layout,
                None if states is None or states[0] is None else states[0][n],
                None if states is None or states[1] is None else states[1][n],
            )
            sink = None
            if layer:
                shape = (layout.steps, seeds.columns, layout.batch, side.w.w_ih.shape[1])
                sink = Stream(side.x.new_empty(shape), side.x.new_zeros(shape[:3], dtype=torch.float64))
            rows = walk_back(side, enters, seeds.single[way], sink, top=coming is None)
            found.append(_profile(module, path, layer, way, rows, seeds, layout))
            if sink is not None:
                below = merged(below, sink, layout, turned=bool(way))
            side.output = side.output[:0]  # its states are not needed below
    order = sorted(found, key=lambda p: (p.layer, p.direction))
    return tuple(order)


def _profile(
    module: nn.RNNBase,
    path: str,
    layer: int,
    way: int,
    rows: Rows,
    seeds: Seeds,
    layout: Layout,
) -> Walked:
    """Rows over positions to a record over lags."""
    steps, lengths = layout.steps, torch.tensor(layout.lengths, device="cpu")
    norm, shares, parts, openness, slope = _brought(
        [torch.cat(rows.norm), torch.cat(rows.dots), torch.cat(rows.parts), rows.openness, rows.slope]
    )
    lag = torch.arange(steps, device="cpu").unsqueeze(1)
    enough = lag < lengths  # (T, B)
    index = (lengths - 1 - lag).clamp_min(0)

    def lagged(x: Tensor) -> Tensor:  # (T, B) over positions -> over lags
        return torch.where(enough, x.gather(0, index), -math.inf)

    def joint(bits: Tensor) -> Tensor:  # log2 of the root of the sum of squares over sequences
        return torch.logsumexp(bits * (2 * math.log(2.0)), 1) / (2 * math.log(2.0))

    single = lagged(norm[:, seeds.single[way]])
    start = joint(torch.where(enough, single[0].expand_as(single), -math.inf))  # the same sequences at lag 0
    gain = (joint(single) - start) * DECADE
    dead = not bool(start[0].isfinite())
    weight = torch.exp2(2 * (single - joint(single).unsqueeze(1)))  # each sequence's part of |g|^2
    weight = torch.where(weight.isfinite(), weight, 0.0)
    log_gain = [math.nan] * steps if dead else gain.tolist()
    names: list[str] = ["cell", "hidden"] + (["above"] if shares.shape[1] == 3 else [])
    paths = []
    for n, own_name in enumerate(names):
        share = (torch.where(enough, shares[:, n].gather(0, index), 0.0) * weight).sum(1)
        share = torch.where(joint(single).isfinite(), share, math.nan)
        own = (joint(lagged(parts[:, n])) - start) * DECADE
        paths.append(TimePath(name=own_name, log_gain=tuple(own.tolist()), share=tuple(share.tolist())))  # type: ignore[arg-type]
    horizon = None if dead else one_decade(log_gain)
    log_norm: tuple[float, ...] = ()
    if seeds.whole is not None:
        log_norm = tuple((joint(lagged(norm[:, seeds.whole])) * DECADE).tolist())
    total = float(lengths.sum())
    gates = tuple(
        GateState(name=gate, openness=o / total if gate in SIGMOIDS else math.nan, slope=s / total)
        for gate, o, s in zip(GATES[module.mode], openness.tolist(), slope.tolist(), strict=True)
    )
    return Walked(
        path=path,
        layer=layer,
        direction="reverse" if way else "forward",
        steps=steps,
        source="none" if dead else seeds.sources[way],
        log_norm=log_norm,
        log_gain=tuple(log_gain),
        horizon=horizon,
        reach=math.nan if dead else 1.0 if horizon is None else min(1.0, horizon / steps),
        paths=tuple(paths),
        gates=gates,
    )


def _brought(parts: Sequence[Tensor | float]) -> list[Tensor]:
    """The same on the host, in float64, with one transfer."""
    given = [torch.as_tensor(part, device="cpu") for part in parts]
    flat = torch.cat([part.reshape(-1).double() for part in given]).cpu()
    pieces = torch.split(flat, [part.numel() for part in given])
    return [piece.view(part.shape) for piece, part in zip(pieces, given, strict=True)]


def one_decade(log_gain: Sequence[float]) -> float | None:
    """Lag at which a curve of decades has first fallen by one, interpolated linearly in decades.

    Returns:
        Steps back; where the curve falls to exactly nothing, the lag at which it is gone; None if
        it never loses a decade.
    """
    for lag, now in enumerate(log_gain):
        if now - log_gain[0] <= -1.0:
            before = log_gain[lag - 1] - log_gain[0]
            return float(lag) if math.isinf(now) else lag - 1 + (before + 1.0) / (before - now + log_gain[0])
    return None
