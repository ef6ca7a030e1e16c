"""Trajectories: variance and gradient layer by layer, before any fixed point is reached."""

import math
from dataclasses import dataclass

from fadeout.theory.activation import Activation, Elementwise, read_activation
from fadeout.theory.expectation import check_variance, moments_at
from fadeout.theory.maps import check_scales
from fadeout.theory.phase import log_gain

_SETTLED = 1e-14  # relative change of q from which it no longer moves


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """A plain net of equal wide layers, followed from its first pre-activation.

    Hop l goes backward through phi and W of one layer, from z_(l+1) to z_l.

    Attributes:
        activation: Name.
        sigma_w: Weight scale.
        sigma_b: Bias scale.
        q: Variance of the pre-activations z_1 .. z_(D+1), data side first.
        kurtosis: k of the slopes in every hop, for the finite-width band.
        log_gains: Decades of every hop, data side first; negative fades.
    """

    activation: str
    sigma_w: float
    sigma_b: float
    q: tuple[float, ...]
    kurtosis: tuple[float, ...]
    log_gains: tuple[float, ...]

    @property
    def decades(self) -> float:
        """log10 of |dL/dz_1| over |dL/dz_(D+1)|: the sum of the hops."""
        return math.fsum(self.log_gains)


def follow_variance(
    phi: Activation | Elementwise, *, sigma_w: float, sigma_b: float = 0.0, depth: int, start: float = 1.0
) -> Trajectory:
    """Follow a plain net z' = W phi(z) + b through `depth` hops.

    Args:
        phi: Elementwise activation, or one already read.
        sigma_w: Weight scale.
        sigma_b: Bias scale.
        depth: Hops, >= 1: a net of depth + 1 weight layers.
        start: Variance of the first pre-activation z_1.

    Returns:
        `depth` log gains and `depth` + 1 variances; inf and nan once the activation blows up.
    """
    sw2, sb2 = check_scales("follow_variance", sigma_w, sigma_b)
    q = check_variance("follow_variance", start, what="start")
    if depth < 1:
        raise ValueError(f"follow_variance: depth counts hops and must be >= 1, got {depth}; pass layers - 1")
    activation = read_activation(phi)
    variances, kurtosis, gains = [q], [], []
    at = moments_at(activation, q)
    for _ in range(depth):
        gains.append(log_gain(sw2 * at.slope_second))
        kurtosis.append(at.slope_kurtosis)
        after = sw2 * at.second + sb2
        if not math.isfinite(after):
            break
        if abs(after - q) > _SETTLED * q:
            at = moments_at(activation, after)
        q = after
        variances.append(q)
    missing = depth - len(gains)
    return Trajectory(
        activation=activation.name,
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        q=(*variances, *[math.inf] * (depth + 1 - len(variances))),
        kurtosis=(*kurtosis, *[math.nan] * missing),
        log_gains=(*gains, *[math.nan] * missing),
    )


def default_scales(fan_in: int) -> tuple[float, float]:
    """(sigma_w, sigma_b) that PyTorch gives nn.Linear and nn.Conv2d unless told otherwise.

    kaiming_uniform with a = sqrt 5 draws weights of variance 1 / (3 fan_in), whatever the
    activation; biases are uniform in +-1 / sqrt(fan_in).

    Args:
        fan_in: Inputs of one unit: features, or channels times kernel elements.
    """
    if fan_in < 1:
        raise ValueError(f"default_scales: fan_in must be >= 1, got {fan_in}; pass the inputs of one unit")
    return math.sqrt(1 / 3), math.sqrt(1 / (3 * fan_in))
