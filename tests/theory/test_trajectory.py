"""Layer-wise variance: PyTorch's default initialisation, THEORY.md A3, and measured nets."""

import math

import pytest
import torch
from catalogue import ACTIVATIONS
from torch import nn

from fadeout.theory import (
    band,
    default_scales,
    describe_phase,
    find_critical,
    follow_variance,
    sum_beta,
)

# gain on the fixed point, decades lost per 10 layers as predicted and as measured (width 1000, layers 5..20)
DEFAULTS = [
    ("sigmoid", 0.1414, 8.494, 8.491),
    ("centred sigmoid", 0.1443, 8.407, 8.402),
    ("gelu", 0.2888, 5.394, 5.389),
    ("silu", 0.2887, 5.395, 5.390),
    ("softplus", 0.2948, 5.305, 5.301),
    ("mish", 0.3465, 4.603, 4.598),
    ("erf", 0.6511, 1.865, 1.861),
    ("relu", 0.4082, 3.891, 3.876),
    ("leaky .01", 0.4083, 3.891, 3.877),
    ("leaky .2", 0.4163, 3.806, 3.788),
    ("elu", 0.5723, 2.427, 2.424),
    ("tanh", 0.5771, 2.388, 2.384),
    ("sin", 0.577, 2.387, 2.382),
    ("hardtanh", 0.577, 2.387, 2.382),
    ("identity", 0.577, 2.387, 2.382),
    ("selu", 0.8209, 0.919, 0.928),
]


@pytest.mark.parametrize(("name", "gain", "predicted", "measured"), DEFAULTS)
def test_decades_lost_under_pytorch_default_initialisation_are_reproduced(name, gain, predicted, measured):
    sigma_w, sigma_b = default_scales(1000)
    scales = {"sigma_w": sigma_w, "sigma_b": sigma_b}
    assert math.sqrt(describe_phase(ACTIVATIONS[name], **scales).chi) == pytest.approx(gain, abs=6e-4)
    path = follow_variance(ACTIVATIONS[name], **scales, depth=19, start=sigma_w**2 + sigma_b**2)
    lost = -math.fsum(path.log_gains[4:]) / 15 * 10  # from layer 5 to layer 20
    assert lost == pytest.approx(predicted, abs=2e-3)
    assert lost == pytest.approx(measured, abs=0.02)


def test_default_scales_are_those_of_a_fresh_linear_layer():
    layer = nn.Linear(4000, 200)
    sigma_w, sigma_b = default_scales(4000)
    assert float(layer.weight.detach().var()) * 4000 == pytest.approx(sigma_w**2, rel=0.01)
    assert float(layer.bias.detach().var()) == pytest.approx(sigma_b**2, rel=0.3)


def test_at_the_fixed_point_every_layer_gains_alike():
    point = find_critical(torch.tanh, sigma_b=0.2)
    path = follow_variance(torch.tanh, sigma_w=point.sigma_w, sigma_b=0.2, depth=1000, start=point.q)
    assert path.decades == pytest.approx(0.0, abs=1e-9)
    assert len(path.q) == 1001


def test_an_activation_that_blows_up_ends_in_infinity_not_in_a_crash():
    path = follow_variance(torch.exp, sigma_w=1.0, depth=6)
    assert path.q[-1] == math.inf
    assert math.isnan(path.log_gains[-1])
    assert len(path.log_gains) == 6


@pytest.mark.parametrize("depth", [0, -3])
def test_a_depth_below_one_is_refused(depth):
    with pytest.raises(ValueError, match=r"^follow_variance: depth"):
        follow_variance(torch.tanh, sigma_w=1.0, depth=depth)


def measured_decades(phi, sigma_w, sigma_b, width, depth, seed):
    """log10 of the gradient at z_1 over that at z_(depth+1), of one random net."""
    draw = torch.Generator().manual_seed(seed)
    first = torch.randn(4, width, generator=draw).requires_grad_()  # one row a sample, q = 1
    z = first
    for _ in range(depth):
        weight = torch.randn(width, width, generator=draw).mul_(sigma_w / width**0.5)
        z = phi(z) @ weight
        z = z + sigma_b * torch.randn(width, generator=draw)
    toward = torch.randn(z.shape, generator=draw)
    (gradient,) = torch.autograd.grad(z, first, toward)
    return math.log10(float(gradient.norm() / toward.norm()))


MONTE_CARLO = [
    ("tanh", 1.5, 0.1),
    ("erf", 0.9, 0.2),
    ("sigmoid", 3.0, 0.3),
    ("relu", 2**0.5, 0.0),
    ("leaky .2", 1.3, 0.1),
    ("gelu", 1.4, 0.5),
    ("silu", 1.2, 0.3),
    ("mish", 1.4, 0.4),
    ("elu", 1.2, 0.1),
    ("selu", 1.0, 0.0),
    ("softplus", 0.8, 0.1),
    ("hardtanh", 1.3, 0.2),
    ("hardswish", 1.3, 0.2),
    ("softsign", 1.6, 0.1),
    ("sin", 1.3, 0.2),
]


@pytest.mark.parametrize(("name", "sigma_w", "sigma_b"), MONTE_CARLO)
def test_random_nets_of_width_2000_fall_into_the_band(name, sigma_w, sigma_b):
    width, depth = 2000, 6
    path = follow_variance(ACTIVATIONS[name], sigma_w=sigma_w, sigma_b=sigma_b, depth=depth)
    beta = sum_beta([width] * depth, kurtosis=max(path.kurtosis))
    # 4 sigmas, one seed for each of 15 activations: a right theory fails once in 1,000 runs
    expected = band(path.decades, beta=beta, sigmas=4.0)
    measured = measured_decades(ACTIVATIONS[name], sigma_w, sigma_b, width, depth, seed=1)
    assert expected.low <= measured <= expected.high
    assert expected.high - expected.low < 0.25


# THEORY.md A2, measured decades per 10 layers at width 1000, 20 layers
MEASURED = [
    ("tanh", 0.0, 0.001),
    ("tanh", 0.05, 0.006),
    ("tanh", 0.05**0.5, 0.004),
    ("erf", 0.05, 0.006),
    ("relu", 0.0, -0.016),
    ("leaky .2", 0.0, -0.013),
    ("gelu", 0.415839381, -0.022),
    ("silu", 0.745079305, -0.020),
    ("mish", 0.307443959, -0.017),
    ("elu", 0.1, 0.005),
    ("selu", 0.1, 0.003),
    ("hardtanh", 0.05, 0.006),
    ("sin", 0.05, 0.008),
]


@pytest.mark.parametrize(("name", "sigma_b", "measured"), MEASURED)
def test_measured_gains_at_critical_points_lie_in_the_band_around_zero(name, sigma_b, measured):
    point = find_critical(ACTIVATIONS[name], sigma_b=sigma_b)
    path = follow_variance(
        ACTIVATIONS[name], sigma_w=point.sigma_w, sigma_b=sigma_b, depth=20, start=max(point.q, 1e-3)
    )
    beta = sum_beta([1000] * 20, kurtosis=max(path.kurtosis))
    expected = band(path.decades, beta=beta)
    assert expected.low <= 2 * measured <= expected.high
