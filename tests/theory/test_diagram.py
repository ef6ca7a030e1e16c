"""Phase diagrams against the slow way, point by point."""

import math
import random
import time

import pytest
import torch
import torch.nn.functional as F
from catalogue import ACTIVATIONS

from fadeout.theory import describe_phase, phase_diagram


def spaced(low, high, count):
    return [low + (high - low) * i / (count - 1) for i in range(count)]


@pytest.mark.parametrize("name", ["tanh", "erf", "hardtanh", "relu", "gelu", "elu", "sigmoid", "sin", "softsign"])
def test_a_diagram_agrees_with_single_points(name):
    diagram = phase_diagram(ACTIVATIONS[name], sigma_w=spaced(0.2, 4, 37), sigma_b=spaced(0, 1, 23))
    assert diagram.error < 1e-7
    draw = random.Random(name)
    for _ in range(12):
        i, j = draw.randrange(23), draw.randrange(37)
        point = describe_phase(ACTIVATIONS[name], sigma_w=diagram.sigma_w[j], sigma_b=diagram.sigma_b[i])
        assert diagram.q[i][j] == pytest.approx(point.q, rel=1e-6)
        assert diagram.chi[i][j] == pytest.approx(point.chi, rel=1e-6)
        assert diagram.phase[i][j] == point.phase
        assert diagram.xi[i][j] == pytest.approx(point.xi_c, rel=1e-2 if point.xi_c > 0.5 else 0.05)


def test_the_edge_of_tanh_lies_at_one_without_bias():
    diagram = phase_diagram(torch.tanh, sigma_w=[0.9, 1.0, 1.1], sigma_b=[0.0])
    assert diagram.phase == (("ordered", "critical", "chaotic"),)
    assert diagram.q[0][0] == 0.0
    assert diagram.xi[0][1] == math.inf


def test_relu_has_a_whole_critical_column_and_an_endless_variance_in_it():
    diagram = phase_diagram(torch.relu, sigma_w=[1.0, 2**0.5, 2.0], sigma_b=[0.0, 0.5])
    assert [row[1] for row in diagram.phase] == ["critical", "critical"]
    assert [row[1] for row in diagram.q] == [1.0, math.inf]
    assert [row[2] for row in diagram.q] == [math.inf, math.inf]


def test_kinked_chaos_near_the_edge_keeps_two_digits():
    diagram = phase_diagram(F.hardtanh, sigma_w=[1.05, 1.2, 2.0], sigma_b=[0.05])
    for j, sigma_w in enumerate(diagram.sigma_w):
        point = describe_phase(F.hardtanh, sigma_w=sigma_w, sigma_b=0.05)
        assert diagram.xi[0][j] == pytest.approx(point.xi_c, rel=1e-2)


@pytest.mark.parametrize("name", ["tanh", "hardtanh", "gelu"])
def test_four_hundred_by_four_hundred_is_fast(name):
    phase_diagram(torch.tanh, sigma_w=[1.0], sigma_b=[0.1])  # builds the rules
    start = time.process_time()
    phase_diagram(ACTIVATIONS[name], sigma_w=spaced(0.2, 4, 400), sigma_b=spaced(0, 1, 400))
    assert time.process_time() - start < 3  # the goal is 1, measured by the benchmark; a shared machine is slower


@pytest.mark.parametrize(
    ("sigma_w", "sigma_b"), [([], [0.0]), ([0.0], [0.0]), ([1.0], []), ([1.0], [-1.0]), ([math.nan], [0.0])]
)
def test_a_grid_out_of_range_is_refused(sigma_w, sigma_b):
    with pytest.raises(ValueError, match=r"^phase_diagram: every sigma_"):
        phase_diagram(torch.tanh, sigma_w=sigma_w, sigma_b=sigma_b)
