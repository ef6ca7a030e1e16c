"""Gates that start nearly shut: what a gradient leaves at them is priced, and a real fade behind them is not hidden."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout


class Gated(nn.Module):
    """A stream with gated branches, read by a gated branch alone or as it is."""

    def __init__(self, gates, *, act=nn.GELU, stem=0, body=0, through=False, head=True, width=24):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(6, width), *(m for _ in range(stem) for m in _sigmoid(width)))
        self.branches = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), act(), nn.Linear(width, width)) for _ in gates
        )
        self.gates = nn.ParameterList(nn.Parameter(torch.full((width,), gate)) for gate in gates)
        self.body = nn.Sequential(*(m for _ in range(body) for m in _sigmoid(width)))
        self.token = nn.Parameter(torch.randn(1, width)) if through else None
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3) if head else nn.Identity())

    def forward(self, x):
        x = self.body(self.stem(x))
        stream = x if self.token is None else self.token.expand(len(x), -1)
        for branch, gate in zip(self.branches, self.gates, strict=True):
            stream = stream + gate * branch(stream if self.token is None else stream + x)
        return self.head(stream)


def _sigmoid(width):
    return nn.Linear(width, width), nn.Sigmoid()


def examined(seed=0, **options):
    torch.manual_seed(seed)
    net = Gated(**options)
    x, y = torch.randn(16, 6), torch.arange(16) % 3
    return fadeout.examine(net, (x, y), loss=F.cross_entropy)


def ledgers(seed=0, **options):
    return examined(seed, **options).ledger


@pytest.mark.parametrize("size", [1e-3, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_at_one_gate_on_every_way_is_exactly_its_size(size, seed):
    ledger = ledgers(seed, gates=[size], through=True)
    assert ledger.shut == pytest.approx(math.log10(size), abs=0.01)
    assert ledger.opened == pytest.approx(ledger.decades - math.log10(size), abs=0.01)


@pytest.mark.parametrize("size", [1e-3, 1e-6])
def test_a_stream_that_passes_beside_the_gates_leaves_nothing_at_them(size):
    assert ledgers(gates=[size] * 4).shut == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("size", [0.1, 1.0])
def test_an_open_gate_takes_no_toll(size):
    assert ledgers(gates=[size] * 2, through=True).shut == 0


@pytest.mark.parametrize("size", [1e-3, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize(
    "form",
    [
        {"gates": 4, "through": True},
        {"gates": 4, "head": False},
        {"gates": 4},
        {"gates": 1, "through": True},
        {"gates": 12, "through": True},
    ],
)
def test_gates_that_start_nearly_shut_are_no_alarm(size, form):
    exam = examined(**(form | {"gates": [size] * form["gates"]}))
    assert exam.verdict == "flows", exam.sentence
    assert not [f for f in exam.findings if f.code in ("FO101", "FO102")]


def test_the_sentence_says_what_the_gates_take():
    said = examined(gates=[1e-6] * 2, through=True).sentence
    assert "-6.0 of them at residual branches' gates" in said


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1.0])
@pytest.mark.parametrize("through", [False, True])
@pytest.mark.parametrize("where", ["stem", "body"])
def test_a_sigmoid_stack_behind_gates_still_vanishes(size, through, where):
    exam = examined(gates=[size] * 4, through=through, **{where: 10})
    assert exam.verdict == "vanishing", exam.sentence
    assert exam.ledger.opened < -4


def test_a_frozen_gate_does_not_open():
    torch.manual_seed(0)
    net = Gated([1e-6], through=True)
    net.gates.requires_grad_(False)
    exam = fadeout.examine(net, (torch.randn(16, 6), torch.arange(16) % 3), loss=F.cross_entropy)
    assert exam.ledger.shut == 0
    assert exam.verdict == "vanishing"


def test_a_scale_and_shift_on_the_only_way_is_no_gate():
    class Affine(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.shift = nn.Parameter(torch.full((6,), 1e-5)), nn.Parameter(torch.zeros(1, 6))

        def forward(self, x):
            return x * self.scale + self.shift.expand(len(x), -1)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), Affine(), nn.Linear(6, 3))
    assert fadeout.measure(net, (torch.randn(9, 6), torch.arange(9) % 3), loss=F.cross_entropy).shut == 0
