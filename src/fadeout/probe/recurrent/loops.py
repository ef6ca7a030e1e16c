"""Loops: hand-written recurrences, seen as one module or one line that runs again and again on new data.

The first pass counts calls and keeps the gradient of the last one's result.  Only where a loop
was found does a second forward run, and one backward from the last step's result alone: its
gradients at the earlier results are the profile.
"""

import math
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from fadeout.call.batch import Closure, tensors
from fadeout.call.guard import Guard
from fadeout.call.modes import autocast_of
from fadeout.call.subject import Subject
from fadeout.errors import FadeoutError
from fadeout.probe.account.norms import norm, read
from fadeout.probe.account.passes import Observer
from fadeout.probe.account.tape import Watcher
from fadeout.probe.graph.cuts import node_of
from fadeout.probe.graph.graph import Graph
from fadeout.probe.graph.lines import line_of
from fadeout.probe.graph.names import Names
from fadeout.probe.recurrent.spectrum import step_spectra
from fadeout.probe.recurrent.through_time import one_decade, time_profile
from fadeout.probe.recurrent.unrolled import State
from fadeout.probe.recurrent.watch import as_record
from fadeout.records import Cut, TimeProfile

LEAST = 8  # uses of one weight in one pass from which they are time
MOST = 4  # loops that are profiled
SEED = 2.0**40  # exact, and taken off again: a fade of 50 decades stays inside float32
_APPLIES = frozenset("linear matmul mm addmm bmm einsum __matmul__ __rmatmul__ mv addmv bilinear".split())
_CELLS = (nn.RNNCell, nn.LSTMCell, nn.GRUCell)


@dataclass(slots=True)
class _Uses:
    """Calls of one module, or of one line of code.

    Attributes:
        last: The autograd nodes of the last two results.
        memory: Storages of the result before the last one: a detached state still lies there.
        severed: The last call read that result without its graph.
        gradient: What arrived at the results of the last call, by their place among them.
    """

    path: str
    calls: int = 0
    last: list[list[Node]] = field(default_factory=list)
    memory: set[int] = field(default_factory=set)
    severed: bool = False
    gradient: dict[int, Tensor] = field(default_factory=dict)


class Loops(Observer):
    """Counts calls of modules and lines, and finds those that are steps in time."""

    def __init__(self) -> None:
        self.uses: dict[Hashable, _Uses] = {}
        self.found: list[tuple[Hashable, _Uses]] = []
        self._names: Names | None = None

    def forward(self, names: Names) -> None:
        self._names = names
        self.uses = {}
        names.listen(self, calls=_APPLIES, leaves=True)

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        """An operation with weights ran at a line of the user's code."""
        if node is None or function not in _APPLIES:
            return
        assert self._names is not None
        origin = self._names.of.get(node)
        if origin is not None and origin[3] is not None:
            self._count((path, id(origin[3]), origin[4]), path or line_of(origin[3], origin[4]), (), [out])

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """A module returned; steps of a recurrence return states, (N, D) each."""
        if not isinstance(module, nn.RNNBase) and torch.is_grad_enabled():
            self._count(id(module), path, args, [t for t in tensors(out) if node_of(t) is not None])

    def _count(self, key: Hashable, path: str, args: tuple[Any, ...], results: list[Tensor]) -> None:
        uses = self.uses.get(key)
        if uses is None:
            uses = self.uses[key] = _Uses(path)
        number = uses.calls = uses.calls + 1
        if number < LEAST - 1 or not results:
            return
        uses.severed = any(not t.requires_grad and t.data_ptr() in uses.memory for t in tensors(args))
        uses.memory = {t.data_ptr() for t in results}
        uses.last = [*uses.last[-1:], [node for t in results if (node := node_of(t)) is not None]]
        for place, tensor in enumerate(results):
            if not tensor.requires_grad:
                continue

            def keep(g: Tensor | None, place: int = place, number: int = number, uses: _Uses = uses) -> None:
                if number == uses.calls and g is not None:
                    uses.gradient[place] = g.detach()

            tensor.register_hook(keep)  # type: ignore[no-untyped-call]

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        """Between forward and backward: which of them are steps in time, the outermost first."""
        root = "" if self._names is None else self._names.path_of(self._names.watched)
        often = [(key, uses) for key, uses in self.uses.items() if uses.calls >= LEAST and len(uses.last) == 2]
        modules = [(k, u) for k, u in often if isinstance(k, int) and u.path != root]
        outer = [
            (k, u) for k, u in modules if not any(u.path.startswith(f"{v.path}.") for _, v in modules if v is not u)
        ]
        index = {node: i for i, node in enumerate(graph.nodes)}
        self.found = [(k, u) for k, u in outer if _is_time(graph, index, u)]
        covered = [u.path for _, u in self.found]
        for key, uses in often:
            inside = any(uses.path == path or uses.path.startswith(f"{path}.") for path in covered)
            if not isinstance(key, int) and not inside and _is_time(graph, index, uses):
                self.found.append((key, uses))
        self.found = self.found[:MOST]
        chosen = {key for key, _ in self.found}
        self.uses = {key: uses for key, uses in self.uses.items() if key in chosen}
        for uses in self.uses.values():
            uses.last.clear()
        self._names = None
        return {}


