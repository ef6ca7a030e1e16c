"""Phase diagrams: q*, chi, phase and depth scale over a grid of weight and bias scales."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from fadeout.theory.activation import Activation, Elementwise, evaluate, read_activation
from fadeout.theory.expectation import expect_moments, moment_curves
from fadeout.theory.maps import Q_MAX, Q_MIN, curves_between, slope_spectrum
from fadeout.theory.phase import EDGE, Phase
from fadeout.theory.quadrature import legendre

_POINTS = 641  # of the q grid, odd: q = 1 is the middle
_ROWS = 65  # variances of the table of chaotic depth scales
_TABLE = (1e-4, 1e6)  # their range; beyond, the nearest row serves
_CURVE = 1025  # correlations of one row
_COLUMNS = 65  # of the resampled row
_TIE = 1e-12

Grid = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseDiagram:
    """Fixed points over a grid; nested tuples, [i][j] belongs to sigma_b[i], sigma_w[j].

    Attributes:
        activation: Name.
        sigma_w: Weight scales, columns.
        sigma_b: Bias scales, rows.
        q: Fixed variance; 0.0 it dies out, inf it grows without bound.
        chi: Expected squared gain of a layer there.
        phase: "ordered", "critical" or "chaotic", by chi.
        xi: Depth scale of the correlation xi_c, layers; inf at the edge.  Where q is infinite,
            that of the gradient, 1 / |ln chi|.
        error: Largest relative error of V and S that the interpolation showed at midpoints
            of the cells in use, against the rule of `expect_moments`.
    """

    activation: str
    sigma_w: tuple[float, ...]
    sigma_b: tuple[float, ...]
    q: Grid
    chi: Grid
    phase: tuple[tuple[Phase, ...], ...]
    xi: Grid
    error: float


def phase_diagram(phi: Activation | Elementwise, *, sigma_w: Iterable[float], sigma_b: Iterable[float]) -> PhaseDiagram:
    """Phase diagram of an activation, interpolated from curves of V(q) and S(q).

    ln V and ln S are cubic Hermite splines in ln q (641 points over 16 decades, exact slopes);
    the fixed point is the one reached from q = 1, as in `find_variance`.  xi in the chaotic phase
    comes from a table over (q, chi), with relative error usually below 1e-3, at most 1 % (kinked
    activations near the edge, depth scales below one layer).

    Args:
        phi: Elementwise activation, or one already read.
        sigma_w: Weight scales, finite and > 0.
        sigma_b: Bias scales, finite and >= 0.

    Raises:
        ValueError: If a scale is out of range or a grid is empty.
    """
    columns, rows = tuple(map(float, sigma_w)), tuple(map(float, sigma_b))
    if not columns or not all(math.isfinite(s) and s > 0 for s in columns):
        raise ValueError("phase_diagram: every sigma_w must be finite and > 0, and one is needed")
    if not rows or not all(math.isfinite(s) and s >= 0 for s in rows):
        raise ValueError("phase_diagram: every sigma_b must be finite and >= 0, and one is needed")
    activation = read_activation(phi)
    sw2 = torch.tensor(columns, dtype=torch.float64, device="cpu").square()
    sb2 = torch.tensor(rows, dtype=torch.float64, device="cpu").square()
    spline = _fit(activation)
    q, slope_second = _fixed_points(activation, spline, sw2, sb2)
    chi = sw2 * slope_second
    xi = _depth_scales(activation, q, chi)
    return PhaseDiagram(
        activation=activation.name,
        sigma_w=columns,
        sigma_b=rows,
        q=_nest(q),
        chi=_nest(chi),
        phase=tuple(tuple(_NAMES[i] for i in row) for row in _phase_codes(chi).tolist()),
        xi=_nest(xi),
        error=_spline_error(activation, spline, q[q.isfinite() & (q > 0)]),
    )


_NAMES: tuple[Phase, ...] = ("ordered", "critical", "chaotic")


def _phase_codes(chi: Tensor) -> Tensor:
    return (chi > 1 + EDGE).to(torch.int64) + (chi >= 1 - EDGE).to(torch.int64)


def _nest(table: Tensor) -> Grid:
    return tuple(map(tuple, table.tolist()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spline:
    """ln V and ln S as cubics of t in [0, 1] on every cell of the ln q grid."""

    grid: Tensor  # ln q, (P,)
    second: Tensor  # V on the grid, (P,)
    log_second: Tensor  # cubic coefficients, (P - 1, 4)
    log_slope: Tensor


def _fit(activation: Activation) -> _Spline:
    curves = curves_between(activation, Q_MIN, Q_MAX, _POINTS)
    grid = curves.q.log()
    step = float(grid[1] - grid[0])
    return _Spline(
        grid=grid,
        second=curves.second,
        log_second=_cubics(curves.second, curves.second_rate * curves.q, step),
        log_slope=_cubics(curves.slope_second, curves.slope_second_rate * curves.q, step),
    )


def _cubics(value: Tensor, rate: Tensor, step: float) -> Tensor:
    """Hermite cubics of ln value from its exact rate over ln q; a blow-up is held at 1e300."""
    held = value.clamp(1e-300, 1e300)
    log, d = held.log(), (rate / held).nan_to_num(0.0, 0.0, 0.0).masked_fill(held != value, 0.0) * step
    low, high, dl, dh = log[:-1], log[1:], d[:-1], d[1:]
    jump = high - low
    return torch.stack([low, dl, 3 * jump - 2 * dl - dh, dl + dh - 2 * jump], 1)


def _horner(cubic: Tensor, t: Tensor) -> Tensor:
    a, b, c, d = cubic.unbind(-1)
    return a + t * (b + t * (c + t * d))


def _spline_error(activation: Activation, spline: _Spline, used: Tensor) -> float:
    if not len(used):
        return 0.0
    first, last = torch.searchsorted(spline.grid, torch.stack([used.min(), used.max()]).log()).tolist()
    cells = torch.linspace(max(first - 1, 0), min(last, _POINTS - 2), 41, device="cpu").to(torch.int64)
    middle = (0.5 * (spline.grid[cells] + spline.grid[cells + 1])).exp()
    true = moment_curves(activation, middle)
    half = torch.tensor(0.5, dtype=torch.float64, device="cpu")
    worst = 0.0
    for cubic, exact in ((spline.log_second, true.second), (spline.log_slope, true.slope_second)):
        good = exact.isfinite() & (exact > 1e-290)
        off = (_horner(cubic[cells], half) - exact.log()).abs()[good]
        worst = max(worst, float(off.max()) if len(off) else 0.0)
    return worst


def _fixed_points(activation: Activation, spline: _Spline, sw2: Tensor, sb2: Tensor) -> tuple[Tensor, Tensor]:
    """q* and S(q*).  Shapes (B, W)."""
    q = spline.grid.exp()
    start = _POINTS // 2
    rest = q - sw2.unsqueeze(1) * spline.second.clamp_max(1e300)  # a fixed point has rest = sigma_b^2; (W, P)
    wanted = sb2.expand(len(sw2), -1).contiguous()
    up = torch.searchsorted(rest[:, start:].cummax(1).values, wanted) + start - 1  # left edge of the cell
    falling = (-rest[:, : start + 1].flip(1)).cummax(1).values
    down = start - torch.searchsorted(falling, -wanted)
    drift = wanted - rest[:, start : start + 1]
    tie = drift.abs() <= _TIE
    cell = torch.where(drift > 0, up, down)
    dead, endless = (cell < 0) & ~tie, (cell >= _POINTS - 1) & ~tie
    cell = cell.clamp(0, _POINTS - 2)
    t, x = _solve(spline, cell, sw2.unsqueeze(1), wanted)
    slope = _horner(spline.log_slope[cell], t).exp()
    found = x.exp()
    ends = expect_moments(activation, 0.0).slope_second, expect_moments(activation, Q_MAX).slope_second
    one = expect_moments(activation, 1.0).slope_second
    for mask, at, s in ((dead, 0.0, ends[0]), (endless, math.inf, ends[1]), (tie, 1.0, one)):
        found = found.masked_fill(mask, at)
        slope = slope.masked_fill(mask, s)
    return found.T, slope.T


def _solve(spline: _Spline, cell: Tensor, sw2: Tensor, sb2: Tensor) -> tuple[Tensor, Tensor]:
    """Where ln(sigma_w^2 V + sigma_b^2) = ln q inside the cells: Newton, kept in the bracket."""
    a, b, c, d = spline.log_second[cell].unbind(-1)
    left, step = spline.grid[cell], float(spline.grid[1] - spline.grid[0])
    t = torch.full_like(left, 0.5)
    for _ in range(5):
        weighted = sw2 * torch.exp(a + t * (b + t * (c + t * d)))
        total = weighted + sb2
        rate = weighted / total * (b + t * (2 * c + 3 * t * d)) - step
        t = (t - (total.log() - left - step * t) / rate).nan_to_num(0.5).clamp_(0.0, 1.0)
    return t, left + step * t


def _depth_scales(activation: Activation, q: Tensor, chi: Tensor) -> Tensor:
    log_chi = chi.log()
    xi = 1 / log_chi.abs().masked_fill((chi - 1).abs() <= EDGE, 0.0)
    chaotic = (chi > 1 + EDGE) & q.isfinite() & (q > 0)
    if not bool(chaotic.any()):
        return xi
    if activation.jumps:  # chi is then not the slope of the correlation map
        return xi.masked_fill(chaotic, math.nan)
    ratio = _ratio(activation, q[chaotic], chi[chaotic])
    xi[chaotic] = 1 / (ratio * log_chi[chaotic])
    return xi


def _ratio(activation: Activation, q: Tensor, chi: Tensor) -> Tensor:
    """-ln(slope of the correlation map at c*) / ln(chi), from a table over (q, chi)."""
    floor, table = _chaos_table(activation)
    low, high = (math.log(v) for v in _TABLE)
    row = ((q.log() - low) / (high - low) * (_ROWS - 1)).clamp(0, _ROWS - 1)
    i, u = _place(row, _ROWS)
    gap = torch.zeros_like(q)
    for k, weight in enumerate(_lagrange(u)):
        gap += weight * floor[i + k]
    column = ((1 - 1 / chi) / gap.exp()).clamp(0, 1).sqrt() * (_COLUMNS - 1)
    j, v = _place(column, _COLUMNS)
    across = _lagrange(v)
    ratio = torch.zeros_like(q)
    flat = table.flatten()
    for k, weight in enumerate(_lagrange(u)):
        at = (i + k) * _COLUMNS + j
        line = torch.zeros_like(q)
        for m, part in enumerate(across):
            line += part * flat[at + m]
        ratio += weight * line
    return ratio


def _place(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """First of the four grid points around x, and where x lies from it, in [0, 3]."""
    first = (x.floor().to(torch.int64) - 1).clamp(0, size - 4)
    return first, x - first


def _lagrange(u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of cubic interpolation on the points 0, 1, 2, 3."""
    a, b, c = u - 1, u - 2, u - 3
    return -a * b * c / 6, u * b * c / 2, -u * a * c / 2, u * a * b / 6


