"""Numbers that a network has made, that have lost their graph, and that are added to its loss all the same."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.records import LossTerm
from fadeout.records.exam import DETACHED
from fadeout.rules import diagnose
from rules.readings import course, reading

WELL, HALF, STUCK = [0.0, 0.2, 0.5, 0.8, 0.9], [0.0, 0.05, 0.1, 0.2, 0.4], [0.0, 0.0, 0.01, 0.0, 0.02]


def no_grad(f):
    with torch.no_grad():
        return f()


def in_place(a, b):
    a = a * 1
    a += b
    return a


LOST = {
    "detached": lambda ce, reg: ce + 0.1 * reg.detach(),
    "first": lambda ce, reg: ce.detach() + reg,
    "data": lambda ce, reg: ce + reg.data,
    "computed on": lambda ce, reg: ce + (reg.detach() * 3).sqrt(),
    "no_grad": lambda ce, reg: ce + no_grad(lambda: reg * 2),
    "subtracted": lambda ce, reg: ce - reg.detach(),
    "scaled": lambda ce, reg: 2 * (ce + reg.detach()),
    "sum": lambda ce, reg: sum([ce, reg.detach()]),
    "stack": lambda ce, reg: torch.stack([ce, reg.detach()]).sum(),
    "in place": lambda ce, reg: in_place(ce, reg.detach()),
    "three": lambda ce, reg: ce + reg + (ce * reg).detach(),
}
KEPT = {
    "both": lambda ce, reg: ce + 0.1 * reg,
    "a constant": lambda ce, reg: ce + torch.tensor(0.3),
    "a number": lambda ce, reg: ce + 0.3,
    "a weight": lambda ce, reg: ce * reg.detach() + reg,
    "over its own size": lambda ce, reg: ce / ce.detach() + reg / reg.detach(),
    "straight through": lambda ce, reg: reg + (ce - ce.detach()) + ce,
    "the largest taken out": lambda ce, reg: ce + ce.max().detach() + (reg - ce.max().detach()).exp(),
}


def examined(loss):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    x, y = torch.randn(32, 8), torch.randint(0, 4, (32,))

    def step(model):
        out = model(x)
        return loss(F.cross_entropy(out, y), out.square().mean())

    return fadeout.examine(model, step=step, optimizer=torch.optim.Adam(model.parameters(), 1e-3))


@pytest.mark.parametrize("how", LOST)
def test_a_term_that_has_lost_its_graph_is_told_with_its_line(how):
    exam = examined(LOST[how])
    (found,) = [f for f in exam.findings if f.code == "FO103"]
    assert found.level == "warning"  # in one step: it may be meant
    assert "a detached number, test_terms_without_a_graph.py:" in found.claim
    assert sum(term.idle for term in exam.terms) == 1


@pytest.mark.parametrize(("learned", "level"), [(WELL, "note"), (HALF, "alarm"), (STUCK, "alarm")])
def test_a_course_says_what_it_is_worth(learned, level):
    terms = tuple(
        LossTerm(op=op, line="net.py:3", norm=math.nan, first=math.nan, reaches=reaches, idle=not reaches)
        for op, reaches in (("cross_entropy", 3), (DETACHED, 0))
    )
    found = course([reading(terms=terms)] * 5, learned, steps=200)
    assert [f.level for f in diagnose(found) if f.code == "FO103"] == [level]


@pytest.mark.parametrize("how", KEPT)
def test_what_never_had_a_graph_or_only_weighs_is_none(how):
    exam = examined(KEPT[how])
    assert exam.verdict == "flows" and not any(term.idle for term in exam.terms), exam.findings
