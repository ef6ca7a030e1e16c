"""Layers: one row for every module with weights, in the order in which they ran."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call import privates
from fadeout.call.subject import own_parameters
from fadeout.probe.account.norms import lengths, read
from fadeout.probe.account.passes import Pass
from fadeout.probe.account.profile import effective_depth
from fadeout.probe.graph.graph import weight_sources
from fadeout.probe.graph.paths import readable_path
from fadeout.probe.instruments.instrument import Instrument, Observed
from fadeout.probe.instruments.origin import Origins
from fadeout.probe.instruments.precision import Hunt, ask_underflow, underflow
from fadeout.probe.instruments.units import Slope, Units
from fadeout.probe.instruments.weights import Parameters, Weights, rows_alike
from fadeout.probe.later import Later
from fadeout.records import Layer, Ledger, NotFinite, Unaccounted, Underflow

FINE = NotFinite()
_LAYERS = (nn.Linear, privates.Conv, nn.Embedding, nn.EmbeddingBag, nn.Bilinear, nn.RNNBase, nn.RNNCellBase)


@dataclass(slots=True)
class Row:
    """A layer with what only the effective depth and some rules ask of it."""

    row: Layer
    pace: float  # update ratio; without an optimizer |dL/dW| / |W|, that of plain SGD up to its rate
    ran: bool
    detached: bool
    unrecorded: bool
    equal: bool
    unheld: bool


class Layers(Instrument):
    """The rows, and what follows from all of them."""

    def fields(self, seen: Observed) -> dict[str, Any]:
        has_optimizer = seen.held.question.optimizer is not None
        weights, hunt = seen.of(Parameters).read, seen.of(Origins).hunt
        rows = layer_rows(seen, seen.of(Units), weights, hunt, has_optimizer)
        ran = [row for row in rows if row.ran]
        cut_off = tuple(
            Unaccounted(path=row.row.path, op=row.row.kind, why="ran, but no gradient path leads to its weights")
            for row in rows
            if row.detached
        )
        return {
            "ledger": replace(seen.ledger, unaccounted=(*seen.ledger.unaccounted, *cut_off)),
            "layers": tuple(row.row for row in rows),
            "depth": effective_depth([(row.row, row.pace) for row in ran]),
            "on_paper": len(ran),
            "detached": tuple(row.row.path for row in rows if row.detached),
            "unrecorded": tuple(row.row.path for row in rows if row.unrecorded),
            "moves": _moved(seen, rows),
            "unheld": tuple(row.row.path for row in rows if row.unheld),
            "equal_units": _equal_units(rows, seen.ledger),
        }


def layer_rows(seen: Observed, units: Units, weights: Weights, hunt: Hunt | None, has_optimizer: bool) -> list[Row]:
    """One row a module with weights, in the order in which they ran."""
    first, best = seen.first, seen.best
    prefix = seen.subject.prefix
    turn: dict[str, int] = {}
    for path, is_matrix, made in zip(first.graph.path, first.graph.matrix, first.graph.turn, strict=True):
        if is_matrix:
            turn[path] = min(made, turn.get(path, made))
    owners: dict[str, tuple[nn.Module, list[Tensor]]] = {}
    by_path = dict(seen.subject.modules)
    for path, module in seen.subject.modules:
        if _within(path, prefix) and (own := _matrices(module)):
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
    flushed = _underflows(owners, uses, units)
    frozen = _frozen_sizes(owners, weights)
    rows: list[Row] = []
    for path in sorted(owners, key=lambda p: turn.get(p, ran.get(p, len(first.names.of) + 10**9))):
        module, matrices = owners[path]
        nodes = uses.get(path, [])
        trained = any(p.requires_grad for p in matrices)
        detached = (
            not nodes
            and trained
            and path in ran
            and _ran_with_gradients(first, module)
            and all(id(p) in weights.missing for p in own_parameters(module) if p.requires_grad)
        )
        idle = not nodes and path not in ran and isinstance(module, _LAYERS)
        dark = not nodes and trained and path in ran and not _ran_with_gradients(first, module)
        if not (nodes or detached or idle or dark):
            continue  # a position table, a LayerScale: a parameter, but no layer
        reached = path in arrived
        outputs = [units.seen[i] for i in nodes if i in units.seen]
        if not outputs and path in units.seen:
            outputs = [units.seen[path]]
        slope = _of_all_uses([readers[i] for i in nodes if i in readers])
        rows.append(
            Row(
                row=Layer(
                    path=path,
                    kind=type(module).__name__,
                    gradient_norm=arrived.get(path, math.nan),
                    gradient_rms=arrived[path] / math.sqrt(elements[path]) if elements.get(path) else math.nan,
                    weight_gradient_norm=math.hypot(*(weights.gradient.get(id(p), 0.0) for p in matrices))
                    if trained
                    else math.nan,
                    activation_rms=_mean([o.rms for o in outputs]),
                    weight_rms=_rms(matrices, weights, frozen),
                    mean_slope=slope.mean if slope else math.nan,
                    dead=slope.dead if slope else math.nan,
                    saturated=slope.saturated if slope else math.nan,
                    activation=slope.name if slope else "",
                    gated=slope.gated if slope else False,
                    between_samples=min((o.between for o in outputs), default=math.nan),
                    update_ratio=_ratio(matrices, weights, has_optimizer),
                    underflow=_flushed(flushed[path], arrived.get(path, 0.0)),
                    not_finite=hunt.counts(path) if hunt is not None else FINE,
                    trained=trained,
                    reached=reached,
                    units=slope.units if slope else 0,
                    below_eps=max((weights.faint[id(p)] for p in matrices if id(p) in weights.faint), default=math.nan),
                ),
                pace=_pace(matrices, weights, has_optimizer),
                ran=bool(nodes) or detached,
                detached=detached,
                unrecorded=dark,
                equal=_alike(module, matrices, weights),
                unheld=trained and all(weights.unheld(p) for p in matrices if p.requires_grad),
            )
        )
    return rows


def _within(path: str, prefix: str) -> bool:
    return not prefix or path == prefix or path.startswith(f"{prefix}.")


def _ran_with_gradients(first: Pass, module: nn.Module) -> bool:
    found = first.names.ran.get(id(module))
    return found is not None and found[2]


def _matrices(module: nn.Module) -> list[Tensor]:
    return [p for p in own_parameters(module) if p.dim() >= 2]


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _underflows(
    owners: dict[str, tuple[nn.Module, list[Tensor]]], uses: dict[str, list[int]], units: Units
) -> dict[str, Underflow]:
    """What narrower formats flush, by layer."""
    answer = ask_underflow(units.samples, [uses.get(path, []) for path in owners], Later())
    if answer is None:
        return {path: underflow((0.0, 0.0, 0.0)) for path in owners}
    values = answer.values
    return {path: underflow(values[n :: len(owners)]) for n, path in enumerate(owners)}


def _flushed(known: Underflow, arrived: float) -> Underflow:
    """All of it, where a pass of more range found a gradient and float32 itself, whose range bf16 has, left none."""
    return Underflow(fp16=1.0, bf16=1.0) if math.isnan(known.fp16) and 0 < arrived < 1e-30 else known


def _frozen_sizes(owners: dict[str, tuple[nn.Module, list[Tensor]]], weights: Weights) -> dict[int, float]:
    """Norms of the matrices that are not among the trained ones."""
    left = {id(p): p for _, matrices in owners.values() for p in matrices if id(p) not in weights.size}
    return dict(zip(left, read(lengths([p.detach() for p in left.values()])), strict=True))


def _rms(matrices: list[Tensor], weights: Weights, frozen: dict[int, float]) -> float:
    known = [(weights.size.get(id(p)), p.numel()) for p in matrices]
    total = math.fsum(size * size for size, _ in known if size is not None)
    count = sum(n for size, n in known if size is not None)
    if count:
        return math.sqrt(total / count)
    return math.sqrt(
        math.fsum(frozen.get(id(p), 0.0) ** 2 for p in matrices) / max(1, sum(p.numel() for p in matrices))
    )


def _ratio(matrices: list[Tensor], weights: Weights, has_optimizer: bool) -> float:
    """The largest update ratio of a layer's matrices; without an optimizer not defined."""
    if not has_optimizer:
        return math.nan
    known = [weights.ratio[id(p)] for p in matrices if id(p) in weights.ratio]
    return max(known, default=math.nan)


