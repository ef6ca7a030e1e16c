"""Maps: how variance and correlation go from one wide layer to the next, and where they rest."""

import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from fadeout.theory.activation import Activation, Elementwise, evaluate, read_activation
from fadeout.theory.expectation import (
    Curves,
    check_variance,
    expect_moments,
    expect_product,
    moment_curves,
)
from fadeout.theory.quadrature import find_root, normal_rule

Q_MIN, Q_MAX = 1e-8, 1e8  # fixed points are sought between; below it is 0, above it is infinite
_TIE = 1e-12  # a map this close to the identity, relative, rests where it starts
_TERMS = 384  # of the Hermite series
_PLACES = 97  # of the way from the start to where the variance is 0 or infinite
_STEPS = 400  # of a map that is not monotone, before it counts as going round and round


def map_variance(phi: Activation | Elementwise, q: float, *, sigma_w: float, sigma_b: float = 0.0) -> float:
    """One step of the variance map, q' = sigma_w^2 V(q) + sigma_b^2.

    Args:
        phi: Elementwise activation, or one already read.
        q: Variance of the pre-activations, >= 0.
        sigma_w: Weight scale; weights are drawn N(0, sigma_w^2 / fan_in).
        sigma_b: Bias scale.

    Source: Poole et al., "Exponential expressivity in deep neural networks", arXiv:1606.05340.
    """
    sw2, sb2 = check_scales("map_variance", sigma_w, sigma_b)
    return sw2 * expect_moments(phi, check_variance("map_variance", q)).second + sb2


def find_variance(phi: Activation | Elementwise, *, sigma_w: float, sigma_b: float = 0.0, start: float = 1.0) -> float:
    """Fixed point q* that the variance map reaches from `start`.

    The first fixed point in the direction the variance moves, where the map rises all the way (then it
    can't jump over it); else the map is iterated.  Where every q is fixed (ReLU at sigma_w = sqrt 2) it
    is `start`.

    Args:
        phi: Elementwise activation, or one already read.
        sigma_w: Weight scale.
        sigma_b: Bias scale.
        start: Variance of the first pre-activations, > 0.

    Returns:
        q*; 0.0 where the variance dies out (below 1e-8), inf where it grows past 1e8 (u^2, u^3: there
        is none).  Where the map goes round and round, the fixed point that it goes around.
    """
    sw2, sb2 = check_scales("find_variance", sigma_w, sigma_b)
    if not (Q_MIN <= start <= Q_MAX):
        raise ValueError(f"find_variance: start must lie in [{Q_MIN:g}, {Q_MAX:g}], got {start}; scale the input")
    activation = read_activation(phi)

    def drift(log_q: float) -> float:
        at = torch.tensor([math.exp(log_q)], dtype=torch.float64, device="cpu")
        return float(sw2 * moment_curves(activation, at).second + sb2 - at)

    first = drift(math.log(start))
    if abs(first) <= _TIE * start:
        return start
    edge = Q_MAX if first > 0 else Q_MIN
    path = torch.linspace(math.log(start), math.log(edge), _PLACES, dtype=torch.float64, device="cpu")
    mapped = sw2 * moment_curves(activation, path.exp()).second + sb2
    sign = 1.0 if first > 0 else -1.0
    bracket = _first_turn(path.tolist(), (sign * (mapped - path.exp())).tolist(), lambda t: sign * drift(t))
    found, walked = (math.inf if first > 0 else 0.0), mapped
    if bracket is not None:
        found = math.exp(find_root(drift, *bracket, tolerance=1e-15))
        walked = mapped[sign * path <= sign * bracket[1]]
    if not bool((sign * walked.diff() < -_TIE * walked[1:]).any()):
        return found  # a rising map can't jump over where it rests
    return _iterate(lambda q: q + drift(math.log(q)), start, found)


def _first_turn(path: list[float], ahead: list[float], exact: Callable[[float], float]) -> tuple[float, float] | None:
    """The first stretch of the path on which the drift turns; it looks between the places, too."""
    for i in range(1, len(path)):
        if not ahead[i] > 0:
            return path[i - 1], path[i]
        if i + 1 < len(path) and ahead[i - 1] > ahead[i] < ahead[i + 1]:  # two rests may hide beside a lowest place
            lowest = _lowest(exact, path[i - 1], path[i + 1])
            if not exact(lowest) > 0:
                return path[i - 1], lowest
    return None


