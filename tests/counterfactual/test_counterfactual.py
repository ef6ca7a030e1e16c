"""Counterfactuals: the replay against the account, and causes confirmed or refuted by a copy."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.call.batch import closure
from fadeout.counterfactual import Bench, measured
from fadeout.counterfactual.rectified import rectified
from fadeout.probe.replay import WithoutFactor

X, Y = torch.randn(64, 32, generator=torch.Generator().manual_seed(3)), torch.arange(64) % 5


def chain(activation, depth=10, scale=None):
    torch.manual_seed(0)
    layers = [m for _ in range(depth) for m in (nn.Linear(32, 32), activation())]
    model = nn.Sequential(*layers, nn.Linear(32, 5))
    if scale is not None:
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0, scale / 32**0.5)
    return model


def bench(model):
    run = closure(model, (X, Y), loss=F.cross_entropy, step=None, verb="test")
    return Bench(model=model, closure=run, within=None, autocast=None)


@pytest.mark.parametrize(("activation", "kind"), [(nn.Sigmoid, "slope"), (nn.Tanh, "weight"), (nn.Sigmoid, "weight")])
def test_in_a_plain_chain_the_replay_gives_back_what_the_account_says(activation, kind):
    """The direction stays, so without the weights' factors only the slopes' are left, and the other way round."""
    model = chain(activation, scale=0.7)
    ledger = fadeout.measure(model, (X, Y), loss=F.cross_entropy)
    trunk = dict(ledger.trunk.by_kind)
    between = [e for e in ledger.trunk.entries if e.kind == kind]
    own = sum(e.log_gain for e in between[: len(between) - (kind == "weight")])
    assert trunk[kind] < 0
    left = measured(bench(model), WithoutFactor(kind))
    if kind == "weight":
        assert left == pytest.approx(ledger.decades - own, abs=1e-3)
    else:  # without its slopes another direction goes back, through the same weights
        assert left == pytest.approx(ledger.decades - own, abs=0.5)


def test_the_network_is_untouched_by_counterfactuals():
    model = chain(nn.Sigmoid)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    measured(bench(model), WithoutFactor("slope"))
    rectified.left(bench(model))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert not any(m._forward_hooks for m in model.modules())


def found(model):
    return fadeout.examine(model, (X, Y), loss=F.cross_entropy).findings[0]


def test_slopes_are_confirmed_by_a_copy_with_another_activation():
    finding = found(chain(nn.Sigmoid))
    assert (finding.code, finding.status, finding.cause[0].kind) == ("FO101", "confirmed", "slope")
    assert finding.expected == pytest.approx(finding.decades, abs=1.0)  # as theory foresees it
    copied = next(e for e in finding.evidence if "ReLU and He" in e.name)
    assert copied.value > -1.5


def test_weights_are_confirmed_by_a_re_initialised_copy():
    finding = found(chain(nn.ReLU, depth=12, scale=0.5))
    assert (finding.status, finding.cause[0].kind) == ("confirmed", "weight")


def test_slopes_that_the_weights_made_flat_are_told_by_a_copy_with_the_same_activation():
    """tanh driven far out by its biases: a re-initialised copy keeps tanh, and the gradient."""
    model = chain(nn.Tanh, depth=6)
    with torch.no_grad():
        for layer in model[:-1]:
            if isinstance(layer, nn.Linear):
                layer.bias.fill_(2.5)
    finding = found(model)
    assert (finding.code, finding.cause[0].kind, finding.status) == ("FO101", "weight", "confirmed")
    assert any("same activation" in e.name and e.value > -1 for e in finding.evidence)


class Cancels(nn.Module):
    """Two paths that almost cancel: what is lost is lost where they meet, whatever the weights are."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(4))
        self.head = nn.Linear(32, 5)
        for layer in (*self.layers, self.head):
            nn.init.normal_(layer.weight, 0, 1.2 / 32**0.5)

    def forward(self, x):
        for layer in self.layers:
            u = torch.relu(layer(x))
            x = u - 0.98 * u
        return self.head(x)


def test_a_cause_that_is_none_is_refuted_where_paths_cancel():
    torch.manual_seed(0)
    finding = found(Cancels())
    assert (finding.code, finding.status) == ("FO101", "refuted")
    untreated, changed = finding.evidence[-2:]
    assert untreated.value == finding.decades
    assert changed.value == pytest.approx(finding.decades, abs=1.5)


class Beside(nn.Module):
    """A healthy way, and a deep side branch on the same input whose sigmoids fade."""

    def __init__(self, activation=nn.Sigmoid):
        super().__init__()
        self.way = nn.Sequential(nn.Linear(32, 32), nn.ReLU())
        self.side = nn.Sequential(*(m for _ in range(10) for m in (nn.Linear(32, 32), activation())))
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.way(x) + self.side(x))


def test_a_chain_is_held_against_its_own_fade_and_not_the_network_s():
    torch.manual_seed(0)
    model = Beside()
    whole = fadeout.measure(model, (X, Y), loss=F.cross_entropy).decades
    finding = found(model)
    assert finding.code == "FO101" and finding.chain and whole > -1
    assert finding.decades < -6
    untreated, changed = finding.evidence[-2:]
    assert untreated.value == pytest.approx(finding.decades, abs=1e-6)
    assert finding.status == "confirmed" and changed.value > -3


def test_a_chain_whose_slopes_are_not_at_fault_is_not_confirmed_by_the_network_s_health():
    """The weights of the branch can't be drawn anew (they are a buffer's product): nothing was shown."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(32, 32) * 0.02)

        def forward(self, x):
            return torch.relu(x @ self.weight)

    torch.manual_seed(0)
    model = Beside()
    model.side = nn.Sequential(*(Scaled() for _ in range(6)))
    finding = found(model)
    assert finding.code == "FO101" and finding.chain
    assert finding.status == "inconclusive"


def test_a_late_fade_is_tested_on_the_weights_that_show_it():
    torch.manual_seed(0)
    model = chain(nn.Tanh, depth=8, scale=1.1)
    data = [(X[i : i + 16] * 3, Y[i : i + 16]) for i in range(0, 64, 16)]
    optimizer = torch.optim.SGD(model.parameters(), lr=30.0)
    exam = fadeout.examine(model, data, loss=F.cross_entropy, optimizer=optimizer, steps=40)
    late = [f for f in exam.findings if f.code == "FO101" and f.level == "alarm"]
    assert late and late[0].since > 0
    untreated = next(e for e in late[0].evidence if "untreated" in e.name)
    assert untreated.value == pytest.approx(late[0].decades, abs=0.05)
    assert abs(untreated.value - exam.decades) > 2  # step 0 shows nothing of it
