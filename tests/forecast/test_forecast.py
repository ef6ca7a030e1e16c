"""Theory beside measurement: on real digits, for every activation and for the architectures it covers."""

import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import fadeout
from fadeout.theory import find_critical

ACTIVATIONS = [
    nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.SiLU(), nn.Mish(), nn.ELU(), nn.SELU(), nn.LeakyReLU(0.2),
    nn.Softplus(), nn.Hardtanh(), nn.Hardswish(), nn.GELU(approximate="tanh"), nn.ReLU6(), nn.CELU(),
]  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    bundle = load_digits()
    x = torch.tensor(bundle.data[:256], dtype=torch.float32)
    return (x - x.mean()) / x.std(), torch.tensor(bundle.target[:256])


def plain(activation, *, depth=15, width=200, gain=None, seed=0):
    torch.manual_seed(seed)
    layers, fan_in = [], 64
    for _ in range(depth):
        linear = nn.Linear(fan_in, width)
        if gain is not None:
            nn.init.normal_(linear.weight, 0, gain / fan_in**0.5)
        layers += [linear, activation]
        fan_in = width
    return nn.Sequential(*layers, nn.Linear(width, 10))


def check(model, digits):
    exam = fadeout.examine(model, digits, loss=F.cross_entropy)
    forecast = exam.forecast
    assert forecast.decades is not None, forecast.layers[0].why
    low, high = forecast.band
    slack = 0.5 * (high - low) / 2  # one draw: half again as far as 95 % of them; test_bands.py counts many
    assert low - slack <= exam.decades <= high + slack, f"measured {exam.decades:.2f}, band {low:.2f} .. {high:.2f}"
    return exam


@pytest.mark.parametrize("gain", [None, 1.3], ids=["default", "gain 1.3"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: repr(a))
def test_a_random_plain_net_lies_within_the_band(activation, gain, digits):
    exam = check(plain(activation, gain=gain), digits)
    assert exam.forecast.surprises == ()


class Residual(nn.Module):
    def __init__(self, width=96, depth=10, scale=1.0):
        super().__init__()
        self.inside = nn.Linear(64, width)
        self.a = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.b = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.out, self.scale = nn.Linear(width, 10), scale

    def forward(self, x):
        x = self.inside(x)
        for a, b in zip(self.a, self.b, strict=True):
            x = x + self.scale * b(F.relu(a(x)))
        return self.out(x)


class PreNorm(nn.Module):
    def __init__(self, norm, width=96, depth=8):
        super().__init__()
        self.inside = nn.Linear(64, width)
        self.norms = nn.ModuleList(norm(width) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(depth))
        self.out = nn.Linear(width, 10)

    def forward(self, x):
        x = self.inside(x)
        for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
            x = x + down(F.gelu(up(norm(x))))
        return self.out(x)


class PostNorm(PreNorm):
    def forward(self, x):
        x = self.inside(x)
        for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
            x = norm(x + down(F.gelu(up(x))))
        return self.out(x)


def convolutional():
    layers = [nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 32, 3, padding=1), nn.Tanh()]
    for _ in range(6):
        layers += [nn.Conv2d(32, 32, 3, padding=1), nn.Tanh()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 64, 10))


def batch_normed():
    layers = []
    for i in range(10):
        layers += [nn.Linear(64 if i == 0 else 96, 96), nn.BatchNorm1d(96), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(96, 10))


def layer_normed():
    layers = []
    for i in range(10):
        layers += [nn.Linear(64 if i == 0 else 96, 96), nn.LayerNorm(96), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear(96, 10))


def encoder(norm_first):
    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True, norm_first=norm_first)
    body = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    return nn.Sequential(nn.Unflatten(1, (8, 8)), nn.Linear(8, 64), body, nn.Flatten(), nn.Linear(512, 10))


ARCHITECTURES = {
    "residual": Residual,
    "residual scaled by 1/sqrt(2L)": lambda: Residual(scale=20**-0.5),
    "pre-norm LayerNorm": lambda: PreNorm(nn.LayerNorm),
    "pre-norm RMSNorm": lambda: PreNorm(nn.RMSNorm),
    "post-norm": lambda: PostNorm(nn.LayerNorm),
    "convolutional": convolutional,
    "batch norm": batch_normed,
    "layer norm sigmoid": layer_normed,
    "pre-LN transformer": lambda: encoder(True),
    "post-LN transformer": lambda: encoder(False),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_on_digits_lie_within_the_band(name, digits):
    torch.manual_seed(1)
    check(ARCHITECTURES[name](), digits)


def test_every_layer_of_a_plain_net_is_predicted_in_size_and_gradient(digits):
    exam = fadeout.examine(plain(nn.Tanh()), digits, loss=F.cross_entropy)
    top = exam.ledger.weights[-1].norm
    for row, layer, weight in zip(exam.forecast.layers, exam.layers, exam.ledger.weights, strict=True):
        assert row.path == layer.path
        assert math.log10(row.q) == pytest.approx(2 * math.log10(layer.activation_rms), abs=0.12)
        assert row.band[0] - 0.05 <= weight.norm - top <= row.band[1] + 0.05


def test_the_critical_initialisation_is_predicted_and_measured_to_keep_the_gradient(digits):
    point = find_critical(torch.tanh, sigma_b=0.05)
    model = plain(nn.Tanh(), depth=30, width=300, gain=point.sigma_w)
    for linear in model[::2]:
        nn.init.normal_(linear.bias, 0, 0.05)
    exam = check(model, digits)
    assert abs(exam.decades) < 0.6


def test_a_layer_off_the_band_is_a_surprise_with_its_meaning(digits):
    model = plain(nn.Tanh(), depth=12)
    hidden = model[:11](digits[0])
    (gradient,) = torch.autograd.grad(F.cross_entropy(model[11:](hidden), digits[1]), hidden)
    with torch.no_grad():  # one matrix of the same size that points where the gradient comes from
        weight = model[10].weight
        towards = torch.linalg.svd(gradient)[2][0]
        weight.copy_(torch.outer(towards, torch.randn(200) / 200**0.5) * weight.norm())
    exam = fadeout.examine(model, digits, loss=F.cross_entropy)
    assert {s.path for s in exam.forecast.surprises[:2]} & {"8", "10"}
    assert "theory speaks of random" in exam.forecast.surprises[0].meaning


def test_what_theory_cannot_predict_is_marked_and_not_guessed(digits):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)

        def forward(self, x):
            return self.c(torch.cumsum(torch.tanh(self.b(torch.tanh(self.a(x)))), 1))

    forecast = fadeout.predict(Odd(), digits[0])
    assert forecast.decades is None
    known = {row.path: row.decades is not None for row in forecast.layers}
    assert known == {"a": False, "b": False, "c": True}
    assert "not in the theory" in forecast.layers[0].why


def test_a_thousand_layers_are_predicted_quickly_and_whole(digits):
    forecast = fadeout.predict(plain(nn.Tanh(), depth=1000, width=16), digits[0])
    assert len(forecast.layers) == 1001
    assert forecast.decades < -200


def test_prediction_leaves_the_model_as_it_was(digits):
    model = batch_normed()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fadeout.predict(model, digits[0])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
