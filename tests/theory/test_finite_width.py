"""The log-normal band: THEORY.md A4, and nets that fall into it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fadeout.theory import band, layer_beta, sum_beta


@pytest.mark.parametrize(
    ("kurtosis", "weights", "numerator"),
    [(2.0, "gaussian", 5.0), (2.0, "orthogonal", 3.0), (1.0, "gaussian", 2.0), (1.0, "orthogonal", 0.0)],
)
def test_relu_and_linear_have_the_known_numerators(kurtosis, weights, numerator):
    assert layer_beta(64, kurtosis=kurtosis, weights=weights) == pytest.approx(numerator / 64)


# THEORY.md A4: width, depth, variance and mean of ln |g|^2, for ReLU
@pytest.mark.parametrize(
    ("width", "depth", "variance", "mean"),
    [(64, 20, 1.56, -0.78), (128, 20, 0.78, -0.39), (64, 40, 3.13, -1.56)],
)
def test_the_published_variances_are_reproduced(width, depth, variance, mean):
    beta = sum_beta([width] * depth, kurtosis=2.0)
    assert beta == pytest.approx(variance, abs=6e-3)
    assert -beta / 2 == pytest.approx(mean, abs=6e-3)


def test_fifty_relu_layers_of_64_units_are_a_lottery():
    beta = sum_beta([64] * 50, kurtosis=2.0)
    assert beta == pytest.approx(3.9, abs=0.01)
    assert band(0.0, beta=beta).lottery


def test_the_band_is_the_log_normal_one():
    drawn = band(-2.0, beta=1.5)
    assert drawn.centre == pytest.approx(-2 - 1.5 / (4 * math.log(10)))
    assert (drawn.high - drawn.low) / 2 == pytest.approx(1.96 * math.sqrt(1.5) / (2 * math.log(10)))


def simulate(width, depth, nets, orthogonal):
    """ln |g|^2 at the data side of random He-scaled ReLU nets, one value a net."""
    draw = torch.Generator().manual_seed(3)
    z = torch.randn(nets, width, 1, generator=draw)
    weights, slopes = [], []
    for _ in range(depth):
        weight = torch.randn(nets, width, width, generator=draw) / width**0.5
        if orthogonal:
            weight, triangle = torch.linalg.qr(weight)
            weight = weight * triangle.diagonal(dim1=1, dim2=2).sign().unsqueeze(1)  # uniform only with this
        slopes.append((z > 0).float())
        weights.append(weight * 2**0.5)
        z = weights[-1] @ (z * slopes[-1])
    g = torch.randn(nets, width, 1, generator=draw)
    g /= g.norm(dim=1, keepdim=True)
    for weight, slope in zip(reversed(weights), reversed(slopes), strict=True):
        g = slope * (weight.mT @ g)
    return g.square().sum((1, 2)).log()


@pytest.mark.parametrize(("orthogonal", "weights"), [(False, "gaussian"), (True, "orthogonal")])
def test_random_relu_nets_scatter_as_predicted(orthogonal, weights):
    width, depth, nets = 48, 10, 400
    logs = simulate(width, depth, nets, orthogonal)
    beta = sum_beta([width] * depth, kurtosis=2.0, weights=weights)
    # scatter of a variance over 400 nets is 7 %; the form is leading order in 1 / n
    assert float(logs.var()) == pytest.approx(beta, rel=0.28)
    assert float(logs.mean()) == pytest.approx(-beta / 2, abs=0.25 * beta + 0.05)


@given(st.integers(1, 10**6), st.floats(1, 1e3))
def test_beta_is_never_negative_and_orthogonal_weights_have_less(width, kurtosis):
    gaussian = layer_beta(width, kurtosis=kurtosis)
    orthogonal = layer_beta(width, kurtosis=kurtosis, weights="orthogonal")
    assert gaussian > orthogonal >= 0


def test_a_width_of_one_is_a_limit_value_and_none_is_refused():
    assert layer_beta(1, kurtosis=2.0) == 5.0
    with pytest.raises(ValueError, match=r"^layer_beta: width"):
        layer_beta(0, kurtosis=2.0)
    with pytest.raises(ValueError, match=r"^layer_beta: kurtosis"):
        layer_beta(64, kurtosis=0.5)
    with pytest.raises(ValueError, match=r"^layer_beta: weights"):
        layer_beta(64, kurtosis=2.0, weights="uniform")
    with pytest.raises(ValueError, match=r"^band: beta"):
        band(0.0, beta=-1.0)
