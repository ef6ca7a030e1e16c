"""Residual nets: THEORY.md A6, A8, FRONTIER.md F1."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fadeout.theory import (
    branch_scale,
    deepnorm_scales,
    effective_blocks,
    final_norm_gain,
    fixup_scale,
    follow_pre_norm,
    follow_residual,
    layer_norm_scaling,
    post_norm_gain,
    residual_gain,
)

HE = 2**0.5


def test_an_unscaled_block_grows_by_a_root_of_two():
    assert math.log10(residual_gain()) == pytest.approx(0.1505, abs=5e-5)


@pytest.mark.parametrize("depth", [100, 300, 1000])
def test_branches_over_root_two_depth_grow_by_a_quarter_e_fold_at_any_depth(depth):
    stream = follow_residual(torch.relu, scales=[branch_scale(depth)] * depth, sigma_w=HE)
    assert stream.decades == pytest.approx(0.109, abs=1e-3)
    assert math.e**0.25 == pytest.approx(10**0.1086, rel=1e-3)


def test_a_branch_that_starts_at_zero_passes_the_gradient_unchanged():
    assert residual_gain(scale=0.0) == 1.0
    assert follow_residual(torch.relu, scales=[0.0] * 50, sigma_w=HE).decades == 0.0


def test_relu_streams_grow_exponentially_and_tanh_streams_do_not():
    relu = follow_residual(torch.relu, scales=[1.0] * 60, sigma_w=HE)
    tanh = follow_residual(torch.tanh, scales=[1.0] * 60, sigma_w=1.0)
    assert relu.log_gains[-1] == pytest.approx(relu.log_gains[0])
    assert tanh.log_gains[-1] < 0.2 * tanh.log_gains[0]


def test_a_measured_residual_net_grows_as_predicted():
    draw = torch.Generator().manual_seed(0)
    width, depth = 512, 12
    x = first = torch.randn(16, width, generator=draw).requires_grad_()
    for _ in range(depth):
        x = x + torch.relu(x) @ (torch.randn(width, width, generator=draw) * (2 / width) ** 0.5)
    toward = torch.randn(x.shape, generator=draw)
    (gradient,) = torch.autograd.grad(x, first, toward)
    measured = math.log10(float(gradient.norm() / toward.norm()))
    predicted = follow_residual(torch.relu, scales=[1.0] * depth, sigma_w=HE).decades
    assert measured == pytest.approx(predicted, abs=0.15)


@pytest.mark.parametrize("blocks", [8, 16, 32, 64])
def test_pre_norm_shares_fall_like_one_over_depth(blocks):
    stream = follow_pre_norm(blocks)
    assert stream.decades == pytest.approx(0.5 * math.log10(blocks), abs=0.1)  # F1: D about .5 log10 L
    # F1 measured sum s = 1.07 to 1.15 ln L
    assert sum(stream.shares) == pytest.approx(math.log(blocks), abs=0.6)
    assert stream.shares[-1] == pytest.approx(1 / (blocks + 1))
    assert effective_blocks(stream.shares) < blocks


def test_an_even_residual_stream_uses_all_of_its_blocks():
    stream = follow_residual(torch.relu, scales=[branch_scale(32)] * 32, sigma_w=HE)
    assert effective_blocks(stream.shares) == pytest.approx(32)


# THEORY.md A8: |dW2| of the last layer, Pre-LN, d = 64, L layers
LAST = {2: 0.324, 4: 0.276, 8: 0.221, 16: 0.167, 32: 0.118, 64: 0.086}


@pytest.mark.parametrize("layers", LAST)
def test_the_last_gradient_of_a_pre_norm_net_falls_with_depth_as_measured(layers):
    # one number is fitted: a layer's two branches add 0.37 to a unit stream under Xavier
    gain = {n: final_norm_gain(follow_pre_norm(n, variance=0.37, chi=0.37)) for n in LAST}
    assert gain[layers] / gain[2] == pytest.approx(LAST[layers] / LAST[2], rel=0.06)
    assert math.log(gain[64] / gain[16]) / math.log(4) == pytest.approx(-0.48, abs=0.03)


def test_layer_norm_scaling_bounds_the_stream():
    plain, scaled = follow_pre_norm(64), follow_pre_norm(64, scale_norms=layer_norm_scaling(64))
    assert plain.q[-1] == pytest.approx(65)
    assert scaled.q[-1] < 6


def test_a_pre_norm_transformer_stub_grows_as_predicted():
    draw = torch.Generator().manual_seed(0)
    width, depth = 512, 24
    x = first = torch.randn(8, width, generator=draw).requires_grad_()
    for _ in range(depth):
        normed = F.layer_norm(x, (width,))
        x = x + torch.relu(normed) @ (torch.randn(width, width, generator=draw) * (2 / width) ** 0.5)
    toward = torch.randn(x.shape, generator=draw)
    (gradient,) = torch.autograd.grad(x, first, toward)
    measured = math.log10(float(gradient.norm() / toward.norm()))
    assert measured == pytest.approx(follow_pre_norm(depth).decades, abs=0.08)


def test_a_post_norm_stub_keeps_its_gradient_as_predicted():
    draw = torch.Generator().manual_seed(0)
    width, depth = 512, 24
    x = first = torch.randn(8, width, generator=draw).requires_grad_()
    for _ in range(depth):
        branch = torch.tanh(x) @ (torch.randn(width, width, generator=draw) * 2 / width**0.5)
        x = F.layer_norm(x + branch, (width,))
    toward = torch.randn(x.shape, generator=draw)
    (gradient,) = torch.autograd.grad(x, first, toward)
    measured = math.log10(float(gradient.norm() / toward.norm()))
    gain = post_norm_gain(variance=4 * 0.394294, chi=4 * 0.464416)  # V and S of tanh at q = 1
    assert measured == pytest.approx(depth * math.log10(gain), abs=0.12)


def test_deepnorm_takes_post_norm_blocks_towards_one():
    alpha, beta = deepnorm_scales(100)
    assert (alpha, beta) == pytest.approx((200**0.25, 800**-0.25))
    assert 1 < post_norm_gain(alpha=alpha, chi=1.2) < post_norm_gain(chi=1.2)


def test_fixup_scales_branches_by_depth():
    assert fixup_scale(64, layers=2) == pytest.approx(64**-0.5)
    assert fixup_scale(64, layers=3) == pytest.approx(64**-0.25)
    assert fixup_scale(64, layers=1) == 0.0


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=30))
def test_effective_blocks_lie_between_one_and_all(shares):
    assert 1 - 1e-9 <= effective_blocks(shares) <= len(shares) + 1e-9


@pytest.mark.parametrize(
    "call",
    [
        lambda: branch_scale(0),
        lambda: deepnorm_scales(0),
        lambda: fixup_scale(0, layers=2),
        lambda: layer_norm_scaling(0),
        lambda: residual_gain(chi=-1.0),
        lambda: post_norm_gain(chi=-1.0),
        lambda: follow_pre_norm(4, start=0.0),
        lambda: follow_pre_norm(4, scale_norms=[1.0]),
        lambda: follow_residual(torch.relu, scales=[1.0], sigma_w=1.0, start=-1.0),
    ],
)
def test_numbers_out_of_range_are_refused(call):
    with pytest.raises(ValueError, match=r"^\w+: .*; "):
        call()