def _is_time(graph: Graph, index: dict[Node, int], uses: _Uses) -> bool:
    """Whether the last call reads the one before it, and new data besides.

    A weight-tied stack of layers reads its own result again, and nothing new.
    """
    before = {i for node in uses.last[0] if (i := _place(node, index)) is not None}
    waiting = [i for node in uses.last[1] if (i := _place(node, index)) is not None and i not in before]
    seen, chained, fresh = set(waiting), False, False
    ends = {i for i, _ in graph.ends}
    while waiting and not (chained and fresh):
        i = waiting.pop()
        fresh = fresh or i in ends
        for _, j, _ in graph.edges[i]:
            if j in before:
                chained = True
            elif j not in seen:
                seen.add(j)
                waiting.append(j)
    return fresh and (chained or uses.severed)


def _place(node: Node | None, index: dict[Node, int]) -> int | None:
    """Where a result stands in the graph, through what only changes its shape."""
    for _ in range(6):
        if node is None:
            return None
        if (i := index.get(node)) is not None:
            return i
        below = [n for n, _ in node.next_functions if n is not None and not n.name().endswith("AccumulateGrad")]
        node = below[0] if below else None
    return None


class _Again:
    """Keeps the results, and for torch's cells the arguments, of every step of the loops."""

    def __init__(self, names: Names, wanted: set[Hashable]) -> None:
        self.names = names
        self.wanted = wanted
        self.results: dict[Hashable, list[list[Tensor]]] = {key: [] for key in wanted}
        self.arguments: dict[Hashable, list[tuple[Any, ...]]] = {key: [] for key in wanted}
        self.cells: dict[Hashable, nn.Module] = {}
        self.detached: dict[Hashable, list[tuple[int, str]]] = {key: [] for key in wanted}

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        if function in ("detach", "detach_"):
            line = line_of(*self.names.let_go)
            for key, steps in self.results.items():
                self.detached[key].append((len(steps), line))
        elif node is not None and function in _APPLIES:
            origin = self.names.of.get(node)
            if origin is not None:
                key = (path, id(origin[3]), origin[4])
                if key in self.wanted:
                    self.results[key].append([out])

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        key = id(module)
        if key in self.wanted and torch.is_grad_enabled():
            self.results[key].append([t for t in tensors(out) if node_of(t) is not None])
            if isinstance(module, _CELLS):
                self.cells[key] = module
                self.arguments[key].append(args)


def loop_profiles(
    loops: Loops,
    about: Subject,
    call: Closure,
    guard: Guard,
    *,
    autocast: torch.dtype | bool | None = None,
) -> list[TimeProfile]:
    """The time profile of every hand-written loop that the first pass found.

    One forward, and one backward a loop from the last step's result: with the gradient that the
    loss sent there, or with noise where it sent none.  Where a loop is a plain chain of one of
    torch's cells, the paths, the gates and the Jacobian of a step come from its exact twin.
    """
    names = Names(about.model, guard, watched=about.watched, modules=about.modules)
    again = _Again(names, {key for key, _ in loops.found})
    names.listen(again, calls=_APPLIES | {"detach", "detach_"}, leaves=True)
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack, names:
        if autocast:
            stack.enter_context(autocast_of(about.model, autocast))
        call.run(about.model)
    found = []
    for key, uses in loops.found:
        steps = again.results[key]
        if len(steps) < LEAST:
            continue
        seeds = _own([uses.gradient.get(place) for place in range(len(steps[-1]))], steps[-1])
        profile = _backward(steps, seeds, uses.path, again.detached[key])
        if key in again.cells:
            profile = _with_twin(profile, again.cells[key], again.arguments[key], steps, seeds)
        found.append(profile)
    return found


def _own(gradients: Sequence[Tensor | None], results: Sequence[Tensor]) -> list[Tensor | None]:
    """What the loss sends to each of the last results itself: to an LSTM's cell without what comes through h.

    h = o tanh(c) is made from c, so autograd's gradient of c has h's in it.
    """
    own = list(gradients)
    for one, other in ((0, 1), (1, 0)) if len(results) == 2 else ():
        g = gradients[one]
        if g is None or own[other] is None:
            continue
        (through,) = torch.autograd.grad(
            results[one], [results[other]], g.to(results[one].dtype), retain_graph=True, allow_unused=True
        )
        if through is not None:
            own[other] = own[other] - through  # type: ignore[operator]
    return own


