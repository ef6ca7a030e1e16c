"""The watch on recurrent layers: what entered them, and the gradient that came back to their outputs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fadeout.call.batch import tensors
from fadeout.call.chance import TorchState, set_torch_state, torch_state
from fadeout.errors import FadeoutError
from fadeout.probe.account.passes import Observer
from fadeout.probe.account.tape import Watcher
from fadeout.probe.graph.graph import Graph
from fadeout.probe.graph.lines import line_of
from fadeout.probe.graph.names import Names
from fadeout.probe.recurrent.gates import horizons_of
from fadeout.probe.recurrent.profiles import GateHorizon, Walked
from fadeout.probe.recurrent.spectrum import step_spectra
from fadeout.probe.recurrent.through_time import time_profile
from fadeout.records import Cut, GateSpan, StepSpectrum, TimeProfile

CALLS = 4  # of one module in one pass that are profiled


@dataclass(slots=True)
class _Call:
    module: nn.RNNBase
    path: str
    x: Any
    hx: Any
    random: TorchState | None
    cut: Cut | None = None
    found: dict[str, Tensor] = field(default_factory=dict)


class Recurrence(Observer):
    """Remembers every call of a torch recurrent layer and the gradients of its outputs."""

    def __init__(self, *, brief: bool = False) -> None:
        self.brief = brief  # without the Jacobian of a step
        self.calls: list[_Call] = []
        self.notes: list[str] = []
        self._random: dict[int, TorchState] = {}
        self._names: Names | None = None
        self._states: dict[int, set[int]] = {}  # by module: storages of the states of its last call
        self._let_go: dict[int, str] = {}  # storage of a detached tensor -> source line

    def forward(self, names: Names) -> None:
        self._names = names
        self.calls, self._states, self._let_go = [], {}, {}
        names.listen(self, calls=frozenset({"detach"}), leaves=True)
        if any(isinstance(m, nn.RNNBase) and m.dropout > 0 and m.training for _, m in names.modules):
            names.enterers.append(self._enter)

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        return {}

    def _enter(self, module: nn.Module) -> None:
        if isinstance(module, nn.RNNBase):
            self._random[id(module)] = torch_state()  # so that dropout masks can be drawn again

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Any, path: str) -> None:
        """A state that is detached between two calls cuts the way back."""
        if function == "detach" and self._states and self._names is not None:
            line = line_of(*self._names.let_go)
            if line:  # ours have none
                self._let_go[out.data_ptr()] = line

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """A recurrent layer returned: hold what entered, and wait for the gradients of its outputs."""
        if not isinstance(module, nn.RNNBase) or not args or not torch.is_grad_enabled():
            return
        mine = [call for call in self.calls if call.module is module]
        if len(mine) >= CALLS:  # the last ones count: the loss stands behind them
            self.calls = [call for call in self.calls if call is not mine[0]]
        call = _Call(
            module=module,
            path=path,
            x=_detached(args[0]),
            hx=_detached(args[1]) if len(args) > 1 else None,
            random=self._random.get(id(module)),
            cut=self._cut(module, args[1] if len(args) > 1 else None),
        )
        output, state = out
        states = state if isinstance(state, tuple) else (state,)
        data = output.data if isinstance(output, PackedSequence) else output
        for name, tensor in (("output", data), *zip(("h", "c"), states, strict=False)):
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                tensor.register_hook(_keeping(call, name))  # type: ignore[no-untyped-call]
        self._states[id(module)] = {t.data_ptr() for t in states}
        self.calls.append(call)

    def _cut(self, module: nn.Module, hx: Any) -> Cut | None:
        """The states given are those of the call before, without their graph."""
        before = self._states.get(id(module), set())
        gone = [t.data_ptr() for t in tensors(hx) if not t.requires_grad and t.data_ptr() in before]
        if not gone:
            return None
        line = self._let_go.get(gone[0], "")
        return Cut(step=0, op="detach" if line else "", line=line)

    def profiles(self, loops: Sequence[TimeProfile]) -> tuple[TimeProfile, ...]:
        """The time profile of every call and loop, with what the gates' parameters say beside it."""
        assert self._names is not None
        spans = {(h.path, h.part): _span(h) for h in horizons_of(self._names.modules)}
        found: list[TimeProfile] = []
        used: set[tuple[str, str]] = set()
        for call in self.calls:
            walked = self._walk(call)
            spectra = step_spectra(call.module, call.x, call.hx) if walked and not self.brief else {}
            for row in walked:
                part = f"l{row.layer}" + ("_reverse" if row.direction == "reverse" else "")
                used.add((call.path, part))
                found.append(replace(as_record(row, part, spans.get((call.path, part)), spectra), cut=call.cut))
        self.calls.clear()
        read = {row.path for row in found if row.source == "loss"}
        found = [row for row in found if row.source == "loss" or row.path not in read]
        for loop in loops:
            part = ""
            used.add((loop.path, part))
            found.append(replace(loop, gate_horizon=spans.get((loop.path, part))))
        for (path, part), span in spans.items():
            if (path, part) not in used:
                found.append(
                    TimeProfile(
                        path=f"{path}.{part}" if part else path,
                        horizon=math.nan,
                        steps=0,
                        log_gain=(),
                        paths=(),
                        gates=(),
                        source="none",
                        gate_horizon=span,
                    )
                )
        return tuple(found)

    def _walk(self, call: _Call) -> tuple[Walked, ...]:
        if call.random is not None:
            set_torch_state(call.random)  # the guard puts the user's back
        gradient: Any = call.found.get("output")
        if gradient is not None and isinstance(call.x, PackedSequence):
            gradient = PackedSequence(gradient, call.x.batch_sizes, call.x.sorted_indices, call.x.unsorted_indices)
        h, c = call.found.get("h"), call.found.get("c")
        state: Any = (h, c) if isinstance(call.module, nn.LSTM) else h
        try:
            return time_profile(
                call.module,
                call.x,
                call.hx,
                gradient=gradient,
                state_gradient=None if h is None and c is None else state,
                path=call.path,
            )
        except (FadeoutError, ValueError, TypeError) as error:
            self.notes.append(f"{call.path or type(call.module).__name__}: no time profile: {error}")
            return ()


