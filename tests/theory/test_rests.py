"""Where the variance rests, held against an iteration with scipy's own quadrature, and where it does not."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import nn

from fadeout.theory import describe_phase, expect_moments, find_critical, find_variance, read_activation

NORMAL = 1 / math.sqrt(2 * math.pi)


def dead_between(edge):
    """Softshrink, in plain numbers."""
    return lambda u: math.copysign(max(abs(u) - edge, 0.0), u)


# activation, the same in plain numbers, its kinks
FORMS = {
    "softshrink 2": (nn.Softshrink(2.0), dead_between(2.0), (-2, 2)),
    "softshrink .5": (nn.Softshrink(0.5), dead_between(0.5), (-0.5, 0.5)),
    "relu(u - 2)": (lambda u: torch.relu(u - 2), lambda u: max(u - 2, 0.0), (2,)),
    "relu(u - 1)^2": (lambda u: torch.relu(u - 1) ** 2, lambda u: max(u - 1, 0.0) ** 2, (1,)),
    "two steps up": (  # dead, then a ramp that ends: several fixed points
        lambda u: u.clamp(-3, 3) - u.clamp(-2, 2),
        lambda u: min(max(u, -3), 3) - min(max(u, -2), 2),
        (-3, -2, 2, 3),
    ),
    "tanh^3": (lambda u: torch.tanh(u) ** 3, lambda u: math.tanh(u) ** 3, ()),
    "u^2 / (1 + u^2)": (lambda u: u * u / (1 + u * u), lambda u: u * u / (1 + u * u), ()),
    "bump": (lambda u: torch.exp(-u * u), lambda u: math.exp(-u * u), ()),  # its map falls
    "u bump": (lambda u: u * torch.exp(-u * u), lambda u: u * math.exp(-u * u), ()),
}


def slow_map(plain, kinks, q, sigma_w, sigma_b):
    root = math.sqrt(q)
    edges = sorted({-30.0, -6.0, -2.0, 0.0, 2.0, 6.0, 30.0, *(k / root for k in kinks if abs(k) < 30 * root)})

    def term(z):
        return plain(root * z) ** 2 * math.exp(-0.5 * z * z) * NORMAL

    whole = math.fsum(
        quad(term, a, b, epsabs=0, epsrel=1e-8)[0] for a, b in pairwise(edges)
    )  # fmt: skip
    return sigma_w**2 * whole + sigma_b**2


def slow_rest(plain, kinks, start, sigma_w, sigma_b):
    """Iterate; None where it is not settled after 40 steps."""
    q = start
    for _ in range(40):
        after = slow_map(plain, kinks, q, sigma_w, sigma_b)
        if after > 1e8:
            return math.inf
        if after < 1e-8:
            return 0.0
        if abs(after - q) < 1e-9 * q:
            return after
        q = after
    return None


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(1.0, 0.1), (3.0, 0.3), (6.0, 0.0)])
def test_the_variance_rests_where_a_slow_iteration_ends(name, sigma_w, sigma_b):
    phi, plain, kinks = FORMS[name]
    for start in (0.02, 1.0, 30.0):
        slow = slow_rest(plain, kinks, start, sigma_w, sigma_b)
        if slow is not None:
            found = find_variance(phi, sigma_w=sigma_w, sigma_b=sigma_b, start=start)
            assert found == pytest.approx(slow, rel=1e-6), start


@given(st.floats(0.3, 6.0), st.floats(1e-3, 0.5), st.sampled_from(["softshrink", "shifted"]))
@settings(max_examples=30, deadline=None)
def test_no_variance_makes_a_dead_zone_look_like_a_blow_up(edge, sigma_b, kind):
    phi = nn.Softshrink(edge) if kind == "softshrink" else lambda u: torch.relu(u - edge)
    activation = read_activation(phi, name=kind)
    for ratio in (3.0, 4.5, 5.73, 5.9, 6.1, 7.6, 8.3, 8.9, 9.5, 13.0, 20.0):
        at = expect_moments(activation, (edge / ratio) ** 2)
        assert at.second < math.inf
        assert at.slope_second < math.inf
    small = min(sigma_b, edge / 6)  # all but 1e-9 of the units are silent: the bias is all there is
    assert find_variance(activation, sigma_w=1.0, sigma_b=small, start=small**2) == pytest.approx(small**2, rel=1e-6)


@pytest.mark.parametrize("edge", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("sigma_b", [None, 0.0, 0.1])
def test_in_a_dead_zone_there_is_no_critical_point_and_a_sentence_says_so(edge, sigma_b):
    for phi in (nn.Softshrink(edge), lambda u: torch.relu(u - edge), nn.Hardshrink(edge)):
        point = find_critical(phi, sigma_b=sigma_b)
        assert point.sigma_w is None
        assert point.reason.startswith("no ")
        assert point.nearest is None or point.nearest.sigma_w < 100


@pytest.mark.parametrize("edge", [0.5, 2.0])
def test_every_critical_point_beside_a_dead_zone_has_units_alive(edge):
    for sigma_b in (0.3, 1.0, 3.0, 8.0):
        point = find_critical(nn.Softshrink(edge), sigma_b=sigma_b)
        if point.sigma_w is not None:
            assert expect_moments(nn.Softshrink(edge), point.q).slope_kurtosis < 100
            assert point.sigma_w < 20


POWERS = {
    "u^2": lambda u: u * u,
    "u^3": lambda u: u**3,
    "relu^2": lambda u: torch.relu(u) ** 2,
    "u |u|": lambda u: u * u.abs(),
}


@pytest.mark.parametrize("name", POWERS)
def test_an_activation_that_grows_faster_than_a_line_has_no_point_at_all(name):
    for sigma_b in (None, 0.0):
        point = find_critical(POWERS[name], sigma_b=sigma_b)
        assert (point.sigma_w, point.q, point.chi, point.nearest) == (None, None, None, None)
        assert point.reason.startswith("no ")
    biased = find_critical(POWERS[name], sigma_b=0.1)  # chi = 1 there is a knife's edge, and is called so
    assert not biased.stable
    assert "moves away" in biased.reason


@pytest.mark.parametrize("name", POWERS)
def test_a_variance_without_bound_is_said_in_words_and_its_gain_is_no_number(name):
    field = describe_phase(POWERS[name], sigma_w=1.4, sigma_b=0.5)
    assert (field.q, field.chi, field.stable) == (math.inf, math.inf, False)
    assert "without bound" in field.note
    assert "gain" in field.note


def test_what_grows_like_a_line_keeps_its_gain_where_the_variance_has_no_bound():
    field = describe_phase(torch.relu, sigma_w=1.5)
    assert field.chi == pytest.approx(1.125)
    assert "without bound" in field.note
    assert "gain" not in field.note
    assert describe_phase(torch.tanh, sigma_w=1.5, sigma_b=0.1).note == ""
    assert "dead" in describe_phase(nn.Softshrink(2.0), sigma_w=1.0, sigma_b=0.1).note
