"""Attention: how many rows of each softmax still pass a gradient, and how far tokens have become alike."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from fadeout.call import privates
from fadeout.call.question import Question
from fadeout.probe.account.tape import Watcher
from fadeout.probe.graph import kinds
from fadeout.probe.graph.graph import Graph
from fadeout.probe.graph.names import Names
from fadeout.probe.instruments.instrument import How, Instrument, Observed
from fadeout.probe.later import Answer, Later
from fadeout.records import Ledger, TokenProfile

LIVE = 1e-3  # of the row's gradient under even attention: the trials' rule, made scale-free
ROWS = 1 << 10  # rows of one attention that are looked at
HEADS = 256
_ADDS = frozenset({"add", "__add__", "__radd__"})


class Attention(Instrument):
    """Watches the backward pass at every softmax over positions, and the streams' token means."""

    def __init__(self, question: Question, how: How) -> None:
        super().__init__(question, how)
        self._rows: list[tuple[int, Answer]] = []  # live, entropy, and live of each head
        self._spread: dict[Node, tuple[Tensor, Tensor, int]] = {}
        self._spread_at: dict[int, tuple[Answer, int]] = {}
        self._later = Later()
        self._graph: Graph | None = None
        self._reads = True

    def leave_saved(self) -> None:
        self._reads = False

    def forward(self, names: Names) -> None:
        self._later = names.later
        names.listen(self, calls=_ADDS)

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        """One function returned: of an addition of sequences, how far tokens differ from their mean."""
        if node is None or out.dim() != 3 or len(args) < 2:
            return
        if out.shape[1] > 1 and out.is_floating_point() and out.layout == torch.strided and not out.is_nested:
            self._spread[node] = _collapse(out.detach())

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """Modules say nothing that their operations do not."""

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        self._graph = graph
        index = {node: i for i, node in enumerate(graph.nodes)}
        self._spread_at = {
            index[node]: (self._later.ask([size, mean]), count)
            for node, (size, mean, count) in self._spread.items()
            if node in index
        }
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
            live, entropy, heads = rows
            self._rows.append((i, self._later.ask([live, entropy, *heads])))

    def fields(self, seen: Observed) -> dict[str, Any]:
        return {"tokens": tuple(_with_block(row, seen.ledger) for row in self.profiles())}

    def profiles(self) -> tuple[TokenProfile, ...]:
        """One row an attention, data side first."""
        graph = self._graph
        if graph is None or not self._rows:
            return ()
        streams = sorted(i for i in self._spread_at if len(graph.edges[i]) == 2)
        found = []
        for i, answer in self._rows:
            live, entropy, *heads = answer.values
            nearest = max((j for j in streams if j < i), default=None)  # the addition that follows in the forward
            found.append(
                TokenProfile(
                    path=graph.path[i],
                    positions=(),
                    reach=(),
                    distance_curve=(),
                    rank_collapse=math.nan if nearest is None else _apart(*self._spread_at[nearest]),
                    live_rows=live,
                    entropy=entropy,
                    live_heads=tuple(heads),
                )
            )
        return tuple(reversed(found))


def _apart(answer: Answer, positions: int) -> float:
    """Distance of tokens from their mean over their size: what of the squares the mean leaves."""
    size, mean = answer.values
    if not (size > 0 and math.isfinite(size)):
        return math.nan
    return math.sqrt(max(size * size - positions * mean * mean, 0.0)) / size


def _collapse(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """(size of a stream, size of its mean over positions, positions), in float64, so that nothing cancels."""
    x = x[: max(1, (1 << 18) // max(1, x[0].numel()))]
    length = torch.linalg.vector_norm
    return length(x, dtype=torch.float64), length(x.mean(1, dtype=torch.float64)), x.shape[1]


def _softmax_rows(node: Node, gradient: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]] | None:
    result = privates.saved(node, "result")
    if result is None or result.shape != gradient.shape or result.shape[-1] < 2:
        return None
    keep = max(1, ROWS // max(1, result[0].numel() // result.shape[-1]))
    p = result[:keep].float()
    return _live(p, gradient[:keep].float(), _visible(p))


def _fused_rows(node: Node, gradient: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]] | None:
    q, k, v = (privates.saved(node, name) for name in ("query", "key", "value"))
    if q is None or k is None or v is None:
        return None
    keep = max(1, ROWS // max(1, q[0].numel() // q.shape[-1]))
    q, k, v, g = (t[:keep].float() for t in (q, k, v, gradient))
    scale = privates.saved(node, "scale") or q.shape[-1] ** -0.5
    if k.shape[1] != q.shape[1]:  # grouped queries
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
    logits = scale * q @ k.mT
    if privates.saved(node, "is_causal", False):
        hidden = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
        logits = logits.masked_fill(hidden, -math.inf)
    mask = privates.saved(node, "attn_mask")
    if mask is not None:
        logits = logits + (mask if mask.shape[0] in (1, logits.shape[0]) else mask[:keep]).float()
    return _live(logits.softmax(-1), g @ v.mT, logits > -math.inf)


def _visible(p: Tensor) -> Tensor:
    """Positions that some row of this place sees, in any sample or head: in a saturated row all but one may be 0."""
    seen = p > 0
    return seen.flatten(0, -3).any(0).expand_as(seen) if p.dim() > 2 else seen


def _live(p: Tensor, dp: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Share of rows whose |dz| exceeds LIVE of what even attention over the same positions would pass.

    Args:
        p: Probabilities (..., T, T), rows that add to 1.
        dp: The gradient that arrives at them.
        seen: Which positions each row may attend to.
    """
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


def _with_block(row: TokenProfile, ledger: Ledger) -> TokenProfile:
    """An attention with the share of the residual addition that follows it."""
    blocks = ledger.blocks.blocks if ledger.blocks is not None else ()
    near = [b for b in blocks if row.path == b.path or row.path.startswith(f"{b.path}.") or not b.path]
    if not near:
        return row
    deepest = max(len(b.path) for b in near)
    block = next(b for b in near if len(b.path) == deepest)  # data side first: attention before the MLP
    return replace(row, branch_share=block.share, influence=block.influence)