def _chaos_table(activation: Activation) -> tuple[Tensor, Tensor]:
    """ln(1 - r_min) for every q, and the ratio where the root of
    (1 - r) / (1 - r_min) is even.

    With E phi'(u) phi'(v) = X(c), the fixed correlation at sigma_w^2 solves
    1 / chi = r(c), the mean of X over [c, 1] divided by S; the slope there is X / (S r).
    Shapes (rows,) and (rows, columns).
    """
    rows = torch.linspace(math.log(_TABLE[0]), math.log(_TABLE[1]), _ROWS, dtype=torch.float64, device="cpu")
    s = torch.linspace(0, 1, _CURVE, dtype=torch.float64, device="cpu")  # c = 1 - s^2: X is smooth in s
    lost, mean_lost = _lost_on_curve(activation, rows.exp(), s)
    gap = mean_lost.clamp_min(1e-300)  # 1 - r
    ratio = (torch.log1p(-gap) - torch.log1p(-lost.clamp_max(1 - 1e-15))) / -torch.log1p(-gap)
    ratio[:, 0] = 2 * ratio[:, 8] - ratio[:, 16]
    ratio[:, 1:8] = ratio[:, :1] + (ratio[:, 8:9] - ratio[:, :1]) * torch.arange(1, 8, device="cpu") / 8
    widest = gap[:, -1:]
    place = gap / widest  # 0 at the edge of chaos, 1 at c = 0; rises along s
    # even in the root: the ratio is smooth in s, which goes like place or, without kinks, like its root
    even = torch.linspace(0, 1, _COLUMNS, dtype=torch.float64, device="cpu")
    target = even.square().expand(_ROWS, -1).contiguous()
    right = torch.searchsorted(place.contiguous(), target).clamp(1, _CURVE - 1)
    x0, x1 = place.gather(1, right - 1), place.gather(1, right)
    y0, y1 = ratio.gather(1, right - 1), ratio.gather(1, right)
    blend = ((target - x0) / (x1 - x0).clamp_min(1e-300)).clamp(0, 1)
    return widest.squeeze(1).log(), y0 + (y1 - y0) * blend


