"""Initialisers: the statistics they promise, and nets whose gradient they keep."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from fadeout.init import chrono_, critical_, delta_orthogonal_, fixup_, lsuv_, orthogonal_critical_
from fadeout.theory import find_critical


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def plain_net(width, depth, activation):
    layers = [part for _ in range(depth) for part in (nn.Linear(width, width), activation())]
    return nn.Sequential(*layers, nn.Linear(width, width))


def decades(model, x):
    """log10 of the gradient norm at the input over that at the output."""
    x = x.clone().requires_grad_()
    out = model(x)
    toward = torch.randn(out.shape, generator=generator(9))
    (gradient,) = torch.autograd.grad(out, x, toward)
    return math.log10(float(gradient.norm() / toward.norm()))


DRAWERS = {
    "critical_": lambda m, g: critical_(m, torch.tanh, sigma_b=0.2, generator=g),
    "orthogonal_critical_": lambda m, g: orthogonal_critical_(m, torch.tanh, sigma_b=0.2, generator=g),
    "delta_orthogonal_": lambda m, g: delta_orthogonal_(m, generator=g),
    "lsuv_": lambda m, g: lsuv_(m, torch.randn(8, 4, 6, 6, generator=generator(1)), generator=g),
    "fixup_": lambda m, g: fixup_([m, m], generator=g),
}


def conv_net():
    return nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 8, 3, padding=1))


@pytest.mark.parametrize("name", DRAWERS)
def test_a_seed_repeats_itself_and_the_global_generator_stays_untouched(name):
    first, second, third = conv_net(), conv_net(), conv_net()
    before = torch.random.get_rng_state()
    DRAWERS[name](first, generator(0))
    DRAWERS[name](second, generator(0))
    DRAWERS[name](third, generator(1))
    assert torch.equal(torch.random.get_rng_state(), before)
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)]
    other = [torch.equal(a, b) for a, b in zip(first.parameters(), third.parameters(), strict=True)]
    assert all(same)
    assert not all(other)


@pytest.mark.parametrize("name", DRAWERS)
def test_gradients_hooks_and_modes_stay_as_they_were(name):
    model = conv_net()
    DRAWERS[name](model, generator())
    assert all(p.grad is None and p.requires_grad and p.is_leaf for p in model.parameters())
    assert all(not m._forward_hooks and m.training for m in model.modules())


def test_critical_weights_have_the_critical_variance():
    point = find_critical(torch.tanh, sigma_b=0.3)
    layer = critical_(nn.Linear(800, 600), torch.tanh, sigma_b=0.3, generator=generator())
    assert float(layer.weight.detach().std()) * 800**0.5 == pytest.approx(point.sigma_w, rel=0.01)
    assert float(layer.bias.detach().std()) == pytest.approx(0.3, rel=0.1)


def test_critical_counts_the_kernel_into_the_fan_in():
    weight = torch.empty(64, 32, 3, 3)
    assert critical_(weight, torch.relu, generator=generator()) is weight
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / (32 * 9)), rel=0.02)


def test_a_ready_critical_point_can_be_passed():
    point = find_critical(F.gelu, sigma_b=0.5)
    layer = critical_(nn.Linear(500, 500), point, generator=generator())
    assert float(layer.weight.detach().std()) * 500**0.5 == pytest.approx(point.sigma_w, rel=0.01)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_a_critically_drawn_net_keeps_its_gradient_where_the_default_loses_it(activation):
    model = plain_net(256, 20, activation)
    x = torch.randn(16, 256, generator=generator(4)) * 0.3
    assert decades(model, x) < -4
    critical_(model, activation(), generator=generator())
    assert abs(decades(model, x)) < 0.6


def test_orthogonal_square_weights_have_equal_singular_values():
    point = find_critical(torch.tanh, sigma_b=0.1)
    layer = orthogonal_critical_(nn.Linear(96, 96), torch.tanh, sigma_b=0.1, generator=generator())
    values = torch.linalg.svdvals(layer.weight.detach())
    assert values.min() == pytest.approx(point.sigma_w, rel=1e-5)
    assert values.max() == pytest.approx(point.sigma_w, rel=1e-5)


@pytest.mark.parametrize("shape", [(64, 128), (128, 64), (64, 16, 3, 3)])
def test_orthogonal_weights_have_the_entry_variance_of_gaussian_ones(shape):
    weight = orthogonal_critical_(torch.empty(shape), torch.relu, generator=generator())
    fan_in = weight[0].numel()
    assert float(weight.square().mean()) * fan_in == pytest.approx(2.0, rel=1e-4)


@pytest.mark.parametrize("kernel", [(3,), (3, 3), (5, 3), (3, 3, 3)])
def test_delta_orthogonal_is_zero_but_for_an_orthogonal_centre(kernel):
    weight = delta_orthogonal_(torch.empty(8, 6, *kernel), gain=1.5, generator=generator())
    centre = weight[(slice(None), slice(None), *(k // 2 for k in kernel))]
    assert torch.linalg.svdvals(centre).tolist() == pytest.approx([1.5] * 6, rel=1e-5)
    assert int((weight != 0).sum()) == 48


def test_delta_orthogonal_works_on_channels_last_weights():
    weight = torch.empty(8, 8, 3, 3).to(memory_format=torch.channels_last)
    delta_orthogonal_(weight, generator=generator())
    assert torch.linalg.svdvals(weight[:, :, 1, 1]).tolist() == pytest.approx([1.0] * 8, rel=1e-5)


def conv_chain(channels, depth, activation):
    convs = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth)]
    return nn.Sequential(*(part for conv in convs for part in (conv, activation())))


# THEORY.md A7: 64 channels, 8 x 8, zero padding, 50 layers, decades a layer; tanh at a small input
def test_fifty_linear_convolutions_with_delta_orthogonal_kernels_lose_nothing():
    model = conv_chain(64, 50, nn.Identity)
    x = torch.randn(2, 64, 8, 8, generator=generator(2))
    delta_orthogonal_(model, generator=generator())
    assert decades(model, x) / 50 == pytest.approx(0.0, abs=5e-5)


def test_fifty_tanh_convolutions_with_delta_orthogonal_kernels_lose_little():
    model = conv_chain(64, 50, nn.Tanh)
    x = 0.1 * torch.randn(2, 64, 8, 8, generator=generator(2))
    delta_orthogonal_(model, generator=generator())
    assert decades(model, x) / 50 == pytest.approx(-0.0029, abs=5e-4)


def test_fifty_linear_convolutions_leak_at_their_zero_padding():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = conv_chain(64, 50, nn.Identity)
    x = torch.randn(2, 64, 8, 8, generator=generator(2))
    assert decades(model, x) / 50 == pytest.approx(-0.257, abs=4e-3)
    critical_(model, nn.Identity(), generator=generator())
    assert decades(model, x) / 50 == pytest.approx(-0.020, abs=4e-3)


def test_lsuv_gives_every_layer_unit_variance_in_one_pass():
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.Sigmoid(), nn.Conv2d(8, 8, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(32, 10)
    )
    x = torch.randn(64, 4, 6, 6, generator=generator(1)) * 5 + 3
    lsuv_(model, x, generator=generator())
    for index in (0, 2, 5):
        assert float(model[: index + 1](x).detach().var()) == pytest.approx(1.0, rel=1e-4)


def test_lsuv_puts_running_statistics_back():
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8))
    lsuv_(model, torch.randn(32, 8, generator=generator(1)), generator=generator())
    assert int(model[1].num_batches_tracked) == 0
    assert torch.equal(model[1].running_mean, torch.zeros(8))


def test_lsuv_takes_arguments_by_position_and_by_name():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, a, b):
            return self.layer(a + b)

    x = torch.randn(64, 8, generator=generator(1))
    for batch in ((x, x), {"a": x, "b": x}):
        model = lsuv_(Pair(), batch, generator=generator())
        assert float(model(x, x).detach().var()) == pytest.approx(1.0, rel=1e-4)


def test_lsuv_of_a_dead_layer_says_which_and_changes_nothing():
    model = nn.Sequential(nn.Linear(8, 8), nn.Threshold(100.0, 0.0), nn.Linear(8, 8))
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=r"^lsuv_: the output of '2' has variance 0"):
        lsuv_(model, torch.randn(32, 8, generator=generator(1)), generator=generator())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not any(m._forward_hooks for m in model.modules())


def test_fixup_starts_branches_at_zero_and_scales_the_rest():
    branches = [nn.Sequential(nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 300)) for _ in range(16)]
    head = nn.Linear(300, 10)
    fixup_(branches, head=head, generator=generator())
    assert not any(b[2].weight.any() or b[2].bias.any() for b in branches)
    assert not head.weight.any()
    assert float(branches[3][0].weight.detach().std()) == pytest.approx((2 / 300) ** 0.5 / 16**0.5, rel=0.02)


def test_a_fixup_net_is_the_identity_at_the_start():
    branches = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)) for _ in range(5))
    fixup_(branches, generator=generator())
    x = torch.randn(3, 8, generator=generator(1))
    y = x
    for branch in branches:
        y = y + branch(y)
    assert torch.equal(x, y)


def test_chrono_spreads_the_forget_gates_of_an_lstm():
    lstm = chrono_(nn.LSTM(4, 256, num_layers=2, bidirectional=True), 100, generator=generator())
    for name, bias in lstm.named_parameters():
        if name.startswith("bias_hh"):
            assert not bias.any()
        if name.startswith("bias_ih"):
            i, f, g, o = bias.detach().split(256)
            assert torch.equal(i, -f)
            assert not g.any()
            assert not o.any()
            steps = 1 + f.exp()
            assert 2 <= float(steps.min()) < 10
            assert 90 < float(steps.max()) <= 100
            assert float(steps.mean()) == pytest.approx(51, abs=8)


def test_chrono_sets_the_update_gate_of_a_gru():
    gru = chrono_(nn.GRUCell(4, 64), 50, generator=generator())
    r, z, n = gru.bias_ih.detach().split(64)
    assert not r.any()
    assert not n.any()
    assert float(z.min()) >= 0
    assert float(z.max()) <= math.log(49)
    assert not gru.bias_hh.any()


def test_chrono_lets_the_gradient_of_an_lstm_reach_a_hundred_steps_back():
    reach = {}
    for name in ("default", "chrono"):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            lstm = nn.LSTM(2, 64)
        if name == "chrono":
            chrono_(lstm, 100, generator=generator())
        x = torch.randn(100, 4, 2, generator=generator(3)).double().requires_grad_()
        out = lstm.double()(x)[0][-1].square().sum()
        (gradient,) = torch.autograd.grad(out, x)
        reach[name] = float(gradient[0].norm() / gradient[-1].norm())
    assert reach["default"] < 1e-12
    assert reach["chrono"] > 1e-3


WRONG = {
    "softplus": (
        lambda g: critical_(nn.Linear(4, 4), F.softplus, generator=g),
        "critical_: softplus has no critical",
    ),
    "vector": (lambda g: critical_(torch.empty(4), torch.tanh, generator=g), "critical_: a weight has shape"),
    "no layer": (lambda g: critical_(nn.ReLU(), torch.tanh, generator=g), "critical_: ReLU contains none"),
    "parametrised": (
        lambda g: critical_(weight_norm(nn.Linear(4, 4)), torch.tanh, generator=g),
        "critical_: the weight of 'ParametrizedLinear' is computed",
    ),
    "lazy": (lambda g: orthogonal_critical_(nn.LazyLinear(4), torch.tanh, generator=g), "is lazy"),
    "narrowing": (lambda g: delta_orthogonal_(torch.empty(4, 8, 3, 3), generator=g), "4 output channels"),
    "matrix": (lambda g: delta_orthogonal_(torch.empty(4, 4), generator=g), "at least 3 dimensions"),
    "grouped": (lambda g: delta_orthogonal_(nn.Conv2d(4, 4, 3, groups=2), generator=g), "grouped"),
    "gain": (
        lambda g: delta_orthogonal_(nn.Conv2d(4, 4, 3), gain=math.nan, generator=g),
        "gain must be finite",
    ),
    "variance": (
        lambda g: lsuv_(nn.Linear(4, 4), torch.ones(2, 4), variance=0.0, generator=g),
        "lsuv_: variance",
    ),
    "nothing to scale": (
        lambda g: lsuv_(nn.ReLU(), torch.ones(2, 4), generator=g),
        "lsuv_: ReLU contains none",
    ),
    "one module": (lambda g: fixup_(nn.Linear(4, 4), generator=g), "fixup_: got one Linear"),
    "no branches": (lambda g: fixup_([], generator=g), "fixup_: no branches"),
    "empty branch": (lambda g: fixup_([nn.ReLU()], generator=g), "fixup_: branch 0"),
    "norm": (
        lambda g: fixup_([nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))], generator=g),
        "holds the norm '1'",
    ),
    "plain rnn": (lambda g: chrono_(nn.RNN(4, 4), 100, generator=g), "chrono_: RNN has no LSTM or GRU"),
    "no bias": (lambda g: chrono_(nn.LSTM(4, 4, bias=False), 100, generator=g), "has no biases"),
    "short": (lambda g: chrono_(nn.LSTM(4, 4), 2, generator=g), "chrono_: longest"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_says_what_and_what_to_do(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=message) as caught:
        call(generator())
    assert str(caught.value).split(":")[0].endswith("_")
    assert ";" in str(caught.value)
