"""Counterfactuals: the replay against the account, and causes confirmed or refuted by a copy."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.call.batch import closure
from fadeout.counterfactual import Bench, reinitialised, replayed

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
    left = replayed(bench(model), kind)
    if kind == "weight":
        assert left == pytest.approx(ledger.decades - own, abs=1e-3)
    else:  # without its slopes another direction goes back, through the same weights
        assert left == pytest.approx(ledger.decades - own, abs=0.5)


def test_the_network_is_untouched_by_counterfactuals():
    model = chain(nn.Sigmoid)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    replayed(bench(model), "slope")
    reinitialised(bench(model), gain=1.4, swap=True)
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
