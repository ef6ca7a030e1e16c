"""Norms: the gain of one layer of a plain net that normalises before its activation."""

import math

from fadeout.theory.activation import Activation, Elementwise, read_activation
from fadeout.theory.expectation import Moments, expect_moments

# one float64 rounding of V - M^2 stays far below this share of V
_CANCELLED = 1e-13


def batch_norm_gain(phi: Activation | Elementwise) -> float:
    """Gain of one layer W phi(BN(z)), sqrt(E phi'^2 / Var phi) at q = 1, whatever sigma_w.

    At least 1 (Gaussian Poincare inequality), and 1 only for a linear phi: BatchNorm makes the
    gradient of a deep plain net explode.  ReLU: sqrt(pi / (pi - 1)) = 1.2112.

    In the limit of a large batch of distinct inputs.  Small batches are worse; measured for ReLU
    at width 1,000: batch 4 1.69, 8 1.35, 16 1.26, 32 1.234, 64 and more 1.215.

    Args:
        phi: Elementwise activation, or one already read.

    Source: Yang et al., "A Mean Field Theory of Batch Normalization", arXiv:1902.08129.
    """
    at = expect_moments(read_activation(phi), 1.0)
    if not at.variance > _CANCELLED * at.second:
        raise ValueError(
            "batch_norm_gain: the activation has no variance at q = 1, BatchNorm would divide by 0; check its scale"
        )
    return math.sqrt(at.slope_second / at.variance)


def layer_norm_gain(phi: Activation | Elementwise) -> float:
    """Gain of one layer W phi(LN(z)), sqrt(E phi'^2 / E phi^2) at q = 1; the same for RMSNorm.

    LayerNorm fixes the forward variance whatever sigma_w, not the gradient: sigmoid still fades
    (0.391 a layer), ReLU keeps it exactly (1).

    Args:
        phi: Elementwise activation, or one already read.
    """
    at: Moments = expect_moments(read_activation(phi), 1.0)
    if not at.second > 0:
        raise ValueError("layer_norm_gain: the activation is 0 at q = 1, nothing to normalise; check its scale")
    return math.sqrt(at.slope_second / at.second)
