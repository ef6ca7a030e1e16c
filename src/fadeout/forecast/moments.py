"""Moments of the activations in use, from a lattice in log q."""

import math

import torch

from fadeout.probe.instruments.sketch import Phi
from fadeout.theory import Activation, Moments, moments_at, read_activation
from fadeout.theory.expectation import moment_curves

_KNOWN: dict[str, Activation] = {}
_TABLES: dict[str, dict[int, tuple[float, float, float, float]]] = {}
_STEPS, _BLOCK = 64, 32  # lattice points a decade of q; points computed at once


def known_activation(name: str, phi: Phi) -> Activation:
    if name not in _KNOWN:
        _KNOWN[name] = read_activation(phi, name=name)
        _TABLES[name] = {}
    return _KNOWN[name]


def moments_near(name: str, phi: Phi, q: float) -> Moments:
    """Moments at q from a lattice in log q, linear in between: relative error below 1e-4."""
    activation = known_activation(name, phi)
    if not 1e-12 < q < 1e12:
        return moments_at(activation, q)
    table = _TABLES[name]
    place = math.log10(q) * _STEPS
    low = math.floor(place)
    for n in (low, low + 1):
        if n not in table:
            block = range(n - n % _BLOCK, n - n % _BLOCK + _BLOCK)
            at = torch.tensor([10.0 ** (k / _STEPS) for k in block], dtype=torch.float64)
            curves = moment_curves(activation, at)
            rows = torch.stack(
                (curves.mean / at.sqrt(), curves.second / at, curves.slope_second, curves.slope_fourth)
            ).T.tolist()
            table.update(zip(block, (tuple(row) for row in rows), strict=True))
    t = place - low
    mean, second, slope, fourth = (x + t * (y - x) for x, y in zip(table[low], table[low + 1], strict=True))
    return Moments(
        q=q,
        mean=mean * math.sqrt(q),
        second=second * q,
        slope_mean=math.nan,
        slope_second=slope,
        slope_kurtosis=fourth / slope**2 if 0 < slope < math.inf else math.nan,
        second_rate=math.nan,
        error=1e-4,
    )