def _lost_on_curve(activation: Activation, q: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """1 - X(c) / S and its mean over [c, 1], at c = 1 - s^2.  Shapes (Q, C)."""
    masses = slope_spectrum(activation, q)
    total = moment_curves(activation, q).slope_second
    n = torch.arange(masses.shape[1], dtype=torch.float64, device="cpu").unsqueeze(1)
    log_c = torch.log1p(-s.square().clamp_max(1 - 1e-15))
    lost = -torch.expm1(n * log_c)  # (N, C)
    span = s.square().clamp_min(1e-300)
    mean_lost = 1 + torch.expm1((n + 1) * log_c) / ((n + 1) * span)
    small = (n + 1) * s.square() < 1e-3  # the series avoids cancellation
    mean_lost = torch.where(small, n * s.square() / 2 * (1 - (n - 1) * s.square() / 3), mean_lost)
    share = masses / total.unsqueeze(1)
    rest = (1 - share.sum(1, keepdim=True)).clamp_min(0.0)
    rest = rest.masked_fill(rest < 1e-12, 0.0)
    tail, mean_tail = _lost_tail(float(masses.shape[1]), s, _tail_power(activation))
    return share @ lost + rest * tail, share @ mean_lost + rest * mean_tail


def _tail_power(activation: Activation) -> float:
    """How the terms beyond the last fall: n^(-3/2) where the slope jumps, n^(-5/2) where it has a corner."""
    if not activation.mesh.kinks:
        return 2.5
    kinks = torch.tensor(activation.mesh.kinks, dtype=torch.float64, device="cpu").unsqueeze(1)
    sides = torch.cat([kinks - 1e-11, kinks + 1e-11], 1)
    jump = float(evaluate(activation.phi, sides)[1].diff(dim=1).abs().max())
    return 1.5 if jump > 1e-6 * activation.slope_sup else 2.5


def _lost_tail(terms: float, s: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """1 - X(c) / X(1) of terms that fall like n^(-power) from `terms` on, and its mean over [c, 1]."""

    def lost(square: Tensor) -> Tensor:
        x = -terms * torch.log1p(-square.clamp_max(1 - 1e-15))
        root = (torch.pi * x).sqrt() * torch.erfc(x.sqrt())
        return root - torch.expm1(-x) if power == 1.5 else 2 * x * (torch.exp(-x) - root) - torch.expm1(-x)

    x, w = legendre()
    inner = 0.5 * (x + 1)  # sigma / s; the mean over [c, 1] has density 2 sigma / s^2
    mean = (lost((s.unsqueeze(1) * inner).square()) * inner * w).sum(1)
    return lost(s.square()), mean
