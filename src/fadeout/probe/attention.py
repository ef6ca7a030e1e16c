"""Attention: how many rows of each softmax still pass a gradient, and how far tokens have become alike."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from fadeout.probe import kinds
from fadeout.probe.graph import Graph
from fadeout.probe.names import Names
from fadeout.probe.norms import norm, read
from fadeout.probe.passes import Observer
from fadeout.probe.tape import Watcher
from fadeout.records import TokenProfile

LIVE = 1e-3  # of the row's gradient under even attention: the trials' rule, made scale-free
ROWS = 1 << 10  # rows of one attention that are looked at
HEADS = 256


class Attention(Observer):
    """Watches the backward pass at every softmax over positions, and the streams' token means."""

    def __init__(self) -> None:
        self._scalars: list[tuple[int, Tensor, Tensor, tuple[Tensor, ...]]] = []
        self._spread: dict[Node, Tensor] = {}
        self._spread_at: dict[int, Tensor] = {}
        self._graph: Graph | None = None
        self._reads = True

    def leave_saved(self) -> None:
        self._reads = False

    def forward(self, names: Names) -> None:
        names.listeners.append(self)

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        """One function returned: of an addition of sequences, how far tokens differ from their mean."""
        if node is None or out.dim() != 3 or function not in ("add", "__add__", "__radd__") or len(args) < 2:
            return
        if out.shape[1] > 1 and out.is_floating_point() and out.layout == torch.strided and not out.is_nested:
            self._spread[node] = _collapse(out.detach())

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """Modules say nothing that their operations do not."""

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        self._graph = graph
        index = {node: i for i, node in enumerate(graph.nodes)}
        self._spread_at = {index[node]: value for node, value in self._spread.items() if node in index}
        self._spread.clear()
        found: dict[int, Watcher] = {}
        for i, name in enumerate(graph.names if self._reads else ()):
            base = kinds.base_name(name)
            if graph.loss_side[i] or kinds.is_double(name):
                continue
            if base in ("Softmax", "SafeSoftmax") or base.startswith("ScaledDotProduct"):
                found[i] = self._look
        return found

    def _look(self, i: int, gradients: Any) -> None:
        graph = self._graph
        assert graph is not None
        gradient = gradients[0]
        if gradient is None or gradient.dim() < 3:
            return
        try:
            with torch.no_grad():
                rows = _softmax_rows(graph.nodes[i], gradient) or _fused_rows(graph.nodes[i], gradient)
        except (AttributeError, RuntimeError):  # another kernel's names, or saved under a checkpoint
            return
        if rows is not None:
            self._scalars.append((i, *rows))

    def profiles(self) -> tuple[TokenProfile, ...]:
        """One row an attention, data side first."""
        graph = self._graph
        if graph is None or not self._scalars:
            return ()
        streams = sorted(i for i in self._spread_at if len(graph.edges[i]) == 2)
        after: list[Tensor] = []
        for i, *_ in self._scalars:  # the addition that follows it in the forward: next on the loss side
            nearest = max((j for j in streams if j < i), default=None)
            after.append(self._spread_at[nearest] if nearest is not None else torch.full((), math.nan))
        cursor = iter(
            read(
                [
                    s.double()
                    for (_, live, entropy, heads), spread in zip(self._scalars, after, strict=True)
                    for s in (live, entropy, spread, *heads)
                ]
            )
        )
        found = []
        for i, _, _, heads in self._scalars:
            live, entropy, spread = next(cursor), next(cursor), next(cursor)
            found.append(
                TokenProfile(
                    path=graph.path[i],
                    positions=(),
                    reach=(),
                    distance_curve=(),
                    rank_collapse=spread,
                    live_rows=live,
                    entropy=entropy,
                    live_heads=tuple(next(cursor) for _ in heads),
                )
            )
        return tuple(reversed(found))


def _collapse(x: Tensor) -> Tensor:
    x = x[: max(1, (1 << 18) // max(1, x[0].numel()))].float()
    return norm(x - x.mean(1, keepdim=True)) / norm(x)


def _softmax_rows(node: Node, gradient: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]] | None:
    result = getattr(node, "_saved_result", None)
    if result is None or result.shape != gradient.shape or result.shape[-1] < 2:
        return None
    keep = max(1, ROWS // max(1, result[0].numel() // result.shape[-1]))
    return _live(result[:keep].float(), gradient[:keep].float())


def _fused_rows(node: Node, gradient: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]] | None:
    q, k, v = node._saved_query, node._saved_key, node._saved_value  # type: ignore[attr-defined]
    keep = max(1, ROWS // max(1, q[0].numel() // q.shape[-1]))
    q, k, v, g = (t[:keep].float() for t in (q, k, v, gradient))
    scale = getattr(node, "_saved_scale", None) or q.shape[-1] ** -0.5
    if k.shape[1] != q.shape[1]:  # grouped queries
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
    logits = scale * q @ k.mT
    if getattr(node, "_saved_is_causal", False):
        hidden = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
        logits = logits.masked_fill(hidden, -math.inf)
    mask = getattr(node, "_saved_attn_mask", None)
    if mask is not None:
        logits = logits + (mask if mask.shape[0] in (1, logits.shape[0]) else mask[:keep]).float()
    return _live(logits.softmax(-1), g @ v.mT)


def _live(p: Tensor, dp: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Share of rows whose |dz| exceeds LIVE of what even attention over the same positions would pass."""
    seen = p > 0
    count = seen.sum(-1, keepdim=True)
    dz = p * (dp - (p * dp).sum(-1, keepdim=True))
    even = seen / count
    reference = even * (dp - (even * dp).sum(-1, keepdim=True))
    size = reference.square().sum(-1).mean().sqrt()
    # a row that sees one position has nothing to choose; one that nothing arrives at says nothing
    rows = (count.squeeze(-1) > 1) & (reference.norm(dim=-1) > 0)
    alive = (dz.norm(dim=-1) > LIVE * size) & rows
    live = alive.sum() / rows.sum()  # nan where nothing arrives at any row
    entropy = -(p * p.clamp_min(1e-38).log()).sum(-1) / count.squeeze(-1).clamp_min(2).log()
    heads: tuple[Tensor, ...] = ()
    if alive.dim() == 3 and alive.shape[1] <= HEADS:  # (N, heads, T)
        heads = (alive.sum((0, 2)) / rows.sum((0, 2))).unbind()
    return live, (entropy * rows).sum() / rows.sum(), heads
