"""Dormancy: units that hardly respond, and how many directions the last features still span."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from fadeout.call.question import Question
from fadeout.probe.account.tape import Watcher
from fadeout.probe.graph import kinds
from fadeout.probe.graph.graph import Graph
from fadeout.probe.graph.names import Names
from fadeout.probe.instruments.instrument import How, Instrument, Observed
from fadeout.probe.instruments.units import unit_axis
from fadeout.probe.later import Answer, Later

DORMANT = 0.025  # of the layer's mean response; Sokar et al. 2023, arXiv:2302.12902
ROWS, WIDTH = 256, 512  # of the features whose rank is taken


class Dormancy(Instrument):
    """Watches activations while the forward runs."""

    hows = frozenset({"start", "brief"})

    def __init__(self, question: Question, how: How) -> None:
        super().__init__(question, how)
        self._shares: list[tuple[Answer, int]] = []
        self._features: Tensor | None = None
        self._later = Later()

    def forward(self, names: Names) -> None:
        self._shares, self._features = [], None
        self._later = names.later
        names.listen(self, calls=None)

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        return {}

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """Modules say nothing that their operations do not."""

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        """An activation returned."""
        if node is None or out.dim() < 2 or out.layout != torch.strided or not kinds.is_elementwise_slope(node.name()):
            return
        h = out.detach()
        unit = unit_axis(node, h.dim())
        response = h.abs().float().mean([d for d in range(h.dim()) if d != unit])
        share = (response <= DORMANT * response.mean()).double().mean()
        self._shares.append((self._later.ask([share]), response.numel()))
        self._features = h[:ROWS].flatten(1)[:, :WIDTH] if len(h) > 1 else self._features

    def fields(self, seen: Observed) -> dict[str, Any]:
        return {"dormant": self.dormant(), "rank": self.rank()}

    def dormant(self) -> float:
        """Share of all units whose mean response is below DORMANT of their layer's."""
        if not self._shares:
            return math.nan
        units = sum(n for _, n in self._shares)
        return sum(share.values[0] * n for share, n in self._shares) / units

    def rank(self) -> float:
        """Effective rank of the last activation, exp of the entropy of its singular values' shares."""
        if self._features is None:
            return math.nan
        features = self._features.float()
        self._features = None
        if not bool(torch.isfinite(features).all()):
            return math.nan
        values = torch.linalg.svdvals(features).double()
        if not float(values.sum()) > 0:
            return 0.0
        share = values / values.sum()
        return float(torch.exp(-(share * share.clamp_min(1e-30).log()).sum()))
