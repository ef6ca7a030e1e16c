"""Signs that hinder: what stands all along is not acquitted by half a success, and what judges may be too certain."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.records import TokenProfile
from fadeout.rules import LIMITS, diagnose, progress, sentence
from fadeout.rules.persistence import blamed, hindered
from rules.readings import course, layer, ledger, reading

HALF = [0.0, 0.05, 0.1, 0.2, 0.4]
WELL = [0.0, 0.2, 0.5, 0.8, 0.9]
STUCK = [0.0, 0.0, 0.01, 0.0, 0.02]


def alarms(found):
    return [f.code for f in diagnose(found) if f.level == "alarm"]


def attention(live, entropy):
    row = TokenProfile(
        path="b", positions=(), reach=(), distance_curve=(), rank_collapse=1.0, live_rows=live, entropy=entropy,
        live_heads=(live,),
    )  # fmt: skip
    return reading(tokens=(row,))


@pytest.mark.parametrize(
    ("live", "entropy", "learned", "level"),
    [
        (0.0, 0.0, STUCK, "alarm"),
        (0.0, 0.0, HALF, "alarm"),
        (0.3, 0.02, HALF, "warning"),
        (0.3, 0.02, STUCK, "alarm"),
        (0.0, 0.0, WELL, "warning"),
        (0.9, 0.5, STUCK, None),
    ],
)
def test_attention_that_lets_nothing_through_is_an_alarm_unless_all_is_learned(live, entropy, learned, level):
    found = diagnose(course([attention(live, entropy)] * 5, learned))
    said = [f.level for f in found if f.code == "FO203"]
    assert said == ([level] if level else [])


def test_attention_that_collapses_in_the_course_is_dated():
    probes = [attention(0.9, 0.5)] * 3 + [attention(0.0, 0.0)] * 2
    found = next(f for f in diagnose(course(probes, STUCK)) if f.code == "FO203")
    assert (found.level, found.since) == ("alarm", 11)


@pytest.mark.parametrize(
    ("slope", "learned", "level"), [(0.005, HALF, "alarm"), (0.05, HALF, "warning"), (0.005, WELL, None)]
)
def test_a_hidden_layer_flat_all_along_hinders(slope, learned, level):
    rows = tuple(layer(n, saturated=0.99 if n == "b" else 0.1, mean_slope=slope if n == "b" else 0.7) for n in "abc")
    found = diagnose(course([reading(layers=rows)] * 5, learned))
    assert [f.level for f in found if f.code == "FO106"] == ([level] if level else [])


def test_progress_by_the_fall_of_a_loss_hinders_nobody():
    found = course([reading()] * 5, HALF, constant=math.nan)
    assert not hindered(found, LIMITS)
    assert hindered(course([reading()] * 5, HALF), LIMITS)
    assert blamed(course([reading()] * 5, STUCK), LIMITS) == "alarm"


def sent(size, loss=1.0):
    rows = tuple(replace(w, norm=w.norm + size) for w in ledger().weights)
    return reading(ledger=ledger(weights=rows), loss=loss)


@pytest.mark.parametrize(
    ("sizes", "losses", "backwards", "certain"),
    [
        ([0, -3, -8, -20, -math.inf], [0.7, 0.0, 0.0, 0.0, 0.0], 2, True),  # a discriminator that wins
        ([0, -3, -8, -20, -30], [0.7, 0.7, 0.7, 0.7, 0.7], 1, True),  # an output that has become certain, and is wrong
        ([0, -2, -5, -6, -8], [0.7, 0.1, 0.01, 1e-3, 1e-4], 1, False),  # solved
        ([0, -0.5, -1, -1, -1], [0.7, 0.7, 0.7, 0.7, 0.7], 2, False),
        ([0, -8, 0, 0, -8], [0.7] * 5, 2, False),  # now and then
    ],
)
def test_a_judge_that_is_certain_is_told_from_a_task_that_is_solved(sizes, losses, backwards, certain):
    probes = [sent(size, loss) for size, loss in zip(sizes, losses, strict=True)]
    unknown = [math.nan] * 5 if backwards > 1 else STUCK
    found = course(probes, unknown, backwards=backwards, constant=math.nan)
    assert ("FO106" in alarms(found)) is certain


class Gated(nn.Module):
    """A gate that a loop reads step by step."""

    def __init__(self, bias):
        super().__init__()
        self.gate, self.new, self.head = nn.Linear(4, 16), nn.Linear(4, 16), nn.Linear(16, 2)
        nn.init.constant_(self.gate.bias, bias)

    def forward(self, x):
        z, c = torch.sigmoid(self.gate(x)), torch.tanh(self.new(x))
        h = x.new_zeros(len(x), 16)
        for t in range(x.shape[1]):
            h = (1 - z[:, t]) * h + z[:, t] * c[:, t]
        return self.head(h)


@pytest.mark.parametrize(("bias", "shut"), [(-3.5, False), (-12.0, True)])
def test_a_gate_is_seen_through_its_steps_and_one_that_is_merely_biased_is_healthy(bias, shut):
    torch.manual_seed(0)
    model, x = Gated(bias), torch.randn(64, 10, 4)
    batches = [(x, torch.randint(2, (64,)))] * 4
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    found = fadeout.examine(model, batches, loss=F.cross_entropy, optimizer=optimizer, steps=30)
    row = next(r for r in found.layers if r.path == "gate")
    assert row.gated
    assert any(f.code == "FO106" and f.level == "alarm" for f in found.findings) is shut


def test_a_clamp_that_keeps_numbers_in_range_has_no_dead_units():
    class Kept(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 2)

        def forward(self, x):
            return self.last(self.first(x) / self.first(x).norm(dim=1, keepdim=True).clamp_min(50.0))

    torch.manual_seed(0)
    found = fadeout.examine(Kept(), (torch.randn(64, 6), torch.randint(2, (64,))), loss=F.cross_entropy)
    assert found.verdict == "flows" and all(math.isnan(row.dead) for row in found.layers)


def test_what_no_backward_pass_of_the_step_reaches_is_severed():
    torch.manual_seed(0)
    model = nn.ModuleDict({"g": nn.Linear(4, 2), "d": nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))})
    optimizers = {k: torch.optim.Adam(model[k].parameters(), lr=1e-3) for k in ("g", "d")}
    noise, real = torch.randn(64, 4), torch.randn(64, 2)

    def step(m, b, o, frozen):
        with torch.set_grad_enabled(not frozen):
            fake = m["g"](noise)
        o["d"].zero_grad()
        loss = F.softplus(m["d"](fake.detach())).mean() + F.softplus(-m["d"](real)).mean()
        loss.backward()
        o["d"].step()
        o["g"].zero_grad()
        F.softplus(-m["d"](fake)).mean().backward()
        o["g"].step()
        return loss

    for frozen in (True, False):
        found = fadeout.examine(
            model, [noise], optimizer=optimizers, train_step=lambda m, b, o, f=frozen: step(m, b, o, f), steps=30
        )
        assert (found.verdict == "severed") is frozen, found.sentence


@pytest.mark.parametrize(
    ("late", "word"), [([2.0, 1.0, 0.5, 0.2, 0.1], "learns"), ([2.3] * 5, "does_not_learn"), ([-1.0] * 5, "unknown")]
)
def test_losses_after_the_last_probe_count_where_that_lies_far_back(late, word):
    """A watch may run out of its budget after a few steps of two hundred."""
    probes = [reading(loss=2.3)] * 4
    losses = tuple([2.3] * 20 + [v for v in late for _ in range(36)])
    found = course(probes, [0.0, 0.0, 0.0, 0.0], steps=200, losses=losses, constant=2.3)
    assert progress(found, ()) == word
    assert (
        "nothing is learned" in sentence(found, "flows", ()) or "DOES NOT LEARN" in sentence(found, "flows", ())
    ) is (word == "does_not_learn")
