"""What the parameters of a pass say: sizes, gradients, the next update, and what is degenerate in them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.probe.norms import norm, read
from fadeout.probe.observed import Observed
from fadeout.probe.passes import Pass
from fadeout.probe.precision import Hunt
from fadeout.probe.ranges import SAFE_HIGH, SAFE_LOW
from fadeout.probe.units import SAMPLE
from fadeout.probe.updates import update_ratios

EQUAL = 1e-6  # of the largest weight, up to which rows are alike


@dataclass(slots=True)
class Weights:
    """What the parameters say, gathered while the pass's gradients are still there."""

    size: dict[int, float]
    gradient: dict[int, float]
    ratio: dict[int, float]
    missing: set[int]
    faint: dict[int, float]
    equal: set[int]
    hunt: Hunt | None
    notes: list[str]
    broken: set[int]
    held: set[int] | None = None  # ids of the parameters that the optimizer holds; None without one

    def unheld(self, parameter: Tensor) -> bool:
        """There is an optimizer, and it does not hold the parameter."""
        return self.held is not None and id(parameter) not in self.held


def weights_of(first: Pass, optimizer: Optimizer | None) -> Weights:
    """Everything about the parameters, read while the gradients of a pass are there."""
    gradients = first.gradients
    keys: list[int] = []
    scalars: list[Tensor] = []
    for _, parameter in first.parameters:
        gradient = gradients[id(parameter)]
        keys.append(id(parameter))
        scalars.append(norm(parameter.detach()).double())
        scalars.append(norm(gradient).double() if gradient is not None else torch.zeros((), dtype=torch.float64))
    values = read(scalars)
    outside = [n for n in range(1, len(values), 2) if not SAFE_LOW <= values[n] <= SAFE_HIGH]  # squares leave float32
    again = [(n, g) for n in outside if (g := gradients[keys[n // 2]]) is not None]
    for (n, _), value in zip(again, read([norm(g, exact=True) for _, g in again]), strict=True):
        values[n] = value
    wild = [(keys[n // 2], g) for n, g in again if not math.isfinite(values[n])]
    bad = {key for (key, _), sound in zip(wild, read([_sound(g) for _, g in wild]), strict=True) if not sound}
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
    faint, equal = _faint(optimizer, first, gradients), _equal(first.parameters)
    return Weights(
        faint=faint,
        equal=equal,
        size=dict(zip(keys, values[::2], strict=True)),
        gradient=dict(zip(keys, values[1::2], strict=True)),
        ratio=ratios,
        missing={id(p) for _, p in first.parameters if gradients[id(p)] is None},
        hunt=None,
        notes=notes,
        broken=bad,
        held=None if optimizer is None else {id(p) for group in optimizer.param_groups for p in group["params"]},
    )


def _faint(optimizer: Optimizer | None, first: Pass, gradients: dict[int, Tensor | None]) -> dict[int, float]:
    """Share of each matrix's gradient below ten times the optimizer's eps, where Adam loses its strength."""
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]} if optimizer else {}
    keys: list[int] = []
    scalars: list[Tensor] = []
    for _, p in first.parameters:
        gradient, eps = gradients[id(p)], groups.get(id(p), {}).get("eps")
        if gradient is None or p.dim() < 2 or eps is None or "Adam" not in type(optimizer).__name__:
            continue
        if gradient.layout != torch.strided or not gradient.numel():
            continue
        part = gradient.detach().reshape(-1)[:: -(-gradient.numel() // SAMPLE)]
        keys.append(id(p))
        given = (part != 0).sum()  # a zero is no faint gradient: a dead unit, a zero-initialised head
        scalars.append(((part.abs() < 10 * eps) & (part != 0)).sum().double() / given)
    return dict(zip(keys, read(scalars), strict=True))


def _equal(parameters: list[tuple[str, nn.Parameter]]) -> set[int]:
    """Matrices whose rows are all alike: units that nothing tells apart.  Two rows decide for nearly all."""
    several = [
        p for _, p in parameters if p.dim() >= 2 and p.shape[0] >= 2 and p.layout == torch.strided and p[0].numel()
    ]
    first = read([_alike(p.detach()[:2]) for p in several])
    left = [p for p, alike in zip(several, first, strict=True) if alike]
    return {id(p) for p, alike in zip(left, read([_alike(p.detach()) for p in left]), strict=True) if alike}


def _sound(gradient: Tensor) -> Tensor:
    """1 where every element is finite: a norm overflows before its elements do."""
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return torch.isfinite(values).all().double()


def _alike(rows: Tensor) -> Tensor:
    rows = rows if rows.dtype in (torch.float32, torch.float64) else rows.float()
    return ((rows - rows[:1]).abs().amax() <= EQUAL * rows.abs().amax()).double()


def zero_weights(seen: Observed, weights: Weights) -> tuple[str, ...]:
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
