"""Moments against closed forms and against scipy's adaptive quadrature."""

import math
from itertools import pairwise

import pytest
import torch
from catalogue import ACTIVATIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import nn

from fadeout.theory import expect, expect_moments, read_activation
from fadeout.theory.activation import evaluate

QS = (1e-6, 0.01, 0.3, 1.0, 10.0, 100.0, 1000.0)


def close(value, exact):
    assert value == pytest.approx(exact, rel=1e-10, abs=1e-300)


@pytest.mark.parametrize("q", QS)
def test_relu_agrees_with_its_closed_forms(q):
    at = expect_moments(torch.relu, q)
    close(at.second, q / 2)
    close(at.slope_second, 0.5)
    close(at.mean, math.sqrt(q / (2 * math.pi)))
    close(at.slope_kurtosis, 2.0)
    close(at.second_rate, 0.5)


@pytest.mark.parametrize("q", QS)
@pytest.mark.parametrize("a", [0.01, 0.2, -1.0])
def test_leaky_relu_agrees_with_its_closed_forms(q, a):
    at = expect_moments(nn.LeakyReLU(a), q)
    close(at.second, q * (1 + a * a) / 2)
    close(at.slope_second, (1 + a * a) / 2)
    close(at.mean, (1 - a) * math.sqrt(q / (2 * math.pi)))
    close(at.slope_kurtosis, 2 * (1 + a**4) / (1 + a * a) ** 2)


@pytest.mark.parametrize("q", QS)
def test_erf_agrees_with_its_closed_forms(q):
    at = expect_moments(torch.erf, q)
    close(at.second, 2 / math.pi * math.asin(2 * q / (1 + 2 * q)))
    close(at.slope_second, 4 / math.pi / math.sqrt(1 + 4 * q))
    close(at.slope_kurtosis, (1 + 4 * q) / math.sqrt(1 + 8 * q))
    close(at.second_rate, 4 / math.pi / ((1 + 2 * q) * math.sqrt(1 + 4 * q)))


@pytest.mark.parametrize("q", QS)
def test_linear_agrees_with_its_closed_forms(q):
    at = expect_moments(lambda x: 3 * x + 2, q)
    close(at.second, 9 * q + 4)
    close(at.slope_second, 9.0)
    close(at.mean, 2.0)
    close(at.variance, 9 * q) if q >= 0.01 else None
    close(at.slope_kurtosis, 1.0)


@pytest.mark.parametrize("q", QS)
def test_sin_agrees_with_its_closed_forms(q):
    at = expect_moments(torch.sin, q)
    assert at.second == pytest.approx(-math.expm1(-2 * q) / 2, rel=1e-10)
    assert at.slope_second == pytest.approx((1 + math.exp(-2 * q)) / 2, rel=1e-10)


def second_method(f, q, breaks):
    """E f(sqrt(q) Z) by scipy's adaptive Gauss-Kronrod, piece by piece."""
    root = math.sqrt(q)
    density = lambda x: f(root * x) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    fine = (-3, -1, -0.3, 0.3, 1, 3, -0.1, 0.1)  # features of size 1 in u, where x is coarse
    cuts = sorted({-9.5, 9.5, 0.0, *(b / root for b in (*breaks, *fine) if abs(b) < 9.5 * root)})
    pieces = [quad(density, a, b, epsabs=1e-16, epsrel=1e-12, limit=200)[0] for a, b in pairwise(cuts)]
    return math.fsum(pieces)


BREAKS = {
    "hardtanh": (-1, 1),
    "hardsigmoid": (-3, 3),
    "hardswish": (-3, 3),
    "relu6": (6,),
    "softplus": (20,),
    "softplus 100": (0.2, -0.05, 0.05),
    "softshrink": (-0.5, 0.5),
    "odd kink": (0.7071,),
}


