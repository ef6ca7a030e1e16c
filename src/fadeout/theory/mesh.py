"""Mesh: where to cut the real line so that a function is smooth in between, kinks found by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from fadeout.theory.quadrature import legendre, legendre_analysis

Sample = Callable[[Tensor], tuple[Tensor, ...]]

# Off the round numbers, so that no kink of a common activation falls on an edge unseen.
_EDGES = tuple(0.9731 * e for e in (7.0, 21.0, 63.0, 189.0, 567.0))
_BESIDE_ZERO = tuple(0.9731 * 10.0**e for e in range(-8, 1))  # a kink hides between an edge and a node
NEAR = _EDGES[2]  # inside, the mesh follows every wiggle; outside, isolated kinks only
_TAIL = 26  # phi of this degree on a segment: phi^2 times the density is exact at 40 nodes
_ROUGH = 3e-13  # Legendre tail over scale from which a segment counts as not smooth
_MOST = 4096  # rough segments of one level before we call a function noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Where to cut the real line so that a function is smooth in between.

    Attributes:
        kinks: Where it jumps or has a corner, ascending.
        cuts: Kinks and the edges of a mesh fine enough for 40 nodes a segment, ascending.
        spacing: Smallest distance between the mesh's own edges.
    """

    kinks: tuple[float, ...]
    cuts: tuple[float, ...]
    spacing: float


def find_mesh(sample: Sample, name: str) -> Mesh:
    """Cuts between which every sampled function is smooth.

    Subdivides what is not smooth until the kink is pinned, then cuts once at what was found.

    Args:
        sample: Values of the functions at u, e.g. of an activation and its slope.
        name: For the error.

    Raises:
        ValueError: If a function is rough everywhere (noise, float32, rounding).
    """
    grid = torch.linspace(-8, 8, 402, dtype=torch.float64, device="cpu")
    levels = tuple(float(f.abs().max()) for f in sample(grid))
    base = (*(-e for e in reversed(_EDGES)), 0.0, *_EDGES)
    segments = torch.tensor(_probes(base), dtype=torch.float64, device="cpu")
    segments = segments[_tails(sample, segments, levels) > _ROUGH]
    found: list[tuple[float, float]] = []  # middle, width
    while len(segments):
        if len(segments) > _MOST // 8:
            raise ValueError(
                f"find_mesh: {name!r} is rough everywhere in float64 "
                f"({len(segments)} segments are not smooth); look for float32 or rounding inside it"
            )
        middle, width = segments.mean(1), segments.diff(dim=1).squeeze(1)
        tiny = width < 1e-14 * middle.abs().clamp_min(1e-3)
        children, lost = _rough_children(sample, segments[~tiny], levels)
        done = tiny.clone()
        done[~tiny] = lost
        found += zip(middle[done].tolist(), width[done].tolist(), strict=True)
        segments = children
    kinks = {_snap(m) for m, width in found if width < 1e-6} - {0.0}
    beside = min([1e-3, *(0.5 * abs(kink) for kink in kinks)])
    zero = torch.tensor([[-0.9 * beside, 1.1 * beside]], dtype=torch.float64, device="cpu")
    kinks |= {0.0} if float(_tails(sample, zero, levels)) > _ROUGH else set()
    merged = _merge(sorted(kinks))
    wide = {m for m, width in found if width >= 1e-6}
    cuts = _refine(sample, sorted({*base, *merged, *wide}), levels)
    own = sorted({*cuts, 0.0} - set(merged) | {0.0})
    return Mesh(kinks=merged, cuts=cuts, spacing=min(b - a for a, b in pairwise(own)))


def _tails(sample: Sample, segments: Tensor, scale: tuple[float, ...]) -> Tensor:
    """How far from smooth the sampled functions are on each segment, over scale.  Shape (n,)."""
    x, _ = legendre()
    u = segments.mean(1, keepdim=True) + 0.5 * segments.diff(dim=1) * x
    worst = torch.zeros(len(u), dtype=torch.float64, device="cpu")
    for f, floor in zip(sample(u), scale, strict=True):
        tail = (f @ legendre_analysis())[:, _TAIL:].abs().amax(1)
        worst = worst.maximum(tail / f.abs().amax(1).clamp_min(floor))
    return worst.nan_to_num(0.0, 0.0, 0.0)  # a blow-up far out is not a kink


def _split(segments: Tensor, parts: int) -> Tensor:
    """Equal parts of every segment.  (n, 2) -> (n * parts, 2)."""
    t = torch.linspace(0, 1, parts + 1, dtype=torch.float64, device="cpu")
    edges = segments[:, :1] + segments.diff(dim=1) * t
    return torch.stack([edges[:, :-1], edges[:, 1:]], -1).reshape(-1, 2)


def _rough_children(sample: Sample, segments: Tensor, levels: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Parts of every segment that are not smooth, and which segments have none.  (m, 2), (n,)."""
    kept = []
    hidden = torch.ones(len(segments), dtype=torch.bool, device="cpu")
    for parts in (8, 7):  # a kink on the edge of an eighth lies inside a seventh
        looked = hidden.nonzero().squeeze(1)
        pieces = _split(segments[looked], parts)
        rough = (_tails(sample, pieces, levels) > _ROUGH).view(-1, parts)
        far = segments[looked].mean(1).abs() > NEAR
        followed = rough & ~(far & (rough.sum(1) > 2)).unsqueeze(1)
        kept.append(pieces[followed.flatten()])
        hidden[looked] = ~rough.any(1)
        if not bool(hidden.any()):
            break
    return torch.cat(kept), hidden


def _probes(base: tuple[float, ...]) -> list[tuple[float, float]]:
    """Segments to look for kinks in: overlapping, so that none hides at an edge."""
    middles = [(a + b) / 2 for a, b in pairwise(base)]
    shifted = [(a, b) for a, b in pairwise(middles) if a * b > 0]
    right = [(0.0, _BESIDE_ZERO[0]), *zip(_BESIDE_ZERO, _BESIDE_ZERO[2:], strict=False)]
    return [*pairwise(base), *shifted, *right, *((-b, -a) for a, b in right)]


def _snap(at: float) -> float:
    """The round number beside a bisected kink, if there is one."""
    nice = round(at * 960) / 960  # halves, thirds, tenths
    return nice if abs(at - nice) < 1e-9 * max(1.0, abs(nice)) else at


def _merge(kinks: list[float]) -> tuple[float, ...]:
    kept: list[float] = []
    for kink in kinks:
        if not kept or kink - kept[-1] > 1e-8 * max(1.0, abs(kink)):
            kept.append(kink)
    return tuple(kept)


def _refine(sample: Sample, edges: list[float], levels: tuple[float, ...]) -> tuple[float, ...]:
    """Halve what is still not smooth between the cuts: sharp but smooth activations."""
    cuts = set(edges)
    segments = torch.tensor(list(pairwise(edges)), dtype=torch.float64, device="cpu")
    for _ in range(16):
        inside = segments.abs().amin(1) < NEAR
        wide = segments.diff(dim=1).squeeze(1) > 1e-7
        segments = segments[(_tails(sample, segments, levels) > _ROUGH) & inside & wide]
        if not len(segments) or len(cuts) > _MOST // 8:
            break
        cuts |= set(segments.mean(1).tolist())
        segments = _split(segments, 2)
    return tuple(sorted(cuts))
