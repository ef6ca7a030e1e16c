"""Pairs: what two rows of a batch have in common after an activation, from Hermite series on a lattice in log q."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fadeout.forecast.moments import known_activation
from fadeout.probe.instruments.sketch import Phi
from fadeout.theory.activation import evaluate
from fadeout.theory.maps import hermite_functions, hermite_rule

_TERMS = 64
_STEPS = 8  # lattice points a decade of q: these numbers only say how wide a band is
_LATTICE: dict[tuple[str, int], "Pairs"] = {}
_Row = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Pairs:
    """Hermite coefficients of phi, phi', phi^2 and phi'^2 at one variance, and their mean squares.

    E f(u) g(v) = sum_n f_n g_n c^n for (u, v) Gaussian with correlation c.
    """

    terms: _Row  # (4, terms)
    whole: _Row  # E f^2 of the four
    cross: float  # E phi^2 phi'^2

    def _at(self, f: int, g: int, whole: float, apart: float) -> float:
        """E f(u) g(v) at correlation 1 - apart; what the series leaves out sits behind its last term."""
        powers = self._powers(apart)
        product = self.terms[f] * self.terms[g]
        return float(product @ powers[:-1]) + (whole - float(product.sum())) * float(powers[-1])

    @staticmethod
    def _powers(apart: float) -> _Row:
        log = math.log1p(-min(max(apart, 0.0), 1 - 1e-12))
        found: _Row = np.exp(np.arange(_TERMS + 1) * log)
        return found

    def apart(self, before: float) -> float:
        """1 - E phi(u) phi(v) / E phi^2, from the same of u and v; written so that small ones don't cancel."""
        lost = -np.expm1(np.arange(_TERMS + 1) * math.log1p(-min(max(before, 0.0), 1 - 1e-12)))
        masses = self.terms[0] ** 2
        rest = max(float(self.whole[0]) - float(masses.sum()), 0.0)
        return min((float(masses @ lost[:-1]) + rest * float(lost[-1])) / float(self.whole[0]), 1.0)

    def slopes_alike(self, apart: float) -> float:
        """E phi'(u) phi'(v) / E phi'^2."""
        steep = float(self.whole[1])
        return self._at(1, 1, steep, apart) / steep

    def value_kurtosis(self, apart: float = 0.0) -> float:
        """E phi^2(u) phi^2(v) / (E phi^2)^2."""
        return self._at(2, 2, float(self.whole[2]), apart) / float(self.whole[0]) ** 2

    def slope_kurtosis(self, apart: float = 0.0) -> float:
        """E phi'^2(u) phi'^2(v) / (E phi'^2)^2."""
        return self._at(3, 3, float(self.whole[3]), apart) / float(self.whole[1]) ** 2

    def together(self, apart: float = 0.0) -> float:
        """E phi^2(u) phi'^2(v) / (E phi^2 E phi'^2): above 1 where large values have steep slopes."""
        return self._at(2, 3, self.cross, apart) / float(self.whole[0] * self.whole[1])


def pairs_near(name: str, phi: Phi, q: float) -> Pairs | None:
    """The pairs of the nearest lattice point; None where phi or its slope is 0 there."""
    place = round(math.log10(min(max(q, 1e-12), 1e12)) * _STEPS)
    if (name, place) not in _LATTICE:
        _LATTICE[name, place] = _read(name, phi, 10.0 ** (place / _STEPS))
    found = _LATTICE[name, place]
    return found if found.whole[0] > 0 and found.whole[1] > 0 and bool(np.isfinite(found.whole).all()) else None


def _read(name: str, phi: Phi, q: float) -> Pairs:
    z, w = hermite_rule()
    value, slope = evaluate(known_activation(name, phi).phi, z * math.sqrt(q))
    rows = torch.stack((value, slope, value.square(), slope.square()))
    return Pairs(
        terms=((rows * w) @ hermite_functions()[:_TERMS].T).numpy(),
        whole=(w * rows.square()).sum(1).numpy(),
        cross=float((w * rows[2] * rows[3]).sum()),
    )
