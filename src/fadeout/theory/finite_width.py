"""Finite width: how far a random net's gradient strays from the infinitely wide one's."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Weights = Literal["gaussian", "orthogonal"]

_LOST = {"gaussian": 1.0, "orthogonal": 3.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Where log10 of a gradient norm falls in 95 % of random nets, decades.

    Attributes:
        low: Lower end.
        centre: Infinite-width prediction, shifted by -beta / (4 ln 10).
        high: Upper end.
        beta: Variance of ln |g|^2 over random nets.
    """

    low: float
    centre: float
    high: float
    beta: float

    @property
    def lottery(self) -> bool:
        """beta > 1: the draw of the weights decides more than the initialisation's scale."""
        return self.beta > 1


def layer_beta(width: int, *, kurtosis: float, weights: Weights = "gaussian") -> float:
    """One layer's part of beta, (3k - 1) / n for Gaussian and (3k - 3) / n for orthogonal weights.

    ReLU has k = 2 (5 / n, as in Hanin and Nica), linear k = 1 (2 / n, and 0).  To leading order
    in 1 / n: at n = 1 it is a limit value of order 1, which only says that nothing is known.

    Args:
        width: Units n of the layer, >= 1.
        kurtosis: k = E phi'^4 / (E phi'^2)^2 >= 1, `slope_kurtosis` of the moments.
        weights: How they are drawn.

    Source: Hanin and Nica, arXiv:1812.05994, for ReLU; the form for any k was derived for this
        package and checked by simulation.
    """
    if width < 1:
        raise ValueError(f"layer_beta: width must be >= 1, got {width}; pass the units of the layer")
    if not kurtosis >= 1 - 1e-9:
        raise ValueError(
            f"layer_beta: kurtosis E phi'^4 / (E phi'^2)^2 is at least 1, got {kurtosis}; "
            "expect_moments gives it as slope_kurtosis"
        )
    if weights not in _LOST:
        raise ValueError(f"layer_beta: weights must be 'gaussian' or 'orthogonal', got {weights!r}; pick one")
    return max(3 * kurtosis - _LOST[weights], 0.0) / width


def sum_beta(widths: Iterable[int], *, kurtosis: float, weights: Weights = "gaussian") -> float:
    """beta of a chain of layers with one kind of activation: the sum of `layer_beta`."""
    return math.fsum(layer_beta(n, kurtosis=kurtosis, weights=weights) for n in widths)


def band(decades: float, *, beta: float, sigmas: float = 1.96) -> Band:
    """Band around a predicted log10 gradient norm, which is log-normal over random nets.

    ln |g|^2 has mean shift -beta / 2 and variance beta, so log10 |g| shifts by -beta / (4 ln 10)
    and has standard deviation sqrt(beta) / (2 ln 10).

    Args:
        decades: Prediction at infinite width.
        beta: Sum over the layers, `sum_beta`.
        sigmas: Half-width in standard deviations; 1.96 for 95 %.
    """
    if not (math.isfinite(beta) and beta >= 0):
        raise ValueError(f"band: beta is a variance, so finite and >= 0; got {beta}; see sum_beta")
    centre = decades - beta / (4 * math.log(10))
    half = sigmas * math.sqrt(beta) / (2 * math.log(10))
    return Band(low=centre - half, centre=centre, high=centre + half, beta=beta)
