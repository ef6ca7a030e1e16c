"""Variance and correlation maps against closed forms, and their fixed points."""

import math

import pytest
import torch
import torch.nn.functional as F
from catalogue import ACTIVATIONS
from hypothesis import given, settings
from hypothesis import strategies as st

from fadeout.theory import (
    describe_phase,
    expect_moments,
    find_correlation,
    find_variance,
    map_correlation,
    map_variance,
    read_activation,
)

CORRELATIONS = (-1.0, -0.7, 0.0, 0.3, 0.9, 0.99, 0.9999, 1.0)


@pytest.mark.parametrize("c", CORRELATIONS)
def test_the_correlation_map_of_relu_is_the_arc_cosine_kernel(c):
    angle = math.acos(c)
    exact = (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / math.pi
    assert map_correlation(torch.relu, c, q=0.7, sigma_w=2**0.5) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("c", CORRELATIONS)
def test_the_correlation_map_of_erf_is_an_arc_sine(c):
    q, sigma_w = 3.0, 1.3
    exact = sigma_w**2 * 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q)) / q
    assert map_correlation(torch.erf, c, q=q, sigma_w=sigma_w) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("name", ["tanh", "gelu", "hardtanh", "selu"])
def test_the_slope_of_the_correlation_map_at_one_is_chi(name):
    activation = read_activation(ACTIVATIONS[name])
    q = find_variance(activation, sigma_w=0.9, sigma_b=0.5)
    step = 1e-5
    rise = 1 - map_correlation(activation, 1 - step, q=q, sigma_w=0.9, sigma_b=0.5)
    chi = 0.81 * expect_moments(activation, q).slope_second
    assert rise / step == pytest.approx(chi, rel=2e-2 if name == "hardtanh" else 1e-3)  # a kink: sqrt(step)


SETTINGS = [
    ("tanh", 2.0, 0.2236),
    ("tanh", 1.4, 0.2236),
    ("erf", 1.5, 0.2),
    ("hardtanh", 1.2, 0.2),
    ("hardtanh", 1.5, 0.1),
    ("sigmoid", 12.0, 0.3),
    ("sin", 1.5, 0.1),
    ("gelu", 1.39, 0.8),
]


@pytest.mark.parametrize(("name", "sigma_w", "sigma_b"), SETTINGS)
def test_fixed_points_stay_where_they_are(name, sigma_w, sigma_b):
    activation = read_activation(ACTIVATIONS[name])
    scales = {"sigma_w": sigma_w, "sigma_b": sigma_b}
    q = find_variance(activation, **scales)
    assert map_variance(activation, q, **scales) == pytest.approx(q, rel=1e-12)
    c, slope = find_correlation(activation, q=q, **scales)
    assert map_correlation(activation, c, q=q, **scales) == pytest.approx(c, abs=1e-9)
    if c < 1:
        step = 1e-4
        up, down = (map_correlation(activation, c + d, q=q, **scales) for d in (step, -step))
        assert slope == pytest.approx((up - down) / (2 * step), rel=1e-4)


@given(
    st.sampled_from(["tanh", "sigmoid", "gelu", "relu", "elu", "hardtanh", "sin"]),
    st.floats(0.1, 3),
    st.floats(0, 1),
)
@settings(max_examples=40, deadline=None)
def test_iterating_the_variance_map_ends_at_the_fixed_point(name, sigma_w, sigma_b):
    activation = read_activation(ACTIVATIONS[name])
    found = find_variance(activation, sigma_w=sigma_w, sigma_b=sigma_b)
    q = 1.0
    for _ in range(60):
        q = map_variance(activation, q, sigma_w=sigma_w, sigma_b=sigma_b)
        if not 1e-12 < q < 1e12:
            break
    # slow near criticality: the iterate must at least have come closer, from the same side
    assert (q - found) * (1.0 - found) >= -1e-6 * found or found == math.inf
    assert abs(q - found) <= abs(1.0 - found) * (1 + 1e-9) + 1e-9 or found == math.inf


def test_where_every_variance_is_fixed_the_start_is_returned():
    assert find_variance(torch.relu, sigma_w=2**0.5, start=3.0) == 3.0


def test_relu_past_its_edge_grows_without_bound_and_below_it_dies_out():
    assert find_variance(torch.relu, sigma_w=1.5) == math.inf
    assert find_variance(torch.relu, sigma_w=1.4) == 0.0
    assert find_variance(torch.relu, sigma_w=2**0.5, sigma_b=0.1) == math.inf


