"""A reading: everything measured in one step - the ledger, and a row for every layer with weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.probe.attention import Attention
from fadeout.probe.batch import Closure
from fadeout.probe.guard import Guard
from fadeout.probe.measure import Observed, observe
from fadeout.probe.names import readable_path
from fadeout.probe.norms import norm, read
from fadeout.probe.passes import SAFE_LOW, Pass, Several, take
from fadeout.probe.precision import Hunt, underflow
from fadeout.probe.profile import effective_depth, straight_line
from fadeout.probe.recurrent.causes import cause_of
from fadeout.probe.recurrent.loops import Loops, loop_profiles
from fadeout.probe.recurrent.watch import Recurrence
from fadeout.probe.sketch import Sketch, Sketcher
from fadeout.probe.streams import Mixing
from fadeout.probe.subject import Subject
from fadeout.probe.tokens import reach_map
from fadeout.probe.units import Slope, Units
from fadeout.probe.updates import update_ratios
from fadeout.records import Layer, Ledger, NotFinite, Reading, TimeProfile, TokenProfile, Unaccounted

FINE = NotFinite()
_LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding, nn.EmbeddingBag, nn.Bilinear, nn.RNNBase, nn.RNNCellBase)


@dataclass(slots=True)
class _Weights:
    """What the parameters say, gathered while the pass's gradients are still there."""

    size: dict[int, float]
    gradient: dict[int, float]
    ratio: dict[int, float]
    missing: set[int]
    hunt: Hunt | None
    notes: list[str]


def take_reading(
    model: nn.Module,
    batch: Any,
    *,
    loss: Callable[..., Tensor] | None,
    step: Callable[[nn.Module], Tensor] | None,
    optimizer: Optimizer | None,
    within: str | None,
    autocast: torch.dtype | bool | None,
    reach: int,
    verb: str,
) -> tuple[Reading, Sketch, Observed, list[str]]:
    """Measure one step wholly.

    Returns:
        The reading, a sketch for theory, the measurement both rest on, and notes for the reader.
    """
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"{verb}: optimizer= must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
    if optimizer is not None and isinstance(model, nn.Module):
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not held & {id(p) for p in model.parameters()}:
            raise ValueError(f"{verb}: the optimizer holds no parameter of this {type(model).__name__}; pass its own")
    if reach < 0:
        raise ValueError(f"{verb}: reach= counts output positions to sample, >= 0; got {reach}")
    gathered: list[_Weights] = []
    maps: list[TokenProfile] = []
    units = Units()
    sketcher = Sketcher()
    attention = Attention()
    recurrence = Recurrence()
    loops = Loops()
    mixing = Mixing()
    time: list[TimeProfile] = []

    def finish(first: Pass, guard: Guard, about: Subject, call: Closure) -> None:
        gathered.append(_weights(first, optimizer))
        if _not_finite(first):
            hunt = Hunt(first.parameters)
            guard.rewind()
            take(about, call, guard, verb=verb, autocast=autocast, observer=hunt)
            gathered[0].hunt = hunt
            recurrence.profiles([])  # which notes the step that is not finite
        else:
            found: list[TimeProfile] = []
            if loops.found:
                guard.rewind()
                found = loop_profiles(loops, about, call, guard, autocast=autocast)
            time.extend(recurrence.profiles(found))
        if reach:
            guard.rewind()
            maps.append(reach_map(about, call, guard, positions=reach, verb=verb))

    seen = observe(
        model,
        batch,
        loss=loss,
        step=step,
        within=within,
        autocast=autocast,
        verb=verb,
        observer=Several(units, sketcher, attention, recurrence, loops, mixing),
        influence=units.influence,
        finish=finish,
    )
    weights = gathered[0]
    layers = _layers(seen, units, weights, optimizer is not None)
    ran = [layer for layer in layers if layer.ran]
    rows = tuple(layer.row for layer in layers)
    cut_off = tuple(
        Unaccounted(path=row.row.path, op=row.row.kind, why="ran, but no gradient path leads to its weights")
        for row in layers
        if row.detached
    )
    ledger = replace(seen.ledger, unaccounted=(*seen.ledger.unaccounted, *cut_off))
    notes = [*seen.subject.notes, *seen.closure.notes, *weights.notes, *recurrence.notes]
    if units.checkpointed:
        notes.append("checkpointed activations: slopes not measured, they would run the forward again")
    reading = Reading(
        step=0,
        ledger=ledger,
        layers=rows,
        profile=straight_line([w.norm for w in ledger.weights if w.trunk]),
        depth=effective_depth([(layer.row, layer.pace) for layer in ran]),
        on_paper=len(ran),
        detached=tuple(layer.row.path for layer in layers if layer.detached),
        zero_weights=_zero_weights(seen, weights),
        origin=weights.hunt.origin if weights.hunt is not None else None,
        loss=seen.first.loss,
        optimizer=type(optimizer).__name__ if optimizer is not None else "",
        time=tuple(replace(row, cause=cause_of(row, ledger)) for row in time),
        tokens=(*maps, *(_with_block(row, ledger) for row in attention.profiles())),
        streams=mixing.streams(),
    )
    assert sketcher.sketch is not None
    return reading, sketcher.sketch, seen, notes


