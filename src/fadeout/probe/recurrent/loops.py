"""Loops: hand-written recurrences, seen as one module or one line that runs again and again on new data.

The first pass counts calls of modules and keeps the gradient of the last one's result.  Where the
state is carried by lines of code, its profile is taken at once.  Only where a module was found that
carries it does a second forward run, and one backward from the last step's result alone: its
gradients at the earlier results are the profile.
"""

import math
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from fadeout.call.batch import Closure, tensors
from fadeout.call.guard import Guard
from fadeout.call.modes import autocast_of
from fadeout.call.subject import Subject
from fadeout.errors import FadeoutError
from fadeout.probe.account.passes import Observer
from fadeout.probe.account.tape import Watcher
from fadeout.probe.graph.cuts import node_of
from fadeout.probe.graph.graph import Graph, Site
from fadeout.probe.graph.lines import line_of
from fadeout.probe.graph.names import Names
from fadeout.probe.recurrent.carried import LEAST, Calls, Carried, carried, read_calls, rings_of
from fadeout.probe.recurrent.news import Carry, carry_of, step_between
from fadeout.probe.recurrent.spectrum import step_spectra
from fadeout.probe.recurrent.state_lines import Traced, trace
from fadeout.probe.recurrent.steps import back_from, own, profile
from fadeout.probe.recurrent.through_time import time_profile
from fadeout.probe.recurrent.unrolled import State
from fadeout.probe.recurrent.watch import as_record
from fadeout.records import Cut, TimeProfile

MOST = 4  # loops that are profiled
_CELLS = (nn.RNNCell, nn.LSTMCell, nn.GRUCell)


@dataclass(slots=True)
class _Uses:
    """Calls of one module.

    Attributes:
        last: The autograd nodes of the last three results.
        memory: Storages of the result before the last one: a detached state still lies there.
        severed: The last call read that result without its graph.
        gradient: What arrived at the results of the last call, by their place among them.
    """

    path: str
    kind: type[nn.Module]
    calls: int = 0
    last: list[list[Node]] = field(default_factory=list)
    memory: set[int] = field(default_factory=set)
    severed: bool = False
    gradient: dict[int, Tensor] = field(default_factory=dict)


class Loops(Observer):
    """Counts calls of modules, and finds modules and lines that are steps in time.

    Attributes:
        found: Modules, to be profiled by a second forward.
        traced: Loops carried by lines, profiled already.
    """

    def __init__(self) -> None:
        self.uses: dict[int, _Uses] = {}
        self.found: list[tuple[int, _Uses]] = []
        self.traced: list[Traced] = []
        self._names: Names | None = None
        self._detached: list[tuple[int, str]] = []
        self._spared = False
        self._again = False  # the pass was taken before, and its backward refused
        self.notes: list[str] = []

    def forward(self, names: Names) -> None:
        self._names = names
        self.uses, self._detached = {}, []
        names.listen(self, calls=frozenset({"detach", "detach_"}), leaves=True)

    def leave_saved(self) -> None:
        self._spared = True

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        """Something was detached: perhaps a state."""
        assert self._names is not None
        self._detached.append((len(self._names.of), line_of(*self._names.let_go)))

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """A module returned; steps of a recurrence return states, (N, D) each."""
        if isinstance(module, nn.RNNBase) or not torch.is_grad_enabled():
            return
        uses = self.uses.get(id(module))
        if uses is None:
            uses = self.uses[id(module)] = _Uses(path, type(module))
        number = uses.calls = uses.calls + 1
        results = [t for t in tensors(out) if node_of(t) is not None]
        if number < LEAST - 2 or not results:
            return
        uses.severed = any(not t.requires_grad and t.data_ptr() in uses.memory for t in tensors(args))
        uses.memory = {t.data_ptr() for t in results}
        uses.last = [*uses.last[-2:], [node for t in results if (node := node_of(t)) is not None]]
        for place, tensor in enumerate(results):
            if not tensor.requires_grad:
                continue

            def keep(g: Tensor | None, place: int = place, number: int = number, uses: _Uses = uses) -> None:
                if number == uses.calls and g is not None:
                    uses.gradient[place] = g.detach()

            tensor.register_hook(keep)  # type: ignore[no-untyped-call]

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        """Between forward and backward: which of them are steps in time, the outermost first."""
        assert self._names is not None
        root = self._names.path_of(self._names.watched)
        often = [(k, u) for k, u in self.uses.items() if u.calls >= LEAST and len(u.last) == 3 and u.path != root]
        outer = [(k, u) for k, u in often if not any(u.path.startswith(f"{v.path}.") for _, v in often if v is not u)]
        calls = read_calls(graph)
        rings = rings_of(calls)
        index = {node: i for i, node in enumerate(graph.nodes)} if outer else {}
        places = {
            k: [{i for node in last if (i := _place(node, index)) is not None} for last in u.last] for k, u in outer
        }
        modules = [
            (k, u) for k, u in outer if _is_time(calls, rings, places[k], severed=u.severed, spared=self._spared)
        ]
        self.traced = []
        for state in carried(calls, rings):
            carry = carry_of(calls, state, spared=self._spared)
            if carry is None:
                continue
            inside = [(k, u) for k, u in modules if _within(state, u.path)]
            owner = next((u for k, u in inside if {i for i, _ in state.states[-1]} <= places[k][-1]), None)
            if owner is not None and owner.kind in _CELLS:
                continue  # its results are the states, and it has an exact twin
            row = self._trace(calls, state, carry) if len(self.traced) < MOST else None
            if row is not None:
                modules = [pair for pair in modules if pair not in inside]
                path = row.row.path if owner is None else owner.path
                self.traced.append(replace(row, row=replace(row.row, path=path)))
        self.found = modules[: MOST - len(self.traced)]
        chosen = {key for key, _ in self.found}
        self.uses = {key: uses for key, uses in self.uses.items() if key in chosen}
        for uses in self.uses.values():
            uses.last.clear()
            uses.gradient.clear()  # a trace sends gradients past the same hooks; the loss's own comes after
        self._names, self._again = None, True
        return {}

    def _trace(self, calls: Calls, state: Carried, carry: Carry) -> Traced | None:
        if self._spared or self._again:  # one more backward would read what can be read once only
            self.notes.append(f"a loop of {state.calls:,} steps: no time profile: its backward runs only once")
            return None
        try:
            return trace(calls, state, carry, self._detached)
        except Exception as error:  # the user's hooks and functions run, and not all let autograd.grad through
            self.notes.append(f"a loop of {state.calls:,} steps: no time profile: {error}")
            return None


