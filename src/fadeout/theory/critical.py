"""Critical points: the (sigma_w, sigma_b) at which a layer's expected squared gain is 1."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from fadeout.theory.activation import Activation, Elementwise, centre_activation, read_activation
from fadeout.theory.expectation import Moments, expect_moments, moment_curves
from fadeout.theory.maps import curves_between
from fadeout.theory.phase import ALIVE, saturated_share
from fadeout.theory.quadrature import find_root

_LOW, _HIGH, _POINTS = 1.07e-6, 1.03e3, 181  # the scan over q; no root of note falls on it
_NOISE = 1e-11  # differences below this, relative, are rounding and no roots
_SANE = 100.0  # q from which the nearest stable choice is no longer looked for
_ONE = 1e-9  # chi_par up to 1 + this counts as <= 1
_SATURATED = 0.55  # share of saturated units from which we say so; ReLU's silent half is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Critical:
    """A critical point, or the statement that there is none.

    Attributes:
        activation: Name.
        sigma_w: Weight scale at which chi = 1; None where no such scale exists.
        sigma_b: Bias scale.
        q: Fixed variance there; 0 where the variance settles towards 0 like 1 / depth.
        chi: Expected squared gain: 1, or that of the stable choice where `sigma_w` is not critical.
        chi_par: Slope of the variance map at q.
        stable: Whether a change of q does not grow (half-stable points, chi_par = 1 with growth
            on one side, are not stable).
        any_q: Whether every q is a fixed point (ReLU, leaky ReLU); q is then 1.
        saturated: Share of units with a slope below 8 % of the largest, at q.
        reason: Why there is no point, or what is wrong with it; "" if nothing is.
        nearest: Nearest stable choice when this one is missing or not stable; its chi may differ from 1;
            None where there is none either.
        centred: Critical point of phi - phi(0), offered where phi(0) is not 0 and the point is
            missing, unstable or saturated, and the centred one exists.
    """

    activation: str
    sigma_w: float | None
    sigma_b: float
    q: float | None
    chi: float | None
    chi_par: float | None
    stable: bool
    any_q: bool = False
    saturated: float | None = None
    reason: str = ""
    nearest: "Critical | None" = None
    centred: "Critical | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scan:
    """The critical line, parametrised by q: sigma_w^2 = 1 / S, sigma_b^2 = q - V / S."""

    activation: Activation
    q: tuple[float, ...]
    bias: tuple[float, ...]  # q - V / S, nan where a moment is infinite or nearly all units are dead
    second: tuple[float, ...]
    slope_second: tuple[float, ...]
    chi_par: tuple[float, ...]
    dead: bool  # nearly all units are, at some variance
    at_zero: Moments


def find_critical(phi: Activation | Elementwise, *, sigma_b: float | None = None) -> Critical:
    """Critical weight scale of any elementwise activation.

    The critical line needs no search: at variance q it is sigma_w^2 = 1 / S(q) and
    sigma_b^2 = q - V(q) / S(q), where that is not negative.

    Args:
        phi: Elementwise activation, or one already read.
        sigma_b: Bias scale.  None: the smallest one with chi_par <= 1, so that the fixed
            variance attracts.  With several points for one sigma_b, the stable one of smallest q.

    Returns:
        The point; sigma_w None and a reason where there is none (softplus), with the nearest
        stable choice.

    Raises:
        ValueError: If sigma_b is negative or not finite, or phi is not a usable activation.
    """
    if sigma_b is not None and not (math.isfinite(sigma_b) and sigma_b >= 0):
        raise ValueError(f"find_critical: sigma_b must be finite and >= 0, got {sigma_b}; it is sqrt(Var b)")
    activation = read_activation(phi)
    point = _find(activation, sigma_b)
    if activation.at_zero == 0.0 or (point.stable and (point.saturated or 0.0) < _SATURATED):
        return point
    centred = _find(centre_activation(activation), sigma_b)
    return replace(point, centred=centred) if centred.sigma_w is not None else point


def _find(activation: Activation, sigma_b: float | None) -> Critical:
    scan = _scan(activation)
    if _is_homogeneous(scan):
        return _homogeneous(scan, sigma_b)
    points = _smallest_bias(scan) if sigma_b is None else _at_bias(scan, sigma_b)
    if points:
        best = min(points, key=lambda p: (not p.stable, p.sigma_b, p.q))
        if best.stable:
            return best
        return replace(best, nearest=_nearest(scan, best.sigma_b, () if sigma_b is None else None))
    nearest = _nearest(scan, sigma_b or 0.0, () if sigma_b is None else None)
    return Critical(
        activation=activation.name,
        sigma_w=None,
        sigma_b=sigma_b or 0.0,
        q=None,
        chi=None,
        chi_par=None,
        stable=False,
        reason=_why(scan, sigma_b),
        nearest=nearest,
    )


def _why(scan: _Scan, sigma_b: float | None) -> str:
    known = [(b, c) for b, c in zip(scan.bias, scan.chi_par, strict=True) if not math.isnan(b)]
    if known and all(b < 0 for b, _ in known):
        return (
            "no critical point: chi = 1 needs sigma_b^2 = q - V(q)/S(q), which is negative for every q, "
            "so wherever the variance rests the gradient fades"
        )
    if sigma_b is None and known and all(c > 1 - _NOISE for b, c in known if b >= 0):
        return "no stable critical point: where chi = 1 the variance runs away (chi_par is 1 or more)"
    if sigma_b == 0.0 and not scan.dead and known and all(b > 0 for b, _ in known):
        return (
            "no critical point without a bias: chi = 1 needs sigma_b^2 = q - V(q)/S(q), which is positive for every q"
        )
    if scan.dead and sigma_b is not None:
        return (
            f"no critical point for sigma_b = {sigma_b:g}: the variance stays in the activation's dead zone, "
            "where fewer than 1 in 100 units have a slope, and no sigma_w makes up for that"
        )
    scale = "any sigma_b" if sigma_b is None else f"sigma_b = {sigma_b:g}"
    return (
        f"no critical point: sigma_b^2 = q - V(q)/S(q) has no solution for {scale} "
        f"with a variance q in [{_LOW:.0e}, {_HIGH:.0e}]"
    )


def _scan(activation: Activation) -> _Scan:
    curves = curves_between(activation, _LOW, _HIGH, _POINTS)
    s = curves.slope_second
    # beside a wide dead zone chi = 1 takes weights of 1e8: so few units are alive that no network has one
    alive = s.square() >= ALIVE * curves.slope_fourth
    good = curves.second.isfinite() & s.isfinite() & (s > 0) & alive
    bias = (curves.q - curves.second / s).where(good, math.nan)
    return _Scan(
        activation=activation,
        q=tuple(curves.q.tolist()),
        bias=tuple(bias.tolist()),
        second=tuple(curves.second.tolist()),
        slope_second=tuple(s.tolist()),
        chi_par=tuple((curves.second_rate / s).where(good, math.nan).tolist()),
        dead=bool((~alive & (curves.second < curves.q)).any()),
        at_zero=expect_moments(activation, 0.0),
    )


def _is_homogeneous(scan: _Scan) -> bool:
    return all(abs(b) <= 1e-11 * q for q, b in zip(scan.q, scan.bias, strict=True))


def _homogeneous(scan: _Scan, sigma_b: float | None) -> Critical:
    point = _point(scan.activation, 1.0, 0.0, any_q=True)
    if not sigma_b:
        return point
    return Critical(
        activation=scan.activation.name,
        sigma_w=None,
        sigma_b=sigma_b,
        q=None,
        chi=None,
        chi_par=None,
        stable=False,
        reason="no critical point: the activation is scale-invariant, so with chi = 1 any bias adds "
        "to the variance at every layer without end; only sigma_b = 0 is critical",
        nearest=point,
    )


def _moments(activation: Activation, q: float) -> tuple[float, float, float]:
    """(V, S, dV/dq), by the plain rule: cheap enough for root finding."""
    c = moment_curves(activation, torch.tensor([q], dtype=torch.float64, device="cpu"))
    return float(c.second), float(c.slope_second), float(c.second_rate)


def _point(activation: Activation, q: float, sigma_b: float, *, any_q: bool = False) -> Critical:
    """The critical point at variance q, which the caller knows to lie on the line."""
    at = expect_moments(activation, q)
    sw2 = 1 / at.slope_second
    chi_par = sw2 * at.second_rate
    stable = any_q or _attracts(activation, q, sw2, chi_par)
    saturated = saturated_share(activation, q)
    reason = ""
    if not stable:
        kind = "half-stable" if abs(chi_par - 1) < 1e-6 else "unstable"
        reason = f"{kind}: a variance next to q = {q:.4g} moves away (chi_par = {chi_par:.4f})"
    elif saturated >= _SATURATED:
        reason = f"saturated: {saturated:.0%} of the units have a slope below 8 % of the largest"
    return Critical(
        activation=activation.name,
        sigma_w=math.sqrt(sw2),
        sigma_b=sigma_b,
        q=q,
        chi=1.0,
        chi_par=chi_par,
        stable=stable,
        any_q=any_q,
        saturated=saturated,
        reason=reason,
    )


def _attracts(activation: Activation, q: float, sw2: float, chi_par: float) -> bool:
    if q > 0 and abs(chi_par - 1) > 1e-6:
        return abs(chi_par) < 1

    def grows(at: float) -> bool:  # the curvature of the variance map decides
        return sw2 * _moments(activation, at)[2] - 1 > _NOISE

    return not grows(1e-4) if q == 0.0 else not (grows(1.005 * q) or grows(0.995 * q))


def _roots(scan: _Scan, f: tuple[float, ...], exact: Callable[[float], float]) -> list[float]:
    """Every q where f, known on the scan, changes sign; nan marks rounding."""
    return [
        math.exp(find_root(lambda t: exact(math.exp(t)), math.log(a), math.log(b), tolerance=1e-14))
        for a, b, fa, fb in zip(scan.q, scan.q[1:], f, f[1:], strict=False)
        if fa * fb < 0 and exact(a) * exact(b) < 0
    ]


def _at_bias(scan: _Scan, sigma_b: float) -> list[Critical]:
    sb2 = sigma_b**2

    def exact(q: float) -> float:
        v, s, _ = _moments(scan.activation, q)
        return q - v / s - sb2

    offset = tuple(b - sb2 if abs(b - sb2) > _NOISE * q else math.nan for q, b in zip(scan.q, scan.bias, strict=True))
    points = [_point(scan.activation, q, sigma_b) for q in _roots(scan, offset, exact)]
    return points + (_limit(scan) if sigma_b == 0.0 else [])


def _limit(scan: _Scan) -> list[Critical]:
    """The marginal point q -> 0 at sigma_b = 0, which exists where phi(0) = 0."""
    if scan.at_zero.second != 0.0 or not scan.at_zero.slope_second > 0:
        return []
    return [_point(scan.activation, 0.0, 0.0)]


def _smallest_bias(scan: _Scan) -> list[Critical]:
    """Candidates for the smallest sigma_b with chi_par <= 1."""
    activation = scan.activation
    points = [p for p in _at_bias(scan, 0.0) if p.stable or (p.q and (p.chi_par or 0.0) <= 1 + _ONE)]
    if points:
        return points

    def above(q: float) -> float:
        _, s, rate = _moments(activation, q)
        return rate / s - 1

    def bias(q: float) -> float:
        v, s, _ = _moments(activation, q)
        return q - v / s

    clean = tuple(c - 1 if abs(c - 1) > _NOISE else math.nan for c in scan.chi_par)
    found = [(bias(q), q) for q in _roots(scan, clean, above)]
    inside = [i for i, (b, c) in enumerate(zip(scan.bias, scan.chi_par, strict=True)) if b >= 0 and c <= 1]
    if inside:
        found.append(_lowest(scan, min(inside, key=lambda i: scan.bias[i]), bias))
    feasible = [(b, q) for b, q in found if b >= 0]
    if not feasible:
        return []
    smallest, q = min(feasible)
    return [_point(activation, q, math.sqrt(smallest))]


def _lowest(scan: _Scan, i: int, bias: Callable[[float], float]) -> tuple[float, float]:
    """The minimum of q - V / S around point i of the scan, if it lies between its neighbours."""
    last = len(scan.q) - 1
    around = (scan.bias[max(i - 1, 0)], scan.bias[min(i + 1, last)])
    if any(math.isnan(b) for b in around):
        return math.nan, scan.q[i]  # the less, the more units are dead: there is no smallest
    if i in (0, last) or not min(around) > scan.bias[i]:
        return scan.bias[i], scan.q[i]
    low, high = scan.q[i - 1], scan.q[i + 1]
    for _ in range(40):  # golden section
        a, b = high - 0.618 * (high - low), low + 0.618 * (high - low)
        low, high = (low, b) if bias(a) < bias(b) else (a, high)
    return bias(low), low


def _nearest(scan: _Scan, sigma_b: float, smallest: Sequence[Critical] | None = None) -> Critical | None:
    """The stable choice with chi closest to 1: on the line, else at this sigma_b below q = 100."""
    stable = [p for p in (_smallest_bias(scan) if smallest is None else smallest) if p.stable]
    if stable:
        return min(stable, key=lambda p: p.sigma_b)
    on_line = [
        (abs(b - sigma_b**2), q, b)
        for q, b, c in zip(scan.q, scan.bias, scan.chi_par, strict=True)
        if b >= sigma_b**2 and c < 1 - 1e-3 and q > 1e-4
    ]
    if on_line:
        _, q, b = min(on_line)
        return _point(scan.activation, q, math.sqrt(b))
    return _closest_gain(scan, sigma_b)


def _closest_gain(scan: _Scan, sigma_b: float) -> Critical | None:
    best: tuple[float, float, float, float, float] | None = None
    for q, v, s, c in zip(scan.q, scan.second, scan.slope_second, scan.chi_par, strict=True):
        if not (sigma_b**2 < q <= _SANE and 0 < v < math.inf and 0 < s < math.inf):
            continue
        rate = c * s
        sw2 = (q - sigma_b**2) / v
        off = abs(math.log(sw2 * s))
        if abs(sw2 * rate) < 1 and (best is None or off < best[0]):
            best = (off, q, sw2, sw2 * s, sw2 * rate)
    if best is None:
        return None
    _, q, sw2, chi, chi_par = best
    return Critical(
        activation=scan.activation.name,
        sigma_w=math.sqrt(sw2),
        sigma_b=sigma_b,
        q=q,
        chi=chi,
        chi_par=chi_par,
        stable=True,
        saturated=saturated_share(scan.activation, q),
        reason=f"not critical: gain {math.sqrt(chi):.4f} a layer, the closest to 1 with a variance "
        f"that rests at q <= {_SANE:g}",
    )
