"""Gains of normalised layers: THEORY.md A5."""

import math

import pytest
import torch
from catalogue import ACTIVATIONS
from hypothesis import given, settings
from hypothesis import strategies as st

from fadeout.theory import batch_norm_gain, layer_norm_gain

BATCH = {  # theory, measured at width 1000, batch 256
    "relu": (1.2112, 1.2114),
    "tanh": (1.0853, 1.0884),
    "sigmoid": (1.0167, 1.0217),
    "gelu": (1.1484, 1.1443),
    "silu": (1.1009, 1.1073),
    "leaky .2": (1.1152, 1.1192),
    "elu": (1.0388, 1.0438),
    "selu": (1.0352, 1.0412),
    "softplus": (1.0395, 1.0447),
    "sin": (1.1459, 1.1469),
    "identity": (1.0, 1.0067),
}
LAYER = {
    "relu": (1.0, 0.9991),
    "tanh": (1.0853, 1.0854),
    "sigmoid": (0.3909, 0.3903),
    "gelu": (1.0354, 1.0338),
    "silu": (1.0328, 1.0317),
    "elu": (1.0178, 1.0175),
    "softplus": (0.5643, 0.5620),
}


@pytest.mark.parametrize("name", BATCH)
def test_batch_norm_gains_are_reproduced(name):
    theory, measured = BATCH[name]
    assert batch_norm_gain(ACTIVATIONS[name]) == pytest.approx(theory, abs=6e-5)
    assert batch_norm_gain(ACTIVATIONS[name]) == pytest.approx(measured, rel=0.008)


@pytest.mark.parametrize("name", LAYER)
def test_layer_norm_gains_are_reproduced(name):
    theory, measured = LAYER[name]
    assert layer_norm_gain(ACTIVATIONS[name]) == pytest.approx(theory, abs=6e-5)
    assert layer_norm_gain(ACTIVATIONS[name]) == pytest.approx(measured, rel=0.005)


def test_batch_norm_with_relu_gains_the_published_number():
    assert batch_norm_gain(torch.relu) == pytest.approx(math.sqrt(math.pi / (math.pi - 1)), rel=1e-12)


@given(st.sampled_from(sorted(ACTIVATIONS)), st.floats(0.1, 10), st.floats(-5, 5))
@settings(max_examples=40, deadline=None)
def test_batch_norm_never_fades_and_ignores_scale_and_offset(name, scale, offset):
    phi = ACTIVATIONS[name]
    gain = batch_norm_gain(phi)
    assert gain >= 1 - 1e-12
    assert batch_norm_gain(lambda x: scale * phi(x) + offset) == pytest.approx(gain, rel=1e-5)


def test_a_batch_normalised_net_explodes_as_predicted():
    draw = torch.Generator().manual_seed(0)
    z = first = torch.randn(256, 512, generator=draw, dtype=torch.float64).requires_grad_()
    at = []
    for _ in range(12):
        at.append(z)
        x = torch.relu((z - z.mean(0)) / z.std(0, unbiased=False))
        z = x @ (torch.randn(512, 512, generator=draw, dtype=torch.float64) / 512**0.5)
    toward = torch.randn(z.shape, generator=draw, dtype=torch.float64)
    grads = torch.autograd.grad(z, at, toward)
    per_layer = math.log10(float(grads[2].norm() / grads[10].norm())) / 8
    assert per_layer == pytest.approx(math.log10(batch_norm_gain(torch.relu)), abs=0.012)
    assert first.grad is None


def test_an_activation_that_is_flat_where_it_is_used_is_refused():
    dead = lambda x: torch.relu(x - 25.0) + 1.0  # noqa: E731
    with pytest.raises(ValueError, match=r"^batch_norm_gain: "):
        batch_norm_gain(dead)
