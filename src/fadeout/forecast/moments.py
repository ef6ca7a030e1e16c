"""Moments of the activations in use, from a lattice in log q."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from fadeout.forecast.scatter import Wander
from fadeout.probe.instruments.sketch import Phi
from fadeout.theory import Activation, Moments, moments_at, read_activation
from fadeout.theory.expectation import moment_curves

_KNOWN: dict[str, Activation] = {}
_TABLES: dict[str, dict[int, tuple[float, float, float, float]]] = {}
_STEPS, _BLOCK = 64, 32  # lattice points a decade of q; points computed at once
_LEAST, _MOST = 1e-12, 1e12  # the lattice; beyond, moments are computed one by one
_ENDS = (-14 * _STEPS, 14 * _STEPS)  # where networks that stray are held


def known_activation(name: str, phi: Phi) -> Activation:
    if name not in _KNOWN:
        _KNOWN[name] = read_activation(phi, name=name)
        _TABLES[name] = {}
    return _KNOWN[name]


def moments_near(name: str, phi: Phi, q: float) -> Moments:
    """Moments at q from a lattice in log q, linear in between: relative error below 1e-4."""
    activation = known_activation(name, phi)
    if not _LEAST < q < _MOST:
        return moments_at(activation, q)
    place = math.log10(q) * _STEPS
    low = math.floor(place)
    first, second = _rows(name, low, low + 1)
    t = place - low
    mean, variance, slope, fourth = (x + t * (y - x) for x, y in zip(first, second, strict=True))
    return Moments(
        q=q,
        mean=mean,
        second=variance * q + mean**2,
        slope_mean=math.nan,
        slope_second=slope,
        slope_kurtosis=fourth / slope**2 if 0 < slope < math.inf else math.nan,
        second_rate=math.nan,
        error=1e-4,
    )


@dataclass(frozen=True, slots=True)
class Around:
    """How the moments change with q, one value a network.

    Attributes:
        second: ln V at q e^wander, relative to that at q.
        slope: The same of ln S.
        second_power: d ln V / d ln q.
        slope_power: d ln S / d ln q.
        ratio: V / (q S).
    """

    second: Wander
    slope: Wander
    second_power: Wander
    slope_power: Wander
    ratio: Wander


def moments_around(name: str, phi: Phi, q: float, wander: Wander) -> Around | None:
    """Moments of networks whose variance strays from q; None where the activation is dead there."""
    known_activation(name, phi)
    if not _LEAST < q < _MOST:
        return None
    here = math.log10(q) * _STEPS
    places = np.clip(here + wander * (_STEPS / math.log(10)), *_ENDS)
    low, high = math.floor(min(float(places.min()), here)) - 1, math.floor(max(float(places.max()), here)) + 2
    grid = np.arange(low, high + 1)
    mean, variance, steep, _ = np.array(_rows(name, low, high)).T
    table = np.stack((variance + mean**2 / 10.0 ** (grid / _STEPS), steep))
    if not (np.isfinite(table).all() and (table > 0).all()):
        return None
    logs = np.log(table)  # of V / q and S
    powers = np.gradient(logs, math.log(10) / _STEPS, axis=1)
    second, slope = (np.interp(places, grid, row) for row in logs)
    at, slope_at = (float(np.interp(here, grid, row)) for row in logs)
    return Around(
        second=second - at + (places - here) * (math.log(10) / _STEPS),
        slope=slope - slope_at,
        second_power=1 + np.interp(places, grid, powers[0]),
        slope_power=np.interp(places, grid, powers[1]),
        ratio=np.exp(second - slope),
    )


def _rows(name: str, low: int, high: int) -> list[tuple[float, float, float, float]]:
    """The lattice from one place to another: M, (V - M^2) / q, S, E phi'^4."""
    activation, table = _KNOWN[name], _TABLES[name]
    for n in range(low, high + 1):
        if n not in table:
            block = range(n - n % _BLOCK, n - n % _BLOCK + _BLOCK)
            at = torch.tensor([10.0 ** (k / _STEPS) for k in block], dtype=torch.float64, device="cpu")
            curves = moment_curves(activation, at)
            rows = torch.stack(
                (curves.mean, (curves.second - curves.mean**2) / at, curves.slope_second, curves.slope_fourth)
            ).T.tolist()
            table.update(zip(block, (tuple(row) for row in rows), strict=True))
    return [table[n] for n in range(low, high + 1)]