def _keeping(call: _Call, name: str) -> Callable[[Tensor | None], None]:
    """A hook that keeps the gradient of one output; cuDNN's layers send None where nothing arrives."""

    def keep(gradient: Tensor | None) -> None:
        if gradient is not None:
            call.found[name] = gradient.detach()

    return keep


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, PackedSequence):
        return PackedSequence(value.data.detach(), value.batch_sizes, value.sorted_indices, value.unsorted_indices)
    return tuple(_detached(v) for v in value) if isinstance(value, tuple) else value


def _span(horizon: GateHorizon) -> GateSpan:
    return GateSpan(
        median=horizon.median,
        slowest=horizon.slowest,
        family=horizon.family,
        heads=horizon.heads,
        stuck=horizon.stuck,
    )


def as_record(
    row: Walked, part: str, span: GateSpan | None, spectra: Mapping[tuple[int, str], StepSpectrum]
) -> TimeProfile:
    """What was walked, as the exam holds it."""
    return TimeProfile(
        path=".".join(p for p in (row.path, part) if p),
        horizon=row.horizon if row.horizon is not None else (math.nan if row.source == "none" else math.inf),
        steps=row.steps,
        log_gain=row.log_gain,
        paths=tuple((way.name, way.share) for way in row.paths),
        gates=tuple((gate.name, gate.openness, gate.slope) for gate in row.gates),
        source=row.source,
        gate_horizon=span,
        spectrum=spectra.get((row.layer, row.direction)),
        early=_early(row.log_norm),
    )


def _early(log_norm: Sequence[float]) -> float:
    """The largest of the first tenth of the steps over the largest of all, decades; lags run backwards."""
    if not log_norm or max(log_norm) == -math.inf or any(math.isnan(v) for v in log_norm):
        return math.nan
    return max(log_norm[-max(1, len(log_norm) // 10) :]) - max(log_norm)
