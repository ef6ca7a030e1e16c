"""Expectations of activations over Gaussian pre-activations, with an estimated error."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache

import torch
from torch import Tensor

from fadeout.theory.activation import Activation, Elementwise, evaluate, prepare, read_activation
from fadeout.theory.mesh import Mesh, find_mesh
from fadeout.theory.quadrature import SEGMENTS, SPAN, normal_rule

CAPTURED = 1e-8  # larger share of a moment beyond the rule's span: it is not captured, we say inf
PLAIN = (SEGMENTS, SPAN)  # segments and span of the rule
FINE = (3 * SEGMENTS, 1.5 * SPAN)  # half as wide, half again as far: what the error is estimated with
_FINER = 0.7  # of the mesh's spacing: segments narrower than that need no cut but the kinks
_CHUNK = 32  # variances at once
_GONE = 1e-16  # an outermost term below this share of the sum says that nothing lies beyond
_FALLING = 0.01  # of the last two segments, from which the tail does not fall as the normal density does (.002)
_DEAD = 4.0  # standard deviations: all that a wide dead zone leaves lies in the tail, and that is no blow-up
_FLAT = 1e-10  # a slope at 0 below this share of the largest is the rounding of a slope of 0 (u^2, u^3)
_FLOOR = 1e-300  # keeps 0 / 0 from being a relative error


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """E f(sqrt(q) Z) and its estimated absolute error (against a finer and wider rule)."""

    value: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Gaussian moments of an activation at pre-activation variance q.

    Attributes:
        q: Variance of the pre-activation.
        mean: M(q) = E phi.
        second: V(q) = E phi^2.
        slope_mean: E phi'.
        slope_second: S(q) = E phi'^2; chi_1 = sigma_w^2 S.
        slope_kurtosis: k(q) = E phi'^4 / (E phi'^2)^2, at least 1; nan where S = 0.
        second_rate: dV/dq; chi_par = sigma_w^2 dV/dq.
        error: Largest estimated relative error of V, S and E phi'^4.
    """

    q: float
    mean: float
    second: float
    slope_mean: float
    slope_second: float
    slope_kurtosis: float
    second_rate: float
    error: float

    @property
    def variance(self) -> float:
        """Var phi = V - M^2."""
        return max(self.second - self.mean**2, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Moments on many q at once: float64 tensors of shape (Q,), for work inside theory/.

    Infinite where a moment is not captured by the rule's span: the activation blows up there.
    """

    q: Tensor
    mean: Tensor
    second: Tensor
    slope_mean: Tensor
    slope_second: Tensor
    slope_fourth: Tensor
    second_rate: Tensor
    slope_second_rate: Tensor


def check_variance(caller: str, q: float, *, what: str = "q") -> float:
    """q itself, if it can be a variance.

    Raises:
        ValueError: If q is negative, nan or infinite.
    """
    if not (math.isfinite(q) and q >= 0):
        raise ValueError(f"{caller}: {what} is a variance, so finite and >= 0; got {q}; check what produced it")
    return float(q)


def expect(f: Activation | Elementwise, q: float) -> Expectation:
    """E f(sqrt(q) Z) for Z ~ N(0, 1), of any elementwise f, kinks and jumps found automatically.

    Args:
        f: Elementwise function of a float64 tensor; needs no slope.
        q: Variance, >= 0; at 0 the value is f(0).

    Returns:
        Value and estimated absolute error; the error is inf where the tails are not captured.
    """
    q = check_variance("expect", q)
    plain = f.phi if isinstance(f, Activation) else prepare(f)
    mesh = f.mesh if isinstance(f, Activation) else find_mesh(lambda u: (plain(u).detach(),), "f")
    at = torch.tensor([q], dtype=torch.float64, device="cpu")
    if q == 0.0:
        return Expectation(value=float(plain(at)), error=0.0)
    values = []
    for rule in (PLAIN, FINE):
        z, w = _rule(mesh, at, rule)
        terms = w * plain(z * math.sqrt(q)).detach()
        values.append(float(terms.sum()))
    lost = bool(_is_lost(terms.abs(), z, FINE))
    error = math.inf if lost else abs(values[1] - values[0]) + 4e-16 * float(terms.abs().sum())
    return Expectation(value=values[1], error=error)


def expect_moments(phi: Activation | Elementwise, q: float) -> Moments:
    """All moments that mean-field theory needs at one variance.

    At q = 0 they are the limits from above: a kink at 0 counts half from each side.

    Args:
        phi: Elementwise activation, or one already read.
        q: Variance of the pre-activation, >= 0.

    Returns:
        Moments with relative error usually below 1e-14, estimated in `error`; inf where the
        activation grows so fast that the moment is not finite (exp at large q).

    Source: Poole et al., arXiv:1606.05340 (variance map); Schoenholz et al., arXiv:1611.01232 (chi).
    """
    q = check_variance("expect_moments", q)
    activation = read_activation(phi)
    if q == 0.0:
        return _limit_at_zero(activation)
    at = torch.tensor([q], dtype=torch.float64, device="cpu")
    coarse, fine = moment_curves(activation, at), moment_curves(activation, at, rule=FINE)
    pairs = (
        (float(getattr(coarse, field)), float(getattr(fine, field)))
        for field in ("second", "slope_second", "slope_fourth")
    )
    error = max(abs(a - b) / max(abs(b), _FLOOR) if a != b else 0.0 for a, b in pairs)
    return _read(fine, error if math.isfinite(float(fine.second)) else math.inf)


def moments_at(activation: Activation, q: float) -> Moments:
    """`expect_moments` without the estimate of its error (nan), at a third of the cost.

    For walks through many layers with an activation read once.
    """
    q = check_variance("moments_at", q)
    if q == 0.0:
        return _limit_at_zero(activation)
    at = torch.tensor([q], dtype=torch.float64, device="cpu")
    return _read(moment_curves(activation, at), math.nan)


def _read(curves: Curves, error: float) -> Moments:
    mean, second, slope_mean, s, fourth, rate, q = torch.cat(
        [
            curves.mean,
            curves.second,
            curves.slope_mean,
            curves.slope_second,
            curves.slope_fourth,
            curves.second_rate,
            curves.q,
        ]
    ).tolist()
    return Moments(
        q=q,
        mean=mean,
        second=second,
        slope_mean=slope_mean,
        slope_second=s,
        slope_kurtosis=fourth / s**2 if 0 < s < math.inf else math.nan,
        second_rate=rate,
        error=error,
    )


def moment_curves(activation: Activation, q: Tensor, *, rule: tuple[int, float] = PLAIN) -> Curves:
    """Moments at every q > 0 of a float64 tensor.  Shape (Q,)."""
    if len(q) > _CHUNK:  # small variances see few of the cuts, and the nodes stay in cache
        parts = [moment_curves(activation, part, rule=rule) for part in torch.split(q, _CHUNK)]
        return Curves(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Curves)})
    (z, w), root = _rule(activation.mesh, q, rule), q.sqrt().unsqueeze(1)
    value, slope = evaluate(activation.phi, z * root)
    squares = w * value.square()
    slopes = w * slope.square()
    lost = _is_lost(squares, z, rule) | _is_lost(slopes, z, rule)
    # Stein's form holds across jumps and stays calm at large q, but cancels at small q
    rate = (squares * (z.square() - 1)).sum(1) / (2 * q)
    if not activation.jumps:
        rate = torch.where(q > 1, rate, (w * value * slope * z).sum(1) / root.squeeze(1))
    return Curves(
        q=q,
        mean=(w * value).sum(1),
        second=squares.sum(1).masked_fill(lost, math.inf),
        slope_mean=(w * slope).sum(1),
        slope_second=slopes.sum(1).masked_fill(lost, math.inf),
        slope_fourth=(slopes * slope.square()).sum(1),
        second_rate=rate.masked_fill(lost, math.inf),
        slope_second_rate=((slopes * (z.square() - 1)).sum(1) / (2 * q)).masked_fill(lost, math.inf),
    )


def _is_lost(terms: Tensor, z: Tensor, rule: tuple[int, float]) -> Tensor:
    """Whether a moment lives beyond the span, by the trend of its last two segments.  (Q,)."""
    total = terms.sum(1)
    if bool((terms[:, 0] + terms[:, -1] <= _GONE * total).all()):
        return torch.zeros_like(total, dtype=torch.bool)
    segments, span = rule
    step = 2 * span / segments
    dead = terms.masked_fill(z.abs() > _DEAD, 0.0).sum(1) == 0.0
    last, before = (
        terms.masked_fill((z.abs() < edge) | (z.abs() > edge + step), 0.0).sum(1)
        for edge in (span - step, span - 2 * step)
    )
    decay = last / before.clamp_min(_FLOOR)
    beyond = last * torch.where(decay < 0.9, decay / (1 - decay), 10.0)
    return ~total.isfinite() | ((beyond > CAPTURED * total) & (decay > _FALLING) & ~dead)


def _rule(mesh: Mesh, q: Tensor, rule: tuple[int, float]) -> tuple[Tensor, Tensor]:
    segments, span = rule
    root = q.sqrt().unsqueeze(1)
    widest = float(root.max())
    cuts = mesh.kinks if 2 * span / segments * widest < _FINER * mesh.spacing else mesh.cuts
    inside = [c for c in cuts if abs(c) < span * widest and c != 0.0]  # the rule cuts at 0 anyway
    if not inside:
        z, w = _plain_rule(segments, span)
        return z.expand(len(q), -1), w.expand(len(q), -1)
    places = torch.tensor(inside, dtype=torch.float64, device="cpu")
    return normal_rule(places / root, segments=segments, span=span)


@cache
def _plain_rule(segments: int, span: float) -> tuple[Tensor, Tensor]:
    none = torch.zeros((1, 0), dtype=torch.float64, device="cpu")
    return normal_rule(none, segments=segments, span=span)


def _limit_at_zero(activation: Activation) -> Moments:
    """q -> 0: phi is phi(0) with a left and a right slope, each seen by half of the units."""
    sides = torch.tensor([-1e-13, 1e-13], dtype=torch.float64, device="cpu")
    value, slope = evaluate(activation.phi, sides)
    left, right = (0.0 if abs(side) < _FLAT * activation.slope_sup else side for side in slope.tolist())
    low, high = (activation.at_zero, activation.at_zero) if 0.0 not in activation.jumps else value.tolist()
    s, fourth = (left**2 + right**2) / 2, (left**4 + right**4) / 2
    return Moments(
        q=0.0,
        mean=(low + high) / 2,
        second=(low**2 + high**2) / 2,
        slope_mean=(left + right) / 2,
        slope_second=s,
        slope_kurtosis=fourth / s**2 if s > 0 else math.nan,
        second_rate=_rate_at_zero(activation, s),
        error=0.0,
    )


def _rate_at_zero(activation: Activation, slope_second: float) -> float:
    """dV/dq at 0+: S(0) when phi(0) = 0, else S(0) + phi(0) phi''(0), read off just above 0."""
    if activation.at_zero == 0.0 and 0.0 not in activation.jumps:
        return slope_second
    small = torch.tensor([1e-9], dtype=torch.float64, device="cpu")
    return float(moment_curves(activation, small).second_rate)


def expect_product(f: Callable[[Tensor], Tensor], activation: Activation, q: float, c: float) -> float:
    """E f(u) f(v) for (u, v) Gaussian with variance q and correlation c in [-1, 1].

    The inner integral is cut at the kinks row by row, the outer one at the kinks and at the
    edges of the layers that the inner smoothing leaves, so it stays exact as c -> 1.

    Args:
        f: Elementwise; phi itself, or its slope.
        activation: Whose cuts f shares.
        q: Variance, > 0.
        c: Correlation.
    """
    root, s = math.sqrt(q), math.sqrt(max((1 - c) * (1 + c), 0.0))
    kinks = [k / root for k in activation.mesh.cuts if abs(k) < SPAN * root]
    near = [k / c for k in kinks if c != 0.0 and s > 0.0]
    layers = [k + t * s for k in near for t in (-8.0, -4.0, -1.5, 0.0, 1.5, 4.0, 8.0)] if s < 0.7 else []
    outer = torch.tensor([kinks + layers], dtype=torch.float64, device="cpu")
    z, w = (t.squeeze(0) for t in normal_rule(outer))
    keep = w > 1e-25
    z, w = z[keep], w[keep]
    if s < 1e-12:
        return float((w * f(root * z) * f(math.copysign(root, c) * z)).sum())
    inner = torch.tensor(kinks, dtype=torch.float64, device="cpu")
    cuts = (inner - c * z.unsqueeze(1)) / s if kinks else z.unsqueeze(1)[:, :0]
    y, v = normal_rule(cuts, segments=12, nodes=24)
    smooth = (v * f(root * (c * z.unsqueeze(1) + s * y))).sum(1)
    return float((w * f(root * z) * smooth).sum())