def _with_block(row: TokenProfile, ledger: Ledger) -> TokenProfile:
    """An attention with the share of the residual addition that follows it."""
    blocks = ledger.blocks.blocks if ledger.blocks is not None else ()
    near = [b for b in blocks if row.path == b.path or row.path.startswith(f"{b.path}.") or not b.path]
    if not near:
        return row
    deepest = max(len(b.path) for b in near)
    block = next(b for b in near if len(b.path) == deepest)  # data side first: attention before the MLP
    return replace(row, branch_share=block.share, influence=block.influence)


def _not_finite(done: Pass) -> bool:
    return (
        not math.isfinite(done.loss)
        or any(not math.isfinite(v) for v in done.tape.arrived.values())
        or any(not math.isfinite(v) for v in done.tape.returned.values())
    )


def _weights(first: Pass, optimizer: Optimizer | None) -> _Weights:
    gradients = first.gradients
    keys: list[int] = []
    scalars: list[Tensor] = []
    for _, parameter in first.parameters:
        gradient = gradients[id(parameter)]
        keys.append(id(parameter))
        scalars.append(norm(parameter.detach()).double())
        scalars.append(norm(gradient).double() if gradient is not None else torch.zeros((), dtype=torch.float64))
    values = read(scalars)
    small = [n for n in range(1, len(values), 2) if values[n] < SAFE_LOW]  # float32 squares leave float32 there
    again = [(n, g) for n in small if (g := gradients[keys[n // 2]]) is not None]
    for (n, _), value in zip(again, read([norm(g, exact=True) for _, g in again]), strict=True):
        values[n] = value
    ratios: dict[int, float] = {}
    notes: list[str] = []
    if optimizer is not None:
        ratios, why = update_ratios(
            optimizer,
            [(p, gradients[id(p)]) for _, p in first.parameters if p.dim() >= 2],
            sizes=dict(zip(keys, values[::2], strict=True)),
        )
        if why:
            notes.append(f"update ratios are incomplete: {why}")
    return _Weights(
        size=dict(zip(keys, values[::2], strict=True)),
        gradient=dict(zip(keys, values[1::2], strict=True)),
        ratio=ratios,
        missing={id(p) for _, p in first.parameters if gradients[id(p)] is None},
        hunt=None,
        notes=notes,
    )


def _zero_weights(seen: Observed, weights: _Weights) -> tuple[str, ...]:
    """All-zero parameters with a gradient of their own, at which the way to the data ends."""
    graph, tape = seen.best.graph, seen.best.tape
    given = {i for (i, _), length in tape.arrived.items() if length > 0}
    killers = {
        i
        for i in given
        if graph.edges[i]
        and not any(
            tape.sent.get((i, e), 0.0) > 0 or (graph.feeders[(j, k)] == 1 and tape.arrived.get((j, k), 0.0) > 0)
            for e, j, k in graph.edges[i]
        )
    }
    behind = {key for i in killers for key in graph.multiplies.get(i, ())}
    names = {id(p): name for name, p in seen.best.parameters}
    first = {
        id(p): key for (_, p), key in zip(seen.best.parameters, (id(q) for _, q in seen.first.parameters), strict=True)
    }
    return tuple(
        names[key]
        for key in names
        if key in behind and weights.size[first[key]] == 0 and weights.gradient[first[key]] > 0
    )


@dataclass(slots=True)
class _Row:
    row: Layer
    pace: float  # update ratio; without an optimizer |dL/dW| / |W|, that of plain SGD up to its rate
    ran: bool
    detached: bool


def _layers(seen: Observed, units: Units, weights: _Weights, has_optimizer: bool) -> list[_Row]:
    """One row a module with weights, in the order in which they ran."""
    first, best = seen.first, seen.best
    watched = seen.subject.watched
    inside = {id(m) for m in watched.modules()}
    turn: dict[str, int] = {}
    for path, is_matrix, made in zip(first.graph.path, first.graph.matrix, first.graph.turn, strict=True):
        if is_matrix:
            turn[path] = min(made, turn.get(path, made))
    owners: dict[str, tuple[nn.Module, list[Tensor]]] = {}
    by_path = dict(seen.subject.modules)
    for path, module in seen.subject.modules:
        if id(module) in inside and (own := _matrices(module)):
            home = readable_path(path)
            holder = by_path.get(home, module)
            owners[home] = (holder, [*owners.get(home, (holder, []))[1], *own])
    ran = {readable_path(p): first.names.ran[id(m)][3] for p, m in seen.subject.modules if id(m) in first.names.ran}
    scale = best.tape.scale
    arrived: dict[str, float] = {}
    elements: dict[str, int] = {}
    for (i, _), length in best.tape.arrived.items():
        if best.graph.matrix[i]:
            path = best.graph.path[i]
            arrived[path] = math.hypot(arrived.get(path, 0.0), length / scale)
    for i, size in best.tape.sizes.items():
        elements[best.graph.path[i]] = elements.get(best.graph.path[i], 0) + size
    uses: dict[str, list[int]] = {}
    for i in range(len(first.graph.names)):
        if first.graph.matrix[i]:
            uses.setdefault(first.graph.path[i], []).append(i)
    readers = _readers(first, units)
    maxima = [float(m) for m, _ in units.samples.values()]
    largest = max((m for m in maxima if math.isfinite(m)), default=0.0)
    rows: list[_Row] = []
    for path in sorted(owners, key=lambda p: turn.get(p, ran.get(p, len(first.names.of) + 10**9))):
        module, matrices = owners[path]
        nodes = uses.get(path, [])
        trained = any(p.requires_grad for p in matrices)
        detached = (
            not nodes
            and trained
            and path in ran
            and _ran_with_gradients(first, module)
            and all(id(p) in weights.missing for p in module.parameters(recurse=False) if p.requires_grad)
        )
        idle = not nodes and path not in ran and isinstance(module, _LAYERS)
        if not (nodes or detached or idle):
            continue  # a position table, a LayerScale: a parameter, but no layer
        reached = path in arrived
        outputs = [units.seen[i] for i in nodes if i in units.seen]
        if not outputs and path in units.seen_by_path:
            outputs = [units.seen_by_path[path]]
        slope = next((readers[i] for i in nodes if i in readers), None)
        samples = [units.samples[i][1] for i in nodes if i in units.samples]
        rows.append(
            _Row(
                row=Layer(
                    path=path,
                    kind=type(module).__name__,
                    gradient_norm=arrived.get(path, math.nan),
                    gradient_rms=arrived[path] / math.sqrt(elements[path]) if elements.get(path) else math.nan,
                    weight_gradient_norm=math.hypot(*(weights.gradient.get(id(p), 0.0) for p in matrices))
                    if trained
                    else math.nan,
                    activation_rms=_mean([o.rms for o in outputs]),
                    weight_rms=_rms(matrices, weights),
                    mean_slope=slope.mean if slope else math.nan,
                    dead=slope.dead if slope else math.nan,
                    saturated=slope.saturated if slope else math.nan,
                    activation=slope.name if slope else "",
                    gated=slope.gated if slope else False,
                    between_samples=min((o.between for o in outputs), default=math.nan),
                    update_ratio=_ratio(matrices, weights, has_optimizer),
                    underflow=underflow(torch.cat(samples) if samples else None, largest),
                    not_finite=weights.hunt.counts(path) if weights.hunt is not None else FINE,
                    trained=trained,
                    reached=reached,
                ),
                pace=_pace(matrices, weights, has_optimizer),
                ran=bool(nodes) or detached,
                detached=detached,
            )
        )
    return rows


def _ran_with_gradients(first: Pass, module: nn.Module) -> bool:
    found = first.names.ran.get(id(module))
    return found is not None and found[2]


def _matrices(module: nn.Module) -> list[Tensor]:
    return [p for p in module.parameters(recurse=False) if p.dim() >= 2]


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _rms(matrices: list[Tensor], weights: _Weights) -> float:
    known = [(weights.size.get(id(p)), p.numel()) for p in matrices]
    total = math.fsum(size * size for size, _ in known if size is not None)
    count = sum(n for size, n in known if size is not None)
    if count:
        return math.sqrt(total / count)
    sizes = [float(norm(p.detach())) for p in matrices]  # frozen: not among the trained ones
    return math.sqrt(math.fsum(s * s for s in sizes) / max(1, sum(p.numel() for p in matrices)))


def _ratio(matrices: list[Tensor], weights: _Weights, has_optimizer: bool) -> float:
    """The largest update ratio of a layer's matrices; without an optimizer not defined."""
    if not has_optimizer:
        return math.nan
    known = [weights.ratio[id(p)] for p in matrices if id(p) in weights.ratio]
    return max(known, default=math.nan)


def _pace(matrices: list[Tensor], weights: _Weights, has_optimizer: bool) -> float:
    ratio = _ratio(matrices, weights, has_optimizer)
    if not math.isnan(ratio):
        return ratio
    paces = [
        weights.gradient[id(p)] / weights.size[id(p)] if weights.size[id(p)] else math.inf
        for p in matrices
        if weights.gradient.get(id(p), 0.0) > 0
    ]
    return max(paces, default=0.0)


def _readers(first: Pass, units: Units) -> dict[int, Slope]:
    """For each weight operation the activation that reads its output."""
    graph = first.graph
    source: list[int] = [-1] * len(graph.names)
    for i in range(len(graph.names) - 1, -1, -1):
        if graph.matrix[i]:
            source[i] = i
        elif graph.edges[i]:
            source[i] = source[graph.edges[i][0][1]]
    readers: dict[int, Slope] = {}
    for i in sorted(units.slopes):  # the nearest comes last: higher numbers lie towards the data
        for _, j, _ in graph.edges[i][:1]:
            if source[j] >= 0:
                readers[source[j]] = units.slopes[i]
    return readers