@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("q", [0.05, 1.0, 20.0])
def test_moments_agree_with_a_second_method_and_claim_no_smaller_error(name, q):
    activation = read_activation(ACTIVATIONS[name])
    at = expect_moments(activation, q)

    def value(u):
        return float(activation.phi(torch.tensor([u], dtype=torch.float64)))

    def slope(u):
        return float(evaluate(activation.phi, torch.tensor([u], dtype=torch.float64))[1])

    second = second_method(lambda u: value(u) ** 2, q, BREAKS.get(name, ()))
    slopes = second_method(lambda u: slope(u) ** 2, q, BREAKS.get(name, ()))
    assert at.second == pytest.approx(second, rel=1e-8)
    assert at.slope_second == pytest.approx(slopes, rel=1e-8)
    assert at.error < 1e-10


@given(st.sampled_from(sorted(ACTIVATIONS)), st.floats(1e-4, 1e3))
@settings(max_examples=60, deadline=None)
def test_moments_obey_the_inequalities_of_moments(name, q):
    at = expect_moments(ACTIVATIONS[name], q)
    assert at.second * (1 + 1e-12) >= at.mean**2
    assert at.slope_second * (1 + 1e-12) >= at.slope_mean**2
    assert at.slope_second == 0.0 or at.slope_kurtosis >= 1 - 1e-12
    assert at.variance * (1 + 1e-7) + 1e-15 * at.second >= q * at.slope_mean**2  # a Hermite coefficient
    assert at.variance <= q * at.slope_second * (1 + 1e-7) + 1e-14 * at.second  # Gaussian Poincare


@given(st.sampled_from(sorted(ACTIVATIONS)), st.floats(1e-3, 100))
@settings(max_examples=40, deadline=None)
def test_the_rate_of_the_second_moment_is_its_derivative(name, q):
    activation = read_activation(ACTIVATIONS[name])
    step = 1e-4 * q
    up, down = (expect_moments(activation, q + d).second for d in (step, -step))
    assert expect_moments(activation, q).second_rate == pytest.approx(
        (up - down) / (2 * step), rel=1e-5, abs=1e-10 * up / step
    )


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_moments_at_zero_variance_are_the_limit_from_above(name):
    limit, near = expect_moments(ACTIVATIONS[name], 0.0), expect_moments(ACTIVATIONS[name], 1e-10)
    for field in ("second", "slope_second", "mean", "second_rate"):
        assert getattr(limit, field) == pytest.approx(getattr(near, field), rel=2e-4, abs=1e-5)


def test_expect_finds_jumps_by_itself():
    step = expect(lambda x: (x > 1).to(x.dtype), 1.0)
    assert step.value == pytest.approx(0.5 * math.erfc(1 / math.sqrt(2)), rel=1e-12)
    assert step.error < 1e-14


def test_expect_of_the_exponential_is_exact_until_its_tail_leaves_the_rule():
    assert expect(torch.exp, 0.5).value == pytest.approx(math.exp(0.25), rel=1e-13)
    assert expect(torch.exp, 100.0).error == math.inf


def test_moments_of_an_activation_that_blows_up_are_infinite():
    assert expect_moments(torch.exp, 0.5).second == pytest.approx(math.exp(1.0), rel=1e-12)
    at = expect_moments(torch.exp, 100.0)
    assert at.second == math.inf
    assert at.error == math.inf


@pytest.mark.parametrize("q", [-1.0, math.nan, math.inf])
def test_a_variance_that_is_none_is_refused(q):
    with pytest.raises(ValueError, match=r"^expect_moments: q is a variance"):
        expect_moments(torch.tanh, q)
    with pytest.raises(ValueError, match=r"^expect: q is a variance"):
        expect(torch.tanh, q)


def test_a_surrogate_slope_across_a_jump_is_read_as_the_gradient_sees_it():
    binary = lambda x: x + (torch.sign(x - 0.3) - x).detach()  # noqa: E731
    activation = read_activation(binary)
    at = expect_moments(activation, 2.0)
    assert activation.jumps == pytest.approx((0.3,))
    assert (at.second, at.slope_second) == pytest.approx((1.0, 1.0))
    assert at.second_rate == pytest.approx(0.0, abs=1e-12)
