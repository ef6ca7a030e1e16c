"""Per layer numbers against their twins."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout
import twins

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(40) % 3


def net(activation):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 7), activation, nn.Linear(7, 5), activation, nn.Linear(5, 3))


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.SiLU(), nn.Softplus(), nn.ELU(), nn.LeakyReLU(0.2), nn.Mish(),
     nn.Hardtanh(), nn.Hardsigmoid(), nn.Hardswish(), nn.ReLU6()],
    ids=lambda a: type(a).__name__,
)  # fmt: skip
def test_slopes_agree_with_autograd_on_a_clone(activation):
    model = net(activation)
    row = fadeout.examine(model, (X, Y), loss=F.cross_entropy).layers[0]
    z = model[0](X).detach()
    slopes = twins.slopes(activation, z).abs()
    grid = twins.slopes(activation, torch.linspace(-20, 20, 40_001, dtype=torch.float64)).abs().max()
    largest = grid if not isinstance(activation, (nn.ELU, nn.LeakyReLU)) else slopes.max()
    assert row.mean_slope == pytest.approx(float(slopes.mean() / largest), rel=2e-4)
    if not math.isnan(row.dead):
        assert row.dead == pytest.approx(twins.dead(activation, z), abs=1e-9)
    if not math.isnan(row.saturated):
        assert row.saturated == pytest.approx(twins.saturated(activation, z), abs=1e-6)


def test_dead_units_are_counted_and_named():
    model = net(nn.ReLU())
    with torch.no_grad():
        model[0].bias[:3] = -100.0
    row = fadeout.examine(model, (X, Y), loss=F.cross_entropy).layers[0]
    assert row.dead == pytest.approx(3 / 7)
    assert row.activation == "relu"


def test_the_share_between_samples_agrees_with_the_plain_formula():
    model = net(nn.Sigmoid())
    rows = fadeout.examine(model, (X, Y), loss=F.cross_entropy).layers
    z = model[0](X).detach()
    assert rows[0].between_samples == pytest.approx(twins.between_sample_share(z), rel=1e-5)
    assert rows[0].activation_rms == pytest.approx(float(z.square().mean().sqrt()), rel=1e-5)


def test_gradient_and_weight_numbers_are_those_of_autograd():
    model = net(nn.Tanh())
    rows = fadeout.examine(model, (X, Y), loss=F.cross_entropy).layers
    z = [model[0](X)]
    z.append(model[2](torch.tanh(z[0])))
    z.append(model[4](torch.tanh(z[1])))
    loss = F.cross_entropy(z[2], Y)
    weights = [model[i].weight for i in (0, 2, 4)]
    found = torch.autograd.grad(loss, [*z, *weights])
    for row, g, w, gw in zip(rows, found[:3], weights, found[3:], strict=True):
        assert row.gradient_norm == pytest.approx(float(g.norm()), rel=1e-5)
        assert row.gradient_rms == pytest.approx(float(g.square().mean().sqrt()), rel=1e-5)
        assert row.weight_gradient_norm == pytest.approx(float(gw.norm()), rel=1e-5)
        assert row.weight_rms == pytest.approx(float(w.detach().square().mean().sqrt()), rel=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
        lambda p: torch.optim.Adam(p, lr=1e-2),
        lambda p: torch.optim.AdamW(p, lr=1e-2, amsgrad=True),
        lambda p: torch.optim.RMSprop(p, lr=1e-2),
        lambda p: torch.optim.Adagrad(p, lr=1e-2),
        lambda p: torch.optim.NAdam(p, lr=1e-2),
    ],
    ids=["sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam"],
)
@pytest.mark.parametrize("steps", [0, 2])
def test_update_ratios_are_those_of_a_real_step_on_a_copy(make, steps):
    model = net(nn.Tanh())
    optimizer = make(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(X), Y).backward()
        optimizer.step()
    optimizer.zero_grad()
    grads = dict(
        zip(
            (n for n, _ in model.named_parameters()),
            torch.autograd.grad(F.cross_entropy(model(X), Y), list(model.parameters())),
            strict=True,
        )
    )
    expected = twins.update_ratio(model, optimizer, grads)
    rows = fadeout.examine(model, (X, Y), loss=F.cross_entropy, optimizer=optimizer).layers
    for row in rows:
        assert row.update_ratio == pytest.approx(expected[f"{row.path}.weight"], rel=1e-4)


@pytest.mark.parametrize(("dtype", "name"), [(torch.float16, "fp16"), (torch.bfloat16, "bf16")])
def test_underflow_agrees_with_a_real_cast(dtype, name):
    torch.manual_seed(0)
    model = nn.Sequential(*(m for _ in range(14) for m in (nn.Linear(6, 6), nn.Sigmoid())), nn.Linear(6, 3))
    rows = fadeout.examine(model, (X, Y), loss=F.cross_entropy).layers
    h, outputs = X, []
    for module in model:
        h = module(h)
        if isinstance(module, nn.Linear):
            outputs.append(h)
    grads = torch.autograd.grad(F.cross_entropy(h, Y), outputs)
    largest = max(float(g.abs().max()) for g in grads)
    for row, g in zip(rows, grads, strict=True):
        scaled = (g.double() / largest * torch.finfo(dtype).max).to(dtype)
        share = float(((scaled == 0) & (g != 0)).double().sum() / (g != 0).double().sum())
        assert getattr(row.underflow, name) == pytest.approx(share, abs=0.02)
    assert rows[0].underflow.fp16 > 0.5  # fourteen sigmoids fade further than half precision reaches


def test_a_gate_is_told_from_a_saturated_activation():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.g, self.v, self.o = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.o(torch.sigmoid(self.g(x)) * self.v(x))

    rows = {r.path: r for r in fadeout.examine(Gate(), (X, Y), loss=F.cross_entropy).layers}
    assert rows["g"].gated
    assert rows["g"].activation == "sigmoid"


def test_block_influence_is_one_minus_the_mean_cosine():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(6, 6)

        def forward(self, x):
            return x + torch.tanh(self.a(x))

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), Block(), Block(), nn.Linear(6, 3))
    blocks = fadeout.examine(model, (X, Y), loss=F.cross_entropy).effective_blocks.blocks
    h = model[0](X)
    expected = 1 - F.cosine_similarity(h, model[1](h), dim=-1).mean().detach()
    assert [b.path for b in blocks] == ["1", "2"]
    assert blocks[0].influence == pytest.approx(float(expected), abs=1e-6)


def test_a_sample_of_a_large_matrix_gives_the_update_ratio_within_a_percent():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 400), nn.Tanh(), nn.Linear(400, 300), nn.Tanh(), nn.Linear(300, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    grads = torch.autograd.grad(F.cross_entropy(model(X), Y), list(model.parameters()))
    names = [n for n, _ in model.named_parameters()]
    expected = twins.update_ratio(model, optimizer, dict(zip(names, grads, strict=True)))
    rows = fadeout.examine(model, (X, Y), loss=F.cross_entropy, optimizer=optimizer).layers
    assert rows[1].update_ratio == pytest.approx(expected["2.weight"], rel=0.01)