# THEORY.md A2, gain at sigma_b = 0 on the fixed point of the variance map
GAINS = [
    ("tanh", {3**-0.5: 0.577, 1: 1, 2**0.5: 1.051, 2: 1.167, 3: 1.364}),
    ("sigmoid", {3**-0.5: 0.141, 1: 0.236, 2**0.5: 0.318, 2: 0.414, 3: 0.538, 4: 0.632, 6: 0.775, 10: 0.993}),
    ("softplus", {1: 0.537}),
]


@pytest.mark.parametrize(("name", "gains"), GAINS)
def test_gains_on_the_fixed_point_without_bias_are_reproduced(name, gains):
    for sigma_w, gain in gains.items():
        point = describe_phase(ACTIVATIONS[name], sigma_w=sigma_w)
        assert math.sqrt(point.chi) == pytest.approx(gain, abs=6e-4)


def test_softplus_at_root_two_has_no_fixed_variance_though_it_passes_the_quoted_one_slowly():
    assert describe_phase(F.softplus, sigma_w=2**0.5).q == math.inf
    at = expect_moments(F.softplus, 420.0)  # THEORY.md calls this the fixed point
    assert math.sqrt(2 * at.slope_second) == pytest.approx(0.980, abs=6e-4)
    assert 0.05 < 2 * at.second - 420.0 < 0.15


def test_selu_as_published_has_its_variance_at_one_and_blows_up_slowly():
    point = describe_phase(F.selu, sigma_w=1.0)
    assert point.q == pytest.approx(1.0, abs=1e-6)
    assert math.sqrt(point.chi) == pytest.approx(1.035, abs=5e-4)
    assert 10 * point.decades_per_layer == pytest.approx(0.15, abs=2e-3)


# THEORY.md C 10, 6 xi of tanh at sigma_b^2 = 0.05, whole layers
TRAINABLE = {1.0: 22, 1.2: 36, 1.4: 64, 1.6: 162, 2.0: 151, 2.5: 71, 3.2: 51, 4.0: 42}


@pytest.mark.parametrize(("square", "depth"), TRAINABLE.items())
def test_trainable_depths_of_tanh_are_reproduced(square, depth):
    point = describe_phase(torch.tanh, sigma_w=square**0.5, sigma_b=0.05**0.5)
    assert point.trainable_depth == pytest.approx(depth, abs=0.5 + 0.005 * depth)


def test_six_depth_scales_are_thirteen_tenths_of_a_decade():
    point = describe_phase(torch.tanh, sigma_w=1.0, sigma_b=0.2)
    assert point.trainable_depth * point.decades_per_layer == pytest.approx(-3 / math.log(10))


@given(st.sampled_from(["tanh", "erf", "gelu", "sigmoid", "elu", "sin"]), st.floats(0.3, 4), st.floats(0.05, 1))
@settings(max_examples=30, deadline=None)
def test_phases_are_consistent_with_chi(name, sigma_w, sigma_b):
    point = describe_phase(ACTIVATIONS[name], sigma_w=sigma_w, sigma_b=sigma_b)
    assert point.phase == ("ordered" if point.chi < 1 else "chaotic")
    assert (point.decades_per_layer < 0) == (point.chi < 1)
    if point.q < math.inf:
        assert point.stable
        assert (point.c < 1) == (point.chi > 1)
    assert point.xi_c > 0


@pytest.mark.parametrize("scales", [(0.0, 0.0), (-1.0, 0.0), (math.nan, 0.0), (1.0, -0.1), (1.0, math.inf)])
def test_scales_that_are_none_are_refused(scales):
    sigma_w, sigma_b = scales
    with pytest.raises(ValueError, match=r"^describe_phase: sigma_"):
        describe_phase(torch.tanh, sigma_w=sigma_w, sigma_b=sigma_b)


def test_a_correlation_outside_its_range_is_refused():
    with pytest.raises(ValueError, match=r"^map_correlation: a correlation"):
        map_correlation(torch.tanh, 1.1, q=1.0, sigma_w=1.0)
    with pytest.raises(ValueError, match=r"^map_correlation: needs a finite"):
        map_correlation(torch.tanh, 0.5, q=0.0, sigma_w=1.0)
