"""The watch on recurrent layers: what entered them, and the gradient that came back to their outputs."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fadeout.errors import FadeoutError
from fadeout.probe.graph import Graph
from fadeout.probe.names import Names
from fadeout.probe.passes import Observer
from fadeout.probe.recurrent.gates import gate_horizons
from fadeout.probe.recurrent.profiles import GateHorizon
from fadeout.probe.recurrent.profiles import TimeProfile as Walked
from fadeout.probe.recurrent.through_time import time_profile
from fadeout.probe.tape import Watcher
from fadeout.records import GateSpan, TimeProfile

CALLS = 4  # of one module in one pass that are profiled


@dataclass(slots=True)
class _Call:
    module: nn.RNNBase
    path: str
    x: Any
    hx: Any
    random: Tensor | None
    found: dict[str, Tensor] = field(default_factory=dict)


class Recurrence(Observer):
    """Remembers every call of a torch recurrent layer and the gradients of its outputs."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.notes: list[str] = []
        self._random: dict[int, Tensor] = {}
        self._model: nn.Module | None = None

    def forward(self, names: Names) -> None:
        self._model = names.model
        names.listeners.append(self)
        if any(isinstance(m, nn.RNNBase) and m.dropout > 0 and m.training for m in names.model.modules()):
            names.enterers.append(self._enter)

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        return {}

    def _enter(self, module: nn.Module) -> None:
        if isinstance(module, nn.RNNBase):
            self._random[id(module)] = torch.get_rng_state()  # so that dropout masks can be drawn again

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Any, path: str) -> None:
        """Functions say nothing that their modules do not."""

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """A recurrent layer returned: hold what entered, and wait for the gradients of its outputs."""
        if not isinstance(module, nn.RNNBase) or not args or not torch.is_grad_enabled():
            return
        if sum(call.module is module for call in self.calls) >= CALLS:
            return
        call = _Call(
            module=module,
            path=path,
            x=_detached(args[0]),
            hx=_detached(args[1]) if len(args) > 1 else None,
            random=self._random.get(id(module)),
        )
        output, state = out
        states = state if isinstance(state, tuple) else (state,)
        data = output.data if isinstance(output, PackedSequence) else output
        for name, tensor in (("output", data), *zip(("h", "c"), states, strict=False)):
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                tensor.register_hook(lambda g, name=name, call=call: call.found.__setitem__(name, g.detach()))  # type: ignore[no-untyped-call]
        self.calls.append(call)

    def profiles(self) -> tuple[TimeProfile, ...]:
        """The time profile of every call, with what the gates' parameters say beside it."""
        assert self._model is not None
        spans = {(h.path, h.part): _span(h) for h in gate_horizons(self._model)}
        found: list[TimeProfile] = []
        used: set[tuple[str, str]] = set()
        for call in self.calls:
            for row in self._walk(call):
                part = f"l{row.layer}" + ("_reverse" if row.direction == "reverse" else "")
                used.add((call.path, part))
                found.append(_record(row, part, spans.get((call.path, part))))
        self.calls.clear()
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
            torch.set_rng_state(call.random)  # the guard puts the user's back
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


def _record(row: Walked, part: str, span: GateSpan | None) -> TimeProfile:
    return TimeProfile(
        path=f"{row.path}.{part}" if row.path else part,
        horizon=row.horizon if row.horizon is not None else math.inf,
        steps=row.steps,
        log_gain=row.log_gain,
        paths=tuple((way.name, way.share) for way in row.paths),
        gates=tuple((gate.name, gate.openness, gate.slope) for gate in row.gates),
        source=row.source,
        gate_horizon=span,
    )
