"""Tokens: how far the output at one position reaches back to the inputs at others."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node

from fadeout.call.batch import Closure
from fadeout.call.guard import Guard
from fadeout.call.subject import Subject
from fadeout.errors import FadeoutError
from fadeout.probe.graph import kinds
from fadeout.probe.graph.names import Names
from fadeout.probe.instruments.instrument import Held, Instrument, Observed
from fadeout.records import TokenProfile
from fadeout.records.decades import log10

SCALE = 2.0**80  # of the seed, exact: float32 then reaches down to 1e-68


class Reach(Instrument):
    """The reach map, where positions are asked for."""

    def measure(self, held: Held) -> None:
        self._maps: tuple[TokenProfile, ...] = ()
        if held.question.reach:
            held.guard.rewind()
            about, call, count = held.subject, held.closure, held.question.reach
            self._maps = (reach_map(about, call, held.guard, positions=count, verb=held.question.verb),)

    def fields(self, seen: Observed) -> dict[str, Any]:
        return {"tokens": self._maps}


class _Shapes:
    """Remembers the outputs of embeddings while the forward runs."""

    def __init__(self) -> None:
        self.embeddings: list[tuple[Node, int, str]] = []

    def call(self, function: str, args: tuple[Any, ...], out: Tensor, node: Node | None, path: str) -> None:
        if node is not None and kinds.is_embedding(node.name()) and out.dim() == 3 and out.shape[0] > 0:
            self.embeddings.append((node, out.shape[1], path))

    def leave(self, module: nn.Module, path: str, args: tuple[Any, ...], out: Any) -> None:
        """Modules say nothing that their operations do not."""


def reach_map(about: Subject, call: Closure, guard: Guard, *, positions: int, verb: str, seed: int = 0) -> TokenProfile:
    """The gradient of a fixed random projection of the output at position i, at every input position j.

    One forward and at most `positions` backward passes; the last position is always among them.

    Raises:
        FadeoutError: If the output has no sequence axis in common with an input.
    """
    shapes = _Shapes()
    names = Names(about.model, guard, watched=about.watched, modules=about.modules)
    names.listen(shapes, calls=frozenset({"embedding", "embedding_bag"}))
    with torch.inference_mode(False), torch.enable_grad(), names:
        call.run(about.model)
    outputs = [t for t in names.outputs if t.dim() == 3 and t.is_floating_point() and t.grad_fn is not None]
    ends: list[tuple[int, str, Any]] = [
        (length, path, GradientEdge(node, 0)) for node, length, path in shapes.embeddings
    ]
    ends += [(t.shape[1], path, t) for path, t in names.inputs if t.dim() == 3]
    if about.prefix:
        entering = [(t.shape[1], about.prefix, t) for t in names.entering if t.dim() == 3]
        ends = [*entering, *ends]
    for out in reversed(outputs):
        for length, path, end in ends:
            axis = next((a for a in (1, 2) if out.shape[a] == length), None)
            if axis is not None and length > 1:
                return _map(out if axis == 1 else out.transpose(1, 2), length, path or "input", end, positions, seed)
    raise FadeoutError(
        f"{verb}: no output of {type(about.model).__name__} has a position axis in common with an embedding or an "
        "input of shape (batch, positions, features); leave out reach="
    )


def _map(out: Tensor, length: int, path: str, end: Any, positions: int, seed: int) -> TokenProfile:
    count = max(1, min(positions, length))
    sampled = sorted({round((n + 1) * length / count) - 1 for n in range(count)})
    noise = torch.randn(out.shape[-1], generator=torch.Generator().manual_seed(seed), device="cpu").to(out)
    rows: list[list[float]] = []
    for position in sampled:
        scalar = (out[:, position] * noise).sum()
        for scale in (SCALE, 1.0):  # wide first; a gradient that grows leaves the range on the other side
            (gradient,) = torch.autograd.grad(
                scalar, [end], torch.full_like(scalar, scale), retain_graph=True, allow_unused=True
            )
            if gradient is None:
                rows.append([0.0] * length)
                break
            squares = (gradient.detach().double() / scale).square().sum((0, 2))
            if bool(squares.isfinite().all()) or scale == 1.0:
                rows.append(squares.tolist())
                break
    curve = []
    for lag in range(length):
        found = [rows[n][i - lag] for n, i in enumerate(sampled) if i >= lag]
        curve.append(math.fsum(found) / len(found) if found else 0.0)
    start = log10(curve[0]) / 2
    return TokenProfile(
        path=path,
        positions=tuple(sampled),
        reach=tuple(tuple(log10(v) / 2 for v in row) for row in rows),
        distance_curve=tuple(log10(v) / 2 - start if start > -math.inf else math.nan for v in curve),
        rank_collapse=math.nan,
        live_rows=math.nan,
        entropy=math.nan,
    )