def _backward(
    steps: list[list[Tensor]], seeds: list[Tensor | None], path: str, detached: list[tuple[int, str]]
) -> TimeProfile:
    last = steps[-1]
    by_noise = all(g is None or not bool(g.any()) for g in seeds)
    if by_noise:
        draw = torch.Generator().manual_seed(0)
        seeds = [torch.randn(t.shape, generator=draw).to(t) for t in last]
    pairs = [(t, g) for t, g in zip(last, seeds, strict=True) if g is not None and g.shape == t.shape]
    flat = [t for step in steps for t in step]
    seed = 1.0 if any(t.dtype is torch.float16 for t in flat) else SEED  # which float16 can't hold
    given = torch.autograd.grad(
        [t for t, _ in pairs],
        flat,
        [g.to(t.dtype) * seed for t, g in pairs],
        retain_graph=True,
        allow_unused=True,
    )
    nothing = torch.zeros((), dtype=torch.float64)
    lengths = iter(read([norm(g, exact=True) if g is not None else nothing for g in given]))
    *joint, start = [math.hypot(*(next(lengths) for _ in step)) for step in steps]
    arrived = iter(given)
    reached = [sum(next(arrived) is not None for _ in step) > 0 for step in steps]  # any() would stop early
    gains = (0.0, *(math.log10(v / start) if v > 0 and start > 0 else -math.inf for v in reversed(joint)))
    horizon = one_decade(gains)
    return TimeProfile(
        path=path,
        horizon=math.inf if horizon is None else horizon,
        steps=len(steps),
        log_gain=gains,
        paths=(),
        gates=(),
        source="noise" if by_noise else "loss",
        gate_horizon=None,
        cut=_cut(reached, detached),
    )


def _cut(reached: list[bool], detached: list[tuple[int, str]]) -> Cut | None:
    """The first step that the graph still reaches from the last one, if the steps before it are not reached."""
    if all(reached):
        return None
    first = next((i for i, yes in enumerate(reached) if yes), len(reached))
    lines = [line for calls, line in detached if calls == first]
    return Cut(step=first, op="detach" if lines else "", line=lines[-1] if lines else "")


def _with_twin(
    profile: TimeProfile,
    cell: nn.Module,
    arguments: list[tuple[Any, ...]],
    steps: list[list[Tensor]],
    seeds: list[Tensor | None],
) -> TimeProfile:
    """The profile with what torch's fused layer of the same weights says; unchanged if the loop is no plain chain."""
    assert isinstance(cell, _CELLS)
    start = profile.cut.step if profile.cut is not None else 0  # what lies before a cut is another sequence
    arguments, steps = arguments[start:], steps[start:]
    states = [a[1] if len(a) > 1 else None for a in arguments]
    for state, step in zip(states[1:], steps[:-1], strict=True):
        given = list(tensors(state))
        if len(given) != len(step) or any(a is not b for a, b in zip(given, step, strict=True)):
            return profile  # something happens to the state between two steps
    layer, x, hx = _as_layer(cell, [a[0] for a in arguments], states[0])
    arrived = [None if g is None else g.unsqueeze(0) for g in seeds]
    known = any(g is not None for g in arrived)
    both: Any = (arrived[0], arrived[1]) if isinstance(cell, nn.LSTMCell) else arrived[0]
    try:
        walked = time_profile(layer, x, hx, state_gradient=both if known else None)[0]
    except (FadeoutError, ValueError, TypeError):  # not finite somewhere along time: the trace alone speaks
        return profile
    exact = as_record(walked, "", None, step_spectra(layer, x, hx))
    return replace(
        exact,
        path=profile.path,
        source=profile.source,
        steps=profile.steps,
        horizon=profile.horizon if start else exact.horizon,
        log_gain=exact.log_gain + (-math.inf,) * start,
        paths=tuple((name, shares + (math.nan,) * start) for name, shares in exact.paths),
        early=exact.early if not start else math.nan,
        cut=profile.cut,
    )


def _as_layer(cell: Any, inputs: list[Tensor], state: Any) -> tuple[nn.RNNBase, Tensor, State | None]:
    kinds = {nn.RNNCell: nn.RNN, nn.LSTMCell: nn.LSTM, nn.GRUCell: nn.GRU}
    options = {"nonlinearity": cell.nonlinearity} if isinstance(cell, nn.RNNCell) else {}
    layer: nn.RNNBase = kinds[next(k for k in kinds if isinstance(cell, k))](
        cell.input_size, cell.hidden_size, bias=cell.bias, device="meta", **options
    )
    for name in ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if cell.bias else ())):
        setattr(layer, f"{name}_l0", nn.Parameter(getattr(cell, name).detach(), requires_grad=False))
    x = torch.stack([i.detach() for i in inputs])
    first = [t.detach().unsqueeze(0) for t in tensors(state)]
    hx: Any = None if not first else tuple(first) if isinstance(cell, nn.LSTMCell) else first[0]
    return layer, x, hx