def _pace(matrices: list[Tensor], weights: Weights, has_optimizer: bool) -> float:
    if all(weights.gradient.get(id(p), 0.0) == 0 for p in matrices):
        return 0.0  # weight decay alone is no training
    if all(weights.unheld(p) for p in matrices):
        return 0.0
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
    source = weight_sources(graph)
    readers: dict[int, Slope] = {}
    for i in sorted(units.slopes):  # the nearest comes last: higher numbers lie towards the data
        for _, j, _ in graph.edges[i][:1]:
            if source[j] >= 0:
                readers[source[j]] = units.slopes[i]
    return readers


def _of_all_uses(slopes: list[Slope]) -> Slope | None:
    """One row for a layer that is used several times: a unit is dead only if it is so in every use."""
    if len(slopes) < 2:
        return slopes[0] if slopes else None

    def known(name: str) -> list[float]:
        return [v for v in (float(getattr(slope, name)) for slope in slopes) if not math.isnan(v)]

    return replace(
        slopes[0],
        dead=min(known("dead"), default=math.nan),
        saturated=_mean(known("saturated")),
        mean=_mean(known("mean")),
    )


def _moved(seen: Observed, rows: list[Row]) -> tuple[str, ...]:
    """Layers that the step behind this backward pass is known to move."""
    names = seen.held.question.trains
    homes = {readable_path(name.rpartition(".")[0]) for name in names or ()}
    return tuple(row.row.path for row in rows if row.row.path in homes)


def _alike(module: nn.Module, matrices: list[Tensor], weights: Weights) -> bool:
    """Nothing of a layer's own tells its units apart: all matrices with a row a unit have equal rows.

    Magnitudes of weight norm (one number a unit) are no matrices, and parameters that the optimizer does not hold are
    not what training is stuck in.
    """
    trained = [p for p in matrices if p.requires_grad and not weights.unheld(p) and _row(p) > 1]
    equal = [p for p in trained if id(p) in weights.equal]
    if not equal:
        return False
    units = equal[0].shape[0]
    tensors = (*privates.parameters(module).values(), *privates.buffers(module).values())
    others = [t for t in tensors if t is not None and t.dim() >= 2 and t.shape[0] == units and _row(t) > 1]
    return all(
        id(t) in weights.equal
        or (t.layout == torch.strided and t.is_floating_point() and bool(rows_alike(t.detach()).item()))
        for t in others
    )


def _row(tensor: Tensor) -> int:
    """Elements of a row; 0 where there is none."""
    return tensor.numel() // len(tensor) if len(tensor) else 0


def _equal_units(layers: list[Row], ledger: Ledger) -> tuple[str, ...]:
    """Hidden layers whose units all start alike; the last ones may (a zero head is healthy)."""
    last = {w.path for w in ledger.weights if w.last}
    return tuple(row.row.path for row in layers if row.equal and row.row.trained and row.row.path not in last)
