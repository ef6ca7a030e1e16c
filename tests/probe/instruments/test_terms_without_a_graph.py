"""Numbers that a network has made, that have lost their graph, and that are added to its loss all the same."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout


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
    assert exam.verdict == "severed"
    (found,) = [f for f in exam.findings if f.code == "FO103"]
    assert "a number without a graph, test_terms_without_a_graph.py:" in found.claim
    assert sum(term.idle for term in exam.terms) == 1


@pytest.mark.parametrize("how", KEPT)
def test_what_never_had_a_graph_or_only_weighs_is_none(how):
    exam = examined(KEPT[how])
    assert exam.verdict == "flows" and not any(term.idle for term in exam.terms), exam.findings
