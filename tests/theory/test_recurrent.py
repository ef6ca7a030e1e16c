"""Recurrent nets: THEORY.md A11."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fadeout.theory import bound_step, gate_bias, gate_log_gain, gate_time_scale, step_gain


def test_a_default_rnn_keeps_0577_of_its_gradient_a_step():
    assert step_gain(torch.tanh, sigma_w=3**-0.5) == pytest.approx(0.577, abs=5e-4)


def test_pascanus_bound_parts_sure_fading_from_possible_explosion():
    assert bound_step(torch.tanh, spectral_norm=0.9) < 0 < bound_step(torch.tanh, spectral_norm=1.1)
    assert bound_step(torch.sigmoid, spectral_norm=4.0) == pytest.approx(0.0, abs=1e-9)
    assert bound_step(torch.tanh, spectral_norm=0.0) == -math.inf


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 3))
def test_no_step_exceeds_pascanus_bound(seed, sigma_w):
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(8, 8, generator=draw, dtype=torch.float64) * sigma_w / 8**0.5
    h = torch.randn(8, generator=draw, dtype=torch.float64).requires_grad_()
    toward = torch.randn(8, generator=draw, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(torch.tanh(weight @ h), h, toward)
    decades = math.log10(float(gradient.norm() / toward.norm()))
    assert decades <= bound_step(torch.tanh, spectral_norm=float(torch.linalg.matrix_norm(weight, 2))) + 1e-9


@given(st.floats(-10, 30))
def test_bias_and_time_scale_are_inverse(bias):
    assert gate_bias(gate_time_scale(bias)) == pytest.approx(bias, abs=1e-9 if bias > -2 else 1e-6 * math.exp(-bias))


@given(st.floats(-20, 20), st.integers(0, 500))
def test_equal_gates_fade_by_the_gate_a_step(bias, lag):
    f = 1 / (1 + math.exp(-bias))
    assert gate_log_gain([bias] * 3, lag=lag) == pytest.approx(lag * math.log10(f), rel=1e-9, abs=1e-12)


def test_the_largest_gates_set_the_tail():
    # THEORY.md A11: the mean forget gate at b = 1 gives .136 decades a step
    assert -gate_log_gain([1.0], lag=1) == pytest.approx(0.136, abs=5e-4)
    spread = [1 + 0.5 * z for z in torch.linspace(-2, 2, 64).tolist()]
    assert gate_log_gain(spread, lag=100) / 100 > -0.1


def test_chrono_gates_remember_hundreds_of_times_longer_than_default_ones():
    chrono = [gate_bias(1 + t) for t in torch.linspace(1, 99, 64).tolist()]
    assert gate_log_gain(chrono, lag=99) > -1.5
    assert gate_log_gain([0.0] * 64, lag=99) < -29


def test_numbers_out_of_range_are_refused():
    for call in (
        lambda: step_gain(torch.tanh, sigma_w=-1.0),
        lambda: step_gain(torch.tanh, sigma_w=1.0, q=-1.0),
        lambda: bound_step(torch.tanh, spectral_norm=math.nan),
        lambda: gate_bias(1.0),
        lambda: gate_log_gain([], lag=1),
        lambda: gate_log_gain([1.0], lag=-1),
    ):
        with pytest.raises(ValueError, match=r"^\w+: "):
            call()