def _lowest(f: Callable[[float], float], low: float, high: float) -> float:
    """Where f is smallest, by golden section."""
    for _ in range(40):
        a, b = high - 0.618 * (high - low), low + 0.618 * (high - low)
        low, high = (low, b) if f(a) < f(b) else (a, high)
    return 0.5 * (low + high)


def _iterate(step: Callable[[float], float], start: float, otherwise: float) -> float:
    """Where a map that falls somewhere leads; `otherwise` where it goes round and round."""
    q = start
    for _ in range(_STEPS):
        after = step(q)
        if not after < Q_MAX:
            return math.inf
        if after < Q_MIN:
            return 0.0
        if abs(after - q) <= 1e-14 * q:
            return after
        q = after
    return otherwise


def map_correlation(
    phi: Activation | Elementwise, c: float, *, q: float, sigma_w: float, sigma_b: float = 0.0
) -> float:
    """One step of the correlation map at the fixed variance q.

    c' = (sigma_w^2 E phi(u) phi(v) + sigma_b^2) / q with (u, v) Gaussian, variance q,
    correlation c.  Its slope at c = 1 is chi_1.

    Args:
        phi: Elementwise activation, or one already read.
        c: Correlation in [-1, 1].
        q: Fixed point of the variance map, > 0; `find_variance` gives it.
        sigma_w: Weight scale.
        sigma_b: Bias scale.

    Source: Poole et al., arXiv:1606.05340; Schoenholz et al., arXiv:1611.01232.
    """
    sw2, sb2 = check_scales("map_correlation", sigma_w, sigma_b)
    if not -1 <= c <= 1:
        raise ValueError(f"map_correlation: a correlation lies in [-1, 1], got {c}; clip it")
    if not 0 < q < math.inf:
        raise ValueError(f"map_correlation: needs a finite fixed point q > 0, got {q}; see find_variance")
    activation = read_activation(phi)
    return (sw2 * expect_product(activation.phi, activation, q, c) + sb2) / q


def find_correlation(
    phi: Activation | Elementwise, *, q: float, sigma_w: float, sigma_b: float = 0.0
) -> tuple[float, float]:
    """Stable fixed point c* of the correlation map and the map's slope there.

    Written without sigma_b, which the fixed point of the variance eliminates: c* solves
    E (phi(u) - phi(v))^2 / 2 = q (1 - c) / sigma_w^2.

    Args:
        phi: Elementwise activation, or one already read.
        q: Fixed point of the variance map, > 0, finite.
        sigma_w: Weight scale.
        sigma_b: Bias scale; only checked.

    Returns:
        (c*, slope).  (1, chi_1) in the ordered phase and at the edge.
    """
    sw2, _ = check_scales("find_correlation", sigma_w, sigma_b)
    if not 0 < q < math.inf:
        raise ValueError(f"find_correlation: needs a finite fixed point q > 0, got {q}; see find_variance")
    activation = read_activation(phi)
    at = torch.tensor([q], dtype=torch.float64, device="cpu")
    masses = slope_spectrum(activation, at)
    whole = float(moment_curves(activation, at).slope_second)
    if sw2 * whole <= 1 + 1e-9 and not activation.jumps:
        return 1.0, sw2 * whole
    if not activation.jumps and whole - float(masses.sum()) < 1e-11 * whole:
        return _correlation_by_series(masses.squeeze(0), sw2)
    return _correlation_by_quadrature(activation, q, sw2)


def check_scales(caller: str, sigma_w: float, sigma_b: float) -> tuple[float, float]:
    """(sigma_w^2, sigma_b^2).

    Raises:
        ValueError: If one of them is negative, nan or infinite, or sigma_w is 0.
    """
    if not (math.isfinite(sigma_w) and sigma_w > 0):
        raise ValueError(f"{caller}: sigma_w must be finite and > 0, got {sigma_w}; it is sqrt(fan_in Var W)")
    if not (math.isfinite(sigma_b) and sigma_b >= 0):
        raise ValueError(f"{caller}: sigma_b must be finite and >= 0, got {sigma_b}; it is sqrt(Var b)")
    return sigma_w**2, sigma_b**2


