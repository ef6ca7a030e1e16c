"""A reading: everything measured in one step - the ledger, and a row for every layer with weights."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.call.batch import Closure, tensors
from fadeout.probe.account.chains import bypassed, chains
from fadeout.probe.account.norms import norm
from fadeout.probe.account.observed import Observed
from fadeout.probe.account.passes import Pass
from fadeout.probe.account.profile import effective_depth, straight_line
from fadeout.probe.graph import kinds
from fadeout.probe.graph.names import readable_path
from fadeout.probe.graph.unregistered import attribute_of
from fadeout.probe.instruments.attention import Attention
from fadeout.probe.instruments.dormancy import Dormancy
from fadeout.probe.instruments.layers import Row, layer_rows
from fadeout.probe.instruments.mixing import Mixing
from fadeout.probe.instruments.precision import Hunt
from fadeout.probe.instruments.reach import reach_map
from fadeout.probe.instruments.sketch import Sketch, Sketcher
from fadeout.probe.instruments.units import STAND_INS, Units
from fadeout.probe.instruments.updates import optimizers_in
from fadeout.probe.instruments.weights import weights_of, zero_weights
from fadeout.probe.recurrent.causes import cause_of
from fadeout.probe.recurrent.loops import Loops, loop_profiles
from fadeout.probe.recurrent.watch import Recurrence
from fadeout.probe.session import Session
from fadeout.records import Ledger, Origin, Reading, Signal, TimeProfile, TokenProfile, Unaccounted

How = Literal["whole", "start", "brief"]
LEAST_USES = 8  # of a weight in one pass from which they are steps in time


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A reading with what it rests on.

    Attributes:
        sketch: For theory; None of a brief reading.
        seen: The measurement.
        notes: For the reader of the exam.
        shown: Of a course: the first probe that showed each sign it was asked to keep one for.
    """

    reading: Reading
    sketch: Sketch | None
    seen: Observed
    notes: list[str]
    shown: Mapping[str, "Shown"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a probe was taken of, kept as it was then.

    Attributes:
        model: A copy of the network with that probe's weights.
        closure: That probe's rows, and the way from them to the scalar.
        around: The context that it was taken in.
    """

    model: nn.Module
    closure: Closure
    around: Callable[[nn.Module], AbstractContextManager[Any]]


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
    how: How = "whole",
) -> Taken:
    """Measure one step.

    Args:
        how: "start" is the first of a course, with what later readings are held against; "brief"
            leaves out what only step 0 is asked for: theory's sketch, the Jacobian of a time step,
            residual streams.
    """
    if optimizer is not None:
        inside = optimizers_in(optimizer)
        if len(inside) != 1:
            raise TypeError(f"{verb}: optimizer= must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
        optimizer = inside[0]
    if optimizer is not None and isinstance(model, nn.Module):
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not held & {id(p) for p in model.parameters()}:
            raise ValueError(f"{verb}: the optimizer holds no parameter of this {type(model).__name__}; pass its own")
    if reach < 0:
        raise ValueError(f"{verb}: reach= counts output positions to sample, >= 0; got {reach}")
    units = Units()
    sketcher = Sketcher()
    attention = Attention()
    recurrence = Recurrence(how)
    loops = Loops()
    mixing = Mixing()
    dormancy = Dormancy()
    time: list[TimeProfile] = []
    maps: list[TokenProfile] = []
    with Session(model, batch, loss=loss, step=step, within=within, autocast=autocast, verb=verb) as session:
        first = session.take(
            *(units, attention, recurrence, loops),
            *((sketcher, mixing) if how != "brief" else ()),
            *((dormancy,) if how != "whole" else ()),
        )
        weights = weights_of(first, optimizer)
        if _not_finite(first) or weights.broken:
            weights.hunt = Hunt(first.parameters)
            session.again(weights.hunt)
            if weights.hunt.origin is None:  # nothing on the way is: the way to one parameter is
                weights.hunt.origin = _broken_at(first, weights.broken)
            recurrence.profiles([])  # which notes the step that is not finite
        else:
            found: list[TimeProfile] = []
            if loops.found:
                session.guard.rewind()
                found = loop_profiles(loops, session.subject, session.closure, session.guard, autocast=autocast)
            time.extend(recurrence.profiles(found))
        if reach:
            session.guard.rewind()
            maps.append(reach_map(session.subject, session.closure, session.guard, positions=reach, verb=verb))
        best = session.widen(first)
        ledger = session.ledger(best, units.influence)
    seen = Observed(first=first, best=best, subject=session.subject, closure=session.closure)
    layers = layer_rows(seen, units, weights, optimizer is not None)
    ran = [layer for layer in layers if layer.ran]
    rows = tuple(layer.row for layer in layers)
    cut_off = tuple(
        Unaccounted(path=row.row.path, op=row.row.kind, why="ran, but no gradient path leads to its weights")
        for row in layers
        if row.detached
    )
    ledger = replace(ledger, unaccounted=(*ledger.unaccounted, *cut_off))
    notes = [*session.subject.notes, *session.closure.notes, *session.notes, *weights.notes, *recurrence.notes]
    if units.checkpointed:
        notes.append("checkpointed activations: slopes not measured, they would run the forward again")
    around = bypassed(seen.best.graph)
    reading = Reading(
        step=0,
        ledger=ledger,
        layers=rows,
        profile=straight_line([w.norm for w in ledger.weights if w.trunk]),
        depth=effective_depth([(layer.row, layer.pace) for layer in ran]),
        on_paper=len(ran),
        detached=tuple(layer.row.path for layer in layers if layer.detached),
        unrecorded=tuple(layer.row.path for layer in layers if layer.unrecorded),
        zero_weights=zero_weights(seen, weights),
        origin=weights.hunt.origin if weights.hunt is not None else None,
        loss=seen.first.loss,
        optimizer=type(optimizer).__name__ if optimizer is not None else "",
        time=tuple(replace(row, cause=cause_of(row, ledger), early=_early(row, ledger)) for row in time),
        tokens=(*maps, *(_with_block(row, ledger) for row in attention.profiles())),
        streams=mixing.streams(),
        chains=chains(seen.best.graph, seen.best.tape, around),
        bypassed=around,
        equal_units=_equal_units(layers, ledger),
        signal=_signal(seen, units, batch),
        dtype=_dtype(seen, autocast),
        norms=_norms(seen),
        live=tuple((s.path, s.live) for s in units.slopes.values() if s.owner.lower() in STAND_INS),
        zero_gradients=tuple(n for n, p in seen.first.parameters if weights.gradient.get(id(p)) == 0.0),
        silent=tuple(
            n
            for n, p in seen.first.parameters
            if weights.gradient.get(id(p)) == 0.0 and id(p) not in weights.missing and p.numel()
        ),
        unheld=tuple(layer.row.path for layer in layers if layer.unheld),
        unregistered=_unregistered(first, optimizer),
        dormant=dormancy.dormant(),
        rank=dormancy.rank(),
        gaps=seen.first.graph.gaps,
    )
    return Taken(reading=reading, sketch=sketcher.sketch, seen=seen, notes=notes)


def _broken_at(first: Pass, broken: set[int]) -> Origin | None:
    name = next((name for name, p in first.parameters if id(p) in broken), "")
    path, _, own = name.rpartition(".")
    return Origin(path=readable_path(path), op=f"gradient of {own}", line="", where="backward") if name else None


def _unregistered(first: Pass, optimizer: Optimizer | None) -> tuple[str, ...]:
    """Trainable layers that ran inside the model though it does not know them; not those the optimizer holds."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]} if optimizer is not None else set()
    layers = [
        first.names.path_of(module)
        for module in first.names.unregistered.values()
        if any(p.requires_grad and id(p) not in held for p in module.parameters(recurse=False))
    ]
    known = {id(p) for p in first.names.model.parameters()} | held | first.names.given
    known |= {id(p) for module in first.names.unregistered.values() for p in module.parameters()}
    loose = [leaf for leaf in first.graph.variables if id(leaf) not in known]
    for path, module in first.names.model.named_modules() if loose else ():
        layers += [".".join(filter(None, (path, name))) for leaf in loose if (name := attribute_of(module, leaf))]
    return tuple(dict.fromkeys(layers))


def _norms(seen: Observed) -> tuple[tuple[str, str], ...]:
    """Batch norms whose statistics mean nothing."""
    found = []
    for path, module in seen.subject.modules:
        if not isinstance(module, nn.modules.batchnorm._BatchNorm) or id(module) not in seen.first.names.ran:
            continue
        counted = module.num_batches_tracked
        if module.training and seen.closure.samples == 1:
            found.append((readable_path(path), "normalises a batch of one by itself"))
        elif not module.training and counted is not None and int(counted) == 0:
            found.append((readable_path(path), "evaluates with running statistics that were never taken"))
    return tuple(found)


def _dtype(seen: Observed, autocast: torch.dtype | bool | None) -> str:
    """The narrowest format that gradients pass through."""
    kind = autocast if isinstance(autocast, torch.dtype) else seen.first.parameters[0][1].dtype
    return str(kind).removeprefix("torch.")


def _equal_units(layers: list[Row], ledger: Ledger) -> tuple[str, ...]:
    """Hidden layers whose units all start alike; the last ones may (a zero head is healthy)."""
    last = {w.path for w in ledger.weights if w.last}
    return tuple(row.row.path for row in layers if row.equal and row.row.trained and row.row.path not in last)


def _with_block(row: TokenProfile, ledger: Ledger) -> TokenProfile:
    """An attention with the share of the residual addition that follows it."""
    blocks = ledger.blocks.blocks if ledger.blocks is not None else ()
    near = [b for b in blocks if row.path == b.path or row.path.startswith(f"{b.path}.") or not b.path]
    if not near:
        return row
    deepest = max(len(b.path) for b in near)
    block = next(b for b in near if len(b.path) == deepest)  # data side first: attention before the MLP
    return replace(row, branch_share=block.share, influence=block.influence)


def _early(row: TimeProfile, ledger: Ledger) -> float:
    """`early` of a loop: from the uses of its weights, the first ones first."""
    if not math.isnan(row.early) or not row.steps:
        return row.early
    uses: dict[str, list[float]] = {}
    for w in ledger.weights:
        if w.path == row.path or w.path.startswith(f"{row.path}.") or not row.path:
            uses.setdefault(w.path, []).append(w.norm)
    known = [levels for levels in uses.values() if len(levels) >= LEAST_USES and max(levels) > -math.inf]
    return max((max(levels[: max(1, len(levels) // 10)]) - max(levels) for levels in known), default=math.nan)


def _not_finite(done: Pass) -> bool:
    return (
        not math.isfinite(done.loss)
        or any(not math.isfinite(v) for v in done.tape.arrived.values())
        or any(not math.isfinite(v) for v in done.tape.returned.values())
    )


def _signal(seen: Observed, units: Units, batch: Any) -> Signal:
    """What enters and leaves the network."""
    graph = seen.first.graph
    ends = [j for i, edges in enumerate(graph.edges) if graph.loss_side[i] for _, j, _ in edges]
    outputs = sorted({j for j in ends if not graph.loss_side[j]})
    readers = [kinds.base_name(name) for name, side in zip(graph.names, graph.loss_side, strict=True) if side]
    pair = batch if isinstance(batch, (tuple, list)) and len(batch) == 2 else (batch, None)
    return Signal(
        input=_rms_of(next((t for t in tensors(pair[0]) if t.is_floating_point()), None)),
        output=units.output,
        target=_rms_of(pair[1]) if isinstance(pair[1], Tensor) else math.nan,
        output_op=kinds.base_name(graph.names[outputs[0]]) if outputs else "",
        loss_ops=tuple(dict.fromkeys(reversed(readers))),
    )


def _rms_of(tensor: Tensor | None) -> float:
    """Root mean square; 1 for classes."""
    if tensor is None or not tensor.numel() or tensor.layout != torch.strided:
        return math.nan
    if not tensor.is_floating_point():
        return 1.0
    return float(norm(tensor.detach())) / math.sqrt(tensor.numel())
