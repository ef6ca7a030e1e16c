"""Reading an activation: kinks found, bad ones refused with a reason."""

import pytest
import torch
import torch.nn.functional as F
from catalogue import ACTIVATIONS
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from fadeout.theory import centre_activation, find_critical, read_activation

KINKS = {
    "relu": (0.0,),
    "relu6": (0.0, 6.0),
    "hardtanh": (-1.0, 1.0),
    "hardsigmoid": (-3.0, 3.0),
    "hardswish": (-3.0, 3.0),
    "softshrink": (-0.5, 0.5),
    "elu": (0.0,),
    "softsign": (0.0,),
    "odd kink": (0.7071,),
    "tanh": (),
    "gelu": (),
    "mish": (),
    "identity": (),
    "softplus": (20.0,),  # where torch switches to the identity, a jump of 2e-9
}


@pytest.mark.parametrize("name", sorted(KINKS))
def test_kinks_are_found_without_being_asked_for(name):
    assert read_activation(ACTIVATIONS[name]).mesh.kinks == pytest.approx(KINKS[name], abs=1e-9)


@given(st.floats(-20, 20), st.sampled_from(["slope", "curvature", "value"]))
@settings(max_examples=40, deadline=None)
def test_a_kink_anywhere_is_found(at, kind):
    parts = {
        "slope": lambda x: torch.where(x > at, 1.5 * (x - at), x - at),
        "curvature": lambda x: x + torch.relu(x - at) ** 2 / (1 + torch.relu(x - at) ** 2),
        "value": lambda x: torch.where(x > at, x + 1, x - 1),
    }
    assume(at == 0 or abs(at) > 1e-6)  # kinks nearer to 0 are one with it
    activation = read_activation(parts[kind])
    assert any(abs(kink - at) < 1e-8 * max(1, abs(at)) for kink in activation.mesh.kinks)
    assert bool(activation.jumps) == (kind == "value")


@pytest.mark.parametrize(
    ("name", "sup"),
    [
        ("tanh", 1.0),
        ("sigmoid", 0.25),
        ("gelu", 1.1289042),
        ("silu", 1.0998394),
        ("relu", 1.0),
        ("selu", 1.7580993),
        ("hardswish", 1.5),
        ("softsign", 1.0),
    ],
)
def test_the_largest_slope_is_known(name, sup):
    assert read_activation(ACTIVATIONS[name]).slope_sup == pytest.approx(sup, rel=1e-6)


BAD = {
    "softmax": (lambda x: F.softmax(x, 0), "not elementwise"),
    "layer norm": (lambda x: F.layer_norm(x, x.shape), "not elementwise"),
    "sort": (lambda x: x.sort(descending=True).values, "not elementwise"),
    "glu": (nn.GLU(), "fails on a float64 tensor|into"),
    "sum": (lambda x: x.sum(), "into"),
    "number": (lambda x: 3.0, "into float"),
    "float32": (lambda x: torch.tanh(x.float()), "returns torch.float32"),
    "hidden float32": (lambda x: torch.tanh(x.float()).double(), "rough everywhere"),
    "log": (torch.log, "returns nan"),
    "reciprocal": (lambda x: 1 / x, "unbounded slope"),
    "root": (lambda x: x.abs().sqrt(), "unbounded slope"),
    "exp of square": (lambda x: torch.exp(x * x), "blows up"),
    "sign": (torch.sign, "piecewise constant"),
    "round": (torch.round, "piecewise constant"),
    "constant": (lambda x: torch.ones_like(x), "constant"),
    "detached": (lambda x: x.detach().tanh(), "no gradient"),
    "dropout": (F.dropout, "two answers"),
    "numpy": (lambda x: x.numpy() ** 2, "fails on a float64 tensor|into"),
    "not callable": (3, "not callable"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_activation_is_refused_with_a_reason(name):
    phi, reason = BAD[name]
    with pytest.raises(ValueError, match=reason) as caught:
        read_activation(phi)
    assert str(caught.value).startswith(("read_activation: ", "find_mesh: "))


def test_reading_draws_nothing_from_the_global_generator():
    before = torch.random.get_rng_state()
    read_activation(nn.RReLU())
    with pytest.raises(ValueError, match="two answers"):
        read_activation(F.dropout)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_reading_leaves_a_module_as_it_was():
    module = nn.PReLU()
    find_critical(module)
    assert module.training
    assert module.weight.dtype == torch.float32
    assert module.weight.requires_grad
    assert module.weight.grad is None


def test_in_place_activations_are_read_like_the_others():
    inplace, plain = read_activation(nn.ReLU(inplace=True)), read_activation(nn.ReLU())
    assert inplace.mesh.kinks == plain.mesh.kinks
    assert find_critical(inplace).sigma_w == find_critical(plain).sigma_w


def test_reading_works_under_no_grad_and_inference_mode():
    with torch.no_grad():
        assert read_activation(torch.tanh).slope_sup == pytest.approx(1)
    with torch.inference_mode():
        assert read_activation(torch.tanh).slope_sup == pytest.approx(1)


def test_a_centred_activation_is_zero_at_zero():
    centred = centre_activation(torch.sigmoid)
    assert centred.at_zero == 0.0
    assert float(centred.phi(torch.zeros(1, dtype=torch.float64))) == 0.0