def slope_spectrum(activation: Activation, q: Tensor) -> Tensor:
    """Squared Hermite coefficients a_n^2 of the slope: E phi'(u) phi'(v) = sum_n a_n^2 c^n.

    Args:
        activation: One already read.
        q: Variances, > 0.  Shape (Q,).

    Returns:
        Shape (Q, 384).  Their sum falls short of S(q) by what the kinks put into higher terms.
    """
    z, w = hermite_rule()
    root = q.sqrt().unsqueeze(1)
    slope = evaluate(activation.phi, z * root)[1]
    coefficients = torch.zeros((len(q), _TERMS), dtype=torch.float64, device="cpu")
    for kink in activation.mesh.kinks:
        if kink == 0.0:
            continue  # an edge of the rule
        sides = torch.tensor([kink - 1e-11, kink + 1e-11], dtype=torch.float64, device="cpu")
        jump = float(evaluate(activation.phi, sides)[1].diff())
        at = (kink / root).squeeze(1)
        # the rule is blind to the jump, so take it out and put it in exactly
        slope = slope - jump * (z > at.unsqueeze(1))
        coefficients += jump * _step_coefficients(at)
    return (coefficients + (slope * w) @ hermite_functions().T).square()


def _step_coefficients(at: Tensor) -> Tensor:
    """Hermite coefficients of z > at: the normal tail, then He_(n-1)(at) density(at) / sqrt n.  (Q, N)."""
    density = torch.exp(-0.5 * at.square()) / math.sqrt(2 * math.pi)
    before, row = torch.zeros_like(at), density  # both carry the density, so nothing overflows
    columns = [0.5 * torch.erfc(at / math.sqrt(2))]
    for n in range(1, _TERMS):
        columns.append(row / math.sqrt(n))
        before, row = row, (at * row - math.sqrt(n - 1) * before) / math.sqrt(n)
    return torch.stack(columns, 1)


@cache
def hermite_rule() -> tuple[Tensor, Tensor]:
    """Rule on |z| <= 13: high Hermite polynomials weigh the tails.  Blind to kinks."""
    z, w = normal_rule(torch.zeros((1, 0), dtype=torch.float64, device="cpu"), segments=72, span=13.5, nodes=20)
    return z.squeeze(0), w.squeeze(0)


@cache
def hermite_functions() -> Tensor:
    """Normalised Hermite polynomials He_n / sqrt(n!) on the rule's nodes.  Shape (384, nodes)."""
    z, _ = hermite_rule()
    rows = [torch.ones_like(z), z]
    for n in range(2, _TERMS):
        rows.append((z * rows[-1] - math.sqrt(n - 1) * rows[-2]) / math.sqrt(n))
    return torch.stack(rows)


def _correlation_by_series(masses: Tensor, sw2: float) -> tuple[float, float]:
    powers = torch.arange(len(masses), dtype=torch.float64, device="cpu")

    def excess(c: float) -> float:  # sigma_w^2 E(phi(u) - phi(v))^2 / (2 q (1 - c)) - 1, rising in c
        # (1 - c^(n+1)) / ((n + 1)(1 - c)), also next to c = 1
        log_c = math.log1p(c - 1) if c > 0 else -math.inf
        ramp = -torch.expm1((powers + 1) * log_c) / ((powers + 1) * (1 - c))
        return sw2 * float(masses @ ramp) - 1

    if excess(0.0) >= 0:  # odd phi without bias: every pair becomes orthogonal
        return 0.0, sw2 * float(masses[0])
    if excess(1 - 1e-9) <= 0:
        return 1.0, sw2 * float(masses.sum())
    c = find_root(excess, 0.0, 1 - 1e-9)
    return c, sw2 * float(masses @ c**powers)


def _correlation_by_quadrature(activation: Activation, q: float, sw2: float) -> tuple[float, float]:
    same = expect_moments(activation, q).second

    def excess(angle: float) -> float:
        c = math.cos(angle)
        return sw2 * (same - expect_product(activation.phi, activation, q, c)) / (q * (1 - c)) - 1

    def slope(u: Tensor) -> Tensor:
        return evaluate(activation.phi, u)[1]

    if excess(math.pi / 2) >= -_TIE:
        return 0.0, sw2 * expect_product(slope, activation, q, 0.0)
    if excess(1e-3) <= 0:
        return 1.0, sw2 * expect_moments(activation, q).slope_second
    c = math.cos(find_root(excess, math.pi / 2, 1e-3, tolerance=1e-9))
    return c, sw2 * expect_product(slope, activation, q, c)


def curves_between(activation: Activation, low: float, high: float, points: int) -> Curves:
    """Moments on a grid even in log q."""
    grid = torch.linspace(math.log(low), math.log(high), points, dtype=torch.float64, device="cpu")
    return moment_curves(activation, grid.exp())