def _within(state: Carried, path: str) -> bool:
    """Whether some line of a loop runs in a module or its parts."""
    return any(runner == path or runner.startswith(f"{path}.") for runner, _, _ in state.sites)


def _is_time(calls: Calls, rings: list[frozenset[Site]], last: list[set[int]], severed: bool, spared: bool) -> bool:
    """Whether the last call of a module reads the one before it, and data that that one did not read.

    A weight-tied stack of layers reads its own result again, and nothing new; neither does an
    iteration on one and the same input.
    """
    turn, graph = calls.turn, calls.graph
    if severed and not last[1]:  # the graph holds the last step alone
        return bool(last[2]) and bool(step_between(graph, turn, last[2], (), -1, spared=spared).read)
    if not all(last):
        return False
    mine = {site for i in last[2] if (site := calls.site.get(turn[i])) is not None}
    ring = {site for ring in rings if ring & mine for site in ring}

    def own(j: int) -> bool:
        return calls.site.get(turn[j]) in ring

    since = [max(turn[i] for i in nodes) for nodes in last]
    before, now = (
        step_between(graph, turn, last[k], last[k - 1], since[k - 1], own=own, spared=spared) for k in (1, 2)
    )
    return bool(now.read - before.read) and (bool(now.way) or severed)


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

    def __init__(self, names: Names, wanted: set[int]) -> None:
        self.names = names
        self.wanted = wanted
        self.results: dict[int, list[list[Tensor]]] = {key: [] for key in wanted}
        self.arguments: dict[int, list[tuple[Any, ...]]] = {key: [] for key in wanted}
        self.cells: dict[int, nn.Module] = {}
        self.detached: dict[int, list[tuple[int, str]]] = {key: [] for key in wanted}

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        line = line_of(*self.names.let_go)
        for key, steps in self.results.items():
            self.detached[key].append((len(steps), line))

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
    names.listen(again, calls=frozenset({"detach", "detach_"}), leaves=True)
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack, names:
        if autocast:
            stack.enter_context(autocast_of(about.model, autocast))
        call.run(about.model)
    found = []
    for key, uses in loops.found:
        steps = again.results[key]
        if len(steps) < LEAST:
            continue
        seeds = own([_fitting(uses.gradient.get(n), t) for n, t in enumerate(steps[-1])], _edges(steps[-1]))
        row = _backward(steps, seeds, uses.path, again.detached[key])
        if key in again.cells:
            row = _with_twin(row, again.cells[key], again.arguments[key], steps, seeds)
        found.append(row)
    return found


def _backward(
    steps: list[list[Tensor]], seeds: list[Tensor | None], path: str, detached: list[tuple[int, str]]
) -> TimeProfile:
    last = steps[-1]
    by_noise = all(g is None or not bool(g.any()) for g in seeds)
    if by_noise:
        draw = torch.Generator().manual_seed(0)
        seeds = [torch.randn(t.shape, generator=draw, device="cpu").to(t) for t in last]
    half = any(t.dtype is torch.float16 for step in steps for t in step)
    gains, reached = back_from([_edges(step) for step in steps], seeds, half=half)
    return replace(profile(path, gains, by_noise=by_noise), cut=_cut(reached, detached))


def _edges(tensors: list[Tensor]) -> list[GradientEdge]:
    return [get_gradient_edge(t) for t in tensors]


def _fitting(gradient: Tensor | None, result: Tensor) -> Tensor | None:
    """The gradient of the first pass, for the same result of the second."""
    return gradient.to(result.dtype) if gradient is not None and gradient.shape == result.shape else None


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
