"""Phase: order, chaos or the edge between, with the depths to which signals reach."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from fadeout.theory.activation import Activation, Elementwise, evaluate, read_activation
from fadeout.theory.expectation import expect_moments, moments_at
from fadeout.theory.maps import Q_MAX, check_scales, find_correlation, find_variance

Phase = Literal["ordered", "critical", "chaotic"]

EDGE = 1e-9  # |chi - 1| up to here is the edge: far above rounding, 1e9 layers deep
ALIVE = 0.01  # share of units (1 / kurtosis of the slope) below which a layer is as good as dead
TRAINABLE = 6.0  # trainable depth in units of xi_c [recall: Schoenholz et al. 2017]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanField:
    """Where an infinitely wide plain net rests, and how deep its signal and gradient carry.

    Attributes:
        activation: Name.
        sigma_w: Weight scale, N(0, sigma_w^2 / fan_in).
        sigma_b: Bias scale, N(0, sigma_b^2).
        q: Fixed variance of the pre-activations; 0 it dies out, inf it grows without bound.
        chi: Expected squared gain of a layer at q (at q = 0 and inf: the limit).
        chi_par: Slope of the variance map at q; below 1 the fixed point is stable.
        c: Fixed correlation of two inputs; nan where q is 0 or infinite.
        xi_q: Depth scale of the variance, layers.
        xi_c: Depth scale of the correlation, layers.  Where q is infinite, that of the gradient.
        xi_grad: Depth scale of the squared gradient norm, 1 / |ln chi|, layers.
        phase: By chi: below 1 ordered (fades), above 1 chaotic (blows up).
        trainable_depth: 6 xi_c, layers; inf at the edge.
        decades_per_layer: log10 of the gain of a layer, log10(chi) / 2; negative fades.
        stable: Whether a small change of q does not grow.
        note: What a number can't say, where there is no fixed point to speak of; else "".
    """

    activation: str
    sigma_w: float
    sigma_b: float
    q: float
    chi: float
    chi_par: float
    c: float
    xi_q: float
    xi_c: float
    xi_grad: float
    phase: Phase
    trainable_depth: float
    decades_per_layer: float
    stable: bool
    note: str = ""


def describe_phase(
    phi: Activation | Elementwise, *, sigma_w: float, sigma_b: float = 0.0, start: float = 1.0
) -> MeanField:
    """Fixed points, chi and depth scales of a wide plain net z' = W phi(z) + b.

    xi_c is -1 / ln chi in the ordered phase, and -1 / ln of the correlation map's slope at c*
    in the chaotic one.

    Args:
        phi: Elementwise activation, or one already read.
        sigma_w: Weight scale.
        sigma_b: Bias scale.
        start: Variance of the first pre-activations; matters where there are several fixed points.

    Source: Schoenholz et al., "Deep Information Propagation", arXiv:1611.01232.
    """
    sw2, _ = check_scales("describe_phase", sigma_w, sigma_b)
    activation = read_activation(phi)
    q = find_variance(activation, sigma_w=sigma_w, sigma_b=sigma_b, start=start)
    at = expect_moments(activation, min(q, Q_MAX))
    chi, chi_par = sw2 * at.slope_second, sw2 * at.second_rate
    if q == math.inf and _grows(activation, at.slope_second):
        chi = chi_par = math.inf
    xi_grad = depth_scale(chi)
    if chi > 1 + EDGE and 0 < q < math.inf:
        c, slope = find_correlation(activation, q=q, sigma_w=sigma_w, sigma_b=sigma_b)
        xi_c = depth_scale(slope)
    else:
        c, xi_c = (1.0 if 0 < q < math.inf else math.nan), xi_grad
    return MeanField(
        activation=activation.name,
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        q=q,
        chi=chi,
        chi_par=chi_par,
        c=c,
        xi_q=depth_scale(chi_par),
        xi_c=xi_c,
        xi_grad=xi_grad,
        phase=name_phase(chi),
        trainable_depth=TRAINABLE * xi_c,
        decades_per_layer=log_gain(chi),
        stable=q < math.inf and abs(chi_par) <= 1 + EDGE,
        note=_note(q, chi, at.slope_kurtosis),
    )


def _grows(activation: Activation, slope_second: float) -> bool:
    """Whether the slope itself grows with the variance, so that chi has no limit (u^2, u^3, exp)."""
    return not slope_second < 1.5 * moments_at(activation, Q_MAX / 100).slope_second


def _note(q: float, chi: float, kurtosis: float) -> str:
    if q == math.inf:
        growth = ", and the gain of a layer grows with it" if chi == math.inf else ""
        return f"no fixed point: the variance grows from layer to layer without bound{growth}"
    if chi == 0.0 or kurtosis * ALIVE > 1:
        return "nearly all units are dead at the fixed variance: fewer than 1 in 100 pass any gradient"
    return ""


def depth_scale(rate: float) -> float:
    """Layers in which a factor `rate` a layer changes a quantity e-fold, 1 / |ln rate|.

    inf at 1 within 1e-9; 0.0 at 0 (gone after one layer) and at inf.
    """
    rate = abs(rate)
    if math.isnan(rate):
        return math.nan
    if abs(rate - 1) <= EDGE:
        return math.inf
    if rate == 0.0 or math.isinf(rate):
        return 0.0
    return 1 / abs(math.log(rate))


def name_phase(chi: float) -> Phase:
    """The phase that goes with an expected squared gain chi."""
    if abs(chi - 1) <= EDGE:
        return "critical"
    return "ordered" if chi < 1 else "chaotic"


def log_gain(chi: float) -> float:
    """Decades of a layer from its expected squared gain, log10(chi) / 2; -inf at 0."""
    return 0.5 * math.log10(chi) if chi > 0 else -math.inf


def saturated_share(activation: Activation, q: float, *, below: float = 0.08) -> float:
    """Share of units whose |slope| is below 8 % of the activation's largest, at variance q."""
    if q == 0.0:
        return 0.0
    z = torch.linspace(-6, 6, 12002, dtype=torch.float64, device="cpu")
    slope = evaluate(activation.phi, z * math.sqrt(q))[1].abs()
    weight = torch.exp(-0.5 * z.square())
    return float(weight[slope < below * activation.slope_sup].sum() / weight.sum())
