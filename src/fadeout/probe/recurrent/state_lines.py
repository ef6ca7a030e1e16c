"""State lines: the time profile of every loop whose state is carried by lines of code, taken inside the first pass."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from fadeout.probe.graph.ends import Slot
from fadeout.probe.graph.lines import line_of
from fadeout.probe.recurrent.carried import Calls, Carried, pairs
from fadeout.probe.recurrent.news import Carry
from fadeout.probe.recurrent.steps import back_from, own, profile
from fadeout.records import Cut, TimeProfile

_CAUSE: dict[Carry, str] = {"gates": "forget gates closed", "decay": "decay"}
_GATE: dict[Carry, str] = {"gates": "keep", "decay": "decay", "gated weights": "gate"}
_ALIKE = 0.01  # relative: by how much the factor of a decay differs between steps


@dataclass(frozen=True, slots=True)
class Traced:
    """A loop's profile, and where the whole loss's gradient arrives at each of its steps."""

    row: TimeProfile
    states: tuple[tuple[Slot, ...], ...]

    def with_early(self, arrived: dict[Slot, float]) -> TimeProfile:
        """The profile with `early`, from the norms that a backward pass wrote down."""
        if self.row.cut is not None:
            return self.row
        levels = [math.hypot(*(arrived.get(slot, 0.0) for slot in step)) for step in self.states]
        first, most = max(levels[: max(1, len(levels) // 10)]), max(levels)
        if not 0 < most < math.inf or not math.isfinite(first):
            return self.row
        return replace(self.row, early=math.log10(first / most) if first > 0 else self._below_the_floor())

    def _below_the_floor(self) -> float:
        """Of the last step's loss, whose way back was measured step by step, where the whole loss's norms underflow."""
        tenth = max(1, len(self.states) // 10)
        gains = [gain for gain in self.row.log_gain[-tenth:] if math.isfinite(gain)]
        known = [gain for gain in self.row.log_gain if math.isfinite(gain)]
        return max(gains) - max(known) if gains and len(self.row.log_gain) == len(self.states) else -math.inf


def trace(calls: Calls, state: Carried, carry: Carry, detached: Sequence[tuple[int, str]]) -> Traced | None:
    """The gradient of the last step's state at every step; None where nothing arrives, or it is a statistic.

    The gradient that the loss sends to the last state is asked for first, then what comes back from there.

    Args:
        detached: When something was detached, and at which line.
    """
    graph = calls.graph
    steps = [[GradientEdge(graph.nodes[i], slot) for i, slot in step] for step in state.states]
    loss = GradientEdge(graph.nodes[0], 0)
    with torch.enable_grad():
        seed = torch.autograd.grad(loss, steps[-1], retain_graph=True, allow_unused=True)
        if all(g is None or g.numel() == 1 or not bool(g.any()) for g in seed):
            return None  # a number; nothing
        gains, _ = back_from(
            steps, own(seed, steps[-1]), half=any(g is not None and g.dtype is torch.float16 for g in seed)
        )
        kept = [] if carry not in _CAUSE or len(steps[0]) > 1 else _kept(steps, seed[0], pairs(state))
    if carry == "decay" and kept and max(kept) - min(kept) > _ALIKE * max(kept) and not _read_elsewhere(calls, state):
        return None  # a mean over the steps so far
    node = state.states[-1][0][0]
    code, instruction = graph.line[node]
    line = line_of(code, instruction)
    row = profile(graph.runner[node] or line, gains)
    missing = state.calls - len(steps)
    mean = sum(kept) / len(kept) if kept else math.nan
    gate = ((_GATE[carry], mean, math.nan),) if carry in _GATE else ()
    row = replace(row, line=line, gates=gate, cause=_CAUSE.get(carry, ""))
    if missing:
        lines = [at for when, at in detached if when <= state.turns[0]]
        cut = Cut(step=missing, op="detach" if lines else "", line=lines[-1] if lines else "")
        gains += (-math.inf,) * missing
        row = replace(profile(row.path, gains), line=line, gates=gate, cause=row.cause, cut=cut)
    return Traced(row, state.states)


def _kept(steps: list[list[GradientEdge]], like: Tensor | None, at: list[int]) -> list[float]:
    """Mean factor by which a step multiplies each element of the state, at some steps.

    The Jacobian of an elementwise step is diagonal: a gradient of ones comes back as its diagonal.
    """
    if like is None:
        return []
    ones, found = torch.ones_like(like), []
    for k in at:
        (back,) = torch.autograd.grad(steps[k], steps[k - 1], ones, retain_graph=True, allow_unused=True)
        if back is None or back.shape != ones.shape:
            return []
        found.append((back.abs() if back.is_complex() else back).double().mean())
    return torch.stack(found).tolist() if found else []


def _read_elsewhere(calls: Calls, state: Carried) -> bool:
    """Whether something besides the loop itself reads the state in its middle."""
    slots = set(state.states[len(state.states) // 2])
    readers = [
        i for t in calls.site for i in calls.nodes[t] if calls.site[t] in state.sites
        for _, j, slot in calls.graph.edges[i] if (j, slot) in slots
    ]  # fmt: skip
    return sum(calls.graph.feeders.get(slot, 0) for slot in slots) > len(readers)
