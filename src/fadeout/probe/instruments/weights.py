"""What the parameters of a pass say: sizes, gradients, the next update, and what is degenerate in them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.call import privates
from fadeout.probe.account.norms import lengths, read, stride
from fadeout.probe.account.passes import Pass
from fadeout.probe.account.ranges import SAFE_HIGH, SAFE_LOW
from fadeout.probe.graph.paths import readable_path
from fadeout.probe.instruments.instrument import Held, Instrument, Observed
from fadeout.probe.instruments.updates import ask_updates
from fadeout.probe.later import Later, tally

SAMPLE = 1024  # gradient values of a matrix that are held against eps
FAR = 0.5  # mean of a bias that is worth keeping
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
    notes: list[str]
    broken: set[int]
    held: set[int] | None = None  # ids of the parameters that the optimizer holds; None without one

    def unheld(self, parameter: Tensor) -> bool:
        """There is an optimizer, and it does not hold the parameter."""
        return self.held is not None and id(parameter) not in self.held


class Parameters(Instrument):
    """What the parameters of the first pass say, as `read`."""

    def measure(self, held: Held) -> None:
        self.read = weights_of(held.first, held.question.optimizer)
        self.notes = self.read.notes

    def fields(self, seen: Observed) -> dict[str, Any]:
        read, parameters = self.read, seen.first.parameters
        zero = [(n, p) for n, p in parameters if read.gradient.get(id(p)) == 0.0]
        return {
            "zero_weights": zero_weights(seen, read),
            "zero_gradients": tuple(n for n, _ in zero),
            "biases": biases(parameters),
            "silent": tuple(n for n, p in zero if id(p) not in read.missing and p.numel()),
        }


@torch.no_grad()
def biases(parameters: list[tuple[str, nn.Parameter]]) -> tuple[tuple[str, float], ...]:
    """(layer, mean bias) where a layer's bias is pushed far to one side."""
    able = [
        (readable_path(name.rpartition(".")[0]), p)
        for name, p in parameters
        if name.rpartition(".")[2] == "bias" and p.dim() == 1 and p.numel() > 1 and p.layout == torch.strided
    ]
    means = read([p.mean().double() for _, p in able])
    return tuple((path, mean) for (path, _), mean in zip(able, means, strict=True) if abs(mean) > FAR)


def weights_of(first: Pass, optimizer: Optimizer | None) -> Weights:
    """Everything about the parameters, read while the gradients of a pass are there: two synchronisations."""
    gradients = first.gradients
    keys = [id(p) for _, p in first.parameters]
    given = [(id(p), g) for _, p in first.parameters if (g := gradients[id(p)]) is not None]
    later = Later()
    sizes = later.ask(lengths([p.detach() for _, p in first.parameters]))
    reached = later.ask(lengths([g for _, g in given]))
    next_step = None
    if optimizer is not None:
        matrices = [(p, gradients[id(p)]) for _, p in first.parameters if p.dim() >= 2]
        next_step = ask_updates(optimizer, matrices, later)
    faint = _ask_faint(optimizer, first, gradients, later)
    alike = _ask_alike(first.parameters, later)
    size = dict(zip(keys, sizes.values, strict=True))
    length = dict.fromkeys(keys, 0.0) | dict(zip((key for key, _ in given), reached.values, strict=True))
    # squares leave float32 there
    again = [(key, g) for key, g in given if not SAFE_LOW <= length[key] <= SAFE_HIGH]
    length |= dict(zip((key for key, _ in again), read(lengths([g for _, g in again], exact=True)), strict=True))
    wild = [(key, g) for key, g in again if not math.isfinite(length[key])]
    bad = {key for (key, _), sound in zip(wild, read([_sound(g) for _, g in wild]), strict=True) if not sound}
    ratios, why = next_step.ratios(size) if next_step is not None else ({}, "")
    return Weights(
        faint=faint(),
        equal=alike(),
        size=size,
        gradient=length,
        ratio=ratios,
        missing={id(p) for _, p in first.parameters if gradients[id(p)] is None},
        notes=[f"update ratios are incomplete: {why}"] if why else [],
        broken=bad,
        held=None if optimizer is None else {id(p) for group in optimizer.param_groups for p in group["params"]},
    )


def _ask_faint(
    optimizer: Optimizer | None, first: Pass, gradients: dict[int, Tensor | None], later: Later
) -> Callable[[], dict[int, float]]:
    """Ask what share of each matrix's gradient lies below ten times the optimizer's eps, where Adam loses strength."""
    if optimizer is None or "Adam" not in type(optimizer).__name__:
        return dict
    eps = {id(p): group.get("eps") for group in optimizer.param_groups for p in group["params"]}
    parts: list[Tensor] = []
    bounds: list[float] = []
    keys: list[int] = []
    for _, p in first.parameters:
        gradient, bound = gradients[id(p)], eps.get(id(p))
        if not isinstance(bound, float) or p.dim() < 2 or not p.numel():  # Adafactor has two of them
            continue
        if gradient is None or gradient.layout != torch.strided:
            continue
        flat = gradient.detach().reshape(-1)
        every = stride(flat.numel(), SAMPLE)
        parts.append(flat[::every] if every > 1 else flat)
        bounds.append(10 * float(bound))
        keys.append(id(p))
    if not parts:
        return dict
    counts = [part.numel() for part in parts]
    values = torch.cat(parts).abs()
    given = values != 0  # a zero is no faint gradient
    if len(set(bounds)) == 1:
        limit: Tensor | float = bounds[0]
    else:
        spread = torch.repeat_interleave(
            torch.tensor(bounds, dtype=values.dtype, device="cpu"), torch.tensor(counts, device="cpu")
        )
        limit = spread.to(values.device, non_blocking=True)
    answer = later.ask([tally([given, (values < limit) & given], counts)])

    def found() -> dict[int, float]:
        pairs = zip(answer.values[: len(keys)], answer.values[len(keys) :], strict=True)
        return {
            key: below / nonzero if nonzero else math.nan for key, (nonzero, below) in zip(keys, pairs, strict=True)
        }

    return found


def _ask_alike(parameters: list[tuple[str, nn.Parameter]], later: Later) -> Callable[[], set[int]]:
    """Ask which matrices' rows are all alike: units that nothing tells apart.  Two rows decide for nearly all."""
    able = [
        p
        for _, p in parameters
        if p.dim() >= 2 and p.shape[0] >= 2 and p.layout == torch.strided and p.numel() and p.is_floating_point()
    ]
    if not able:
        return set
    several, keys = [p.detach() for p in able], [id(p) for p in able]
    first = [p.select(0, 0) for p in several]
    apart = privates.differences(first, [p.select(0, 1) for p in several])
    answer = later.ask(lengths([*apart, *first]))

    def found() -> set[int]:
        differ, size = answer.values[: len(several)], answer.values[len(several) :]
        left = [n for n in range(len(several)) if differ[n] <= 10 * EQUAL * size[n] * math.sqrt(several[n][0].numel())]
        flags = read([rows_alike(several[n]) for n in left])
        return {keys[n] for n, alike in zip(left, flags, strict=True) if alike}

    return found


def _sound(gradient: Tensor) -> Tensor:
    """1 where every element is finite: a norm overflows before its elements do."""
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return torch.isfinite(values).all().double()


def rows_alike(rows: Tensor) -> Tensor:
    """1 where all rows are equal, up to EQUAL of the largest element."""
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
