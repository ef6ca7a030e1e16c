"""Scatter: how far random networks of finite width stray from the infinitely wide one.

A thousand networks are followed at once by two numbers each, the logarithms of the signal's mean
square and of the gradient's squared norm relative to the infinitely wide network's.  A layer of n
units multiplies the mean square by the mean of n draws of phi^2, and the squared norm by the mean
of n draws of phi'^2 a^2, with a the gradient that arrives: both means are drawn as gamma variables
of the right variance.  They are drawn together, because they are taken over the same units; and a
mean square that strays moves the slopes of every layer after it.

Weights are not drawn twice: the gradient that comes back through W has a part along the signal that
went through it.  `along` is n cos^2 of the angle between a gradient and the signal at its place, 1
for a gradient that knows nothing of the signal.  That part does not fade with the gain of a layer
but with the rate at which a change of the signal's scale is forgotten, so in a deep network it can
become all that is left (softplus, GELU).

A batch averages.  How much depends on how alike its rows are: `Rows` follows that of the gradients,
`Signal.apart` that of the signals.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

DRAWS = 1024  # networks followed; the ends of a 95 % band are good to a few hundredths of its width
_SEED = 20

Wander = np.ndarray[Any, np.dtype[np.float64]]  # logarithms, one a network
STILL: Wander = np.zeros(DRAWS)
UNKNOWING: Wander = np.ones(DRAWS)  # `along` of a gradient that knows nothing of the signal
_EVEN: Wander = torch.special.ndtri((torch.arange(DRAWS, dtype=torch.float64, device="cpu") + 0.5) / DRAWS).numpy()


class Dice:
    """Private random numbers: the same forecast twice, and nobody's generator is moved."""

    def __init__(self) -> None:
        self._shuffle = np.random.Generator(np.random.PCG64(_SEED))

    def normal(self) -> Wander:
        """Standard normal, one a network, spread evenly over the quantiles and shuffled."""
        return self._shuffle.permutation(_EVEN)


def stray(normal: Wander, variance: "float | Wander") -> Wander:
    """ln of gamma variables of mean 1 and this variance, from normal ones.

    Source: Wilson and Hilferty, PNAS 17, 684 (1931): the cube root of a gamma variable is nearly normal.
    """
    variance = np.maximum(variance, 0.0)
    root: Wander = 3 * np.log(np.maximum(1 - variance / 9 + normal * (np.sqrt(variance) / 3), 1e-3))
    return root


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """How the gradients g_b of a batch's rows share the squared norm, p_b = |g_b|^2 / sum |g_b|^2.

    Attributes:
        own: sum p_b^2, 1 / rows where all are as long.
        shared: sum over pairs of p_b p_c cos^2 of the angle between them.
    """

    own: float = 1.0
    shared: float = 0.0

    def after(self, *, own: float, shared: float, variance: float) -> "Rows":
        """With both numerators grown, relative to the square of the sum, which grew by 1 + variance."""
        one = min(max(own / (1 + variance), 0.0), 1.0)
        return Rows(own=one, shared=min(max(shared / (1 + variance), 0.0), 1 - one))


def through_weights(rows: Rows, units: float) -> tuple[float, Rows]:
    """Variance of ln |W^T g|^2 over weights drawn for `units` inputs, and the rows after it.

    One row has 2 / n; rows that point elsewhere add draws of their own.
    """
    variance = 2 * (rows.own + rows.shared) / units
    apart = 1 - rows.own
    return variance, rows.after(
        own=rows.own * (1 + 2 / units), shared=rows.shared + (apart + rows.shared) / units, variance=variance
    )


def through_slopes(rows: Rows, units: float, *, kurtosis: float, pair: float, alike: float) -> tuple[float, Rows]:
    """Variance that the slopes of `units` units add, and the rows after them.

    One row has 3 (k - 1) / n, with the 2 / n of the weights before it (3k - 1) / n.

    Args:
        rows: Before the slopes.
        units: n.
        kurtosis: k = E phi'^4 / (E phi'^2)^2.
        pair: The same for the slopes of two rows, E phi'^2(u) phi'^2(v) / (E phi'^2)^2.
        alike: E phi'(u) phi'(v) / E phi'^2, what is left of the cosine.
    """
    pairs = (1 - rows.own) + 2 * rows.shared
    variance = (3 * (kurtosis - 1) * rows.own + (pair - 1) * pairs) / units
    return variance, rows.after(
        own=rows.own * (1 + 3 * (kurtosis - 1) / units),
        shared=rows.shared * alike**2 + max(pair - alike**2, 0.0) * pairs / units,
        variance=variance,
    )


def correlated(given: Wander, fresh: Wander, correlation: float) -> Wander:
    """A normal variable that has this correlation with a given one."""
    r = min(max(correlation, -1.0), 1.0)
    return r * given + math.sqrt(1 - r * r) * fresh


def meet_signal(along: Wander, rows: Rows, dice: Dice, *, kept: float | Wander, fresh: float | Wander) -> Wander:
    """`along` where a share is kept and a share drawn anew: a mean over the rows of squares of normal variables."""
    mean = np.maximum(kept * along + fresh, 1e-12)
    variance = 2 * (rows.own + rows.shared) * (fresh * fresh + 2 * kept * along * fresh) / mean**2
    found: Wander = mean * np.exp(stray(dice.normal(), np.minimum(variance, 4.0)))
    return found
