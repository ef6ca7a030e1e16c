"""The account against its twin: every operation, every share, on random graphs of every family."""

import math

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

import strategies
import twins
from fadeout.call.batch import closure
from fadeout.call.guard import Guard
from fadeout.probe import measure
from fadeout.probe.account.front import Front, sweep
from fadeout.probe.account.tape import Tape, record
from fadeout.probe.graph.graph import Graph, build
from fadeout.probe.graph.names import Names

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-6}  # decades
many = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


def both(case: strategies.Case) -> tuple[Graph, Tape, Front, twins.TwinAccount]:
    """The real account and the twin's, of one and the same graph."""
    modules = list(case.model.named_modules())
    with Guard(m for _, m in modules) as guard:
        names = Names(case.model, guard, watched=case.model, modules=modules)
        run = closure(case.model, case.batch, loss=case.loss, step=None, verb="test")
        with names:
            loss = run.run(case.model)
        graph = build(loss, names, modules, within=False)
        ends = [(graph.nodes[i], slot) for i, slot in graph.ends]
        twin = twins.account(loss, ends)
        tape = record(graph, loss, list(case.model.parameters()))
    return graph, tape, sweep(graph, tape), twin


def check(case: strategies.Case, tolerance: float) -> None:
    graph, tape, front, twin = both(case)
    # an operation that leaves a hundredth (a layer norm over two features) leaves mostly rounding,
    # and two backward passes in float32 round differently
    assume(tolerance < 1e-8 or min(s.own for s in twin.steps) > -2)
    index = {node: i for i, node in enumerate(graph.nodes)}
    mine = {move.node: move for move in front.moves}
    gains = 0.0
    for step in twin.steps:
        i = index.get(step.node)
        if i is None:  # an isometry the graph left out: it must not have changed anything
            assert abs(step.log_gain) < tolerance, step.node.name()
            continue
        move = mine[i]
        gain = move.own + move.merge
        if math.isinf(step.log_gain) or math.isnan(step.log_gain):
            assert gain == step.log_gain or (math.isnan(gain) and math.isnan(step.log_gain))
        else:
            # Two backward passes round differently.  Where terms cancel, in a sum or inside an operation
            # (a layer norm over two features), that rounding is all that is left.
            cancelled = max(step.before, step.before * 10**step.own, step.after) / (step.after or math.inf)
            assert gain == pytest.approx(step.log_gain, abs=tolerance * cancelled), step.node.name()
            # own and skip are differences of squares: exact relative to J, not to themselves
            assert 10**move.own == pytest.approx(10**step.own, abs=20 * tolerance), step.node.name()
            gains += gain
    for slot, expected in twin.joins.items():
        i = index.get(slot[0])
        assert i is not None
        shares = tape.shares.get((i, slot[1]), {})
        for (node, edge), share in expected.items():
            if not math.isnan(share):
                found = shares.get((index[node], edge), 0.0)
                assert found == pytest.approx(share, abs=20 * tolerance, rel=20 * tolerance)
    if math.isfinite(twin.total) and twin.total > -30:
        assert front.log_gain == pytest.approx(twin.total, abs=tolerance)
        assert gains == pytest.approx(front.log_gain, abs=tolerance)
        assert front.closing_error < tolerance


@many
@given(strategies.modules(torch.float64))
def test_every_operation_agrees_with_the_twin_in_float64(case):
    check(case, TOLERANCE[torch.float64])


@many
@given(strategies.modules(torch.float32))
def test_every_operation_agrees_with_the_twin_in_float32(case):
    check(case, TOLERANCE[torch.float32])


class Joins(nn.Module):
    """A chain of joins; some of them are multiplied by zero, so that exactly nothing arrives there."""

    def __init__(self, scales):
        super().__init__()
        self.scales = scales
        self.left = nn.ModuleList(nn.Linear(4, 4) for _ in scales)
        self.right = nn.ModuleList(nn.Linear(4, 4) for _ in scales)

    def forward(self, x):
        total = 0.0
        for scale, left, right in zip(self.scales, self.left, self.right, strict=True):
            y = torch.tanh(x)
            y = y + torch.tanh(left(y)) - torch.sigmoid(right(y))
            total = total + scale * y.square()
            x = x + y.cos()
        return total


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, -0.5]), min_size=1, max_size=5), st.integers(0, 1000))
def test_shares_are_right_behind_joins_at_which_exactly_nothing_arrives(scales, seed):
    torch.manual_seed(seed)
    model = Joins(scales).double()
    batch = torch.randn(3, 4, dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64)
    check(strategies.Case(name="joins", model=model, batch=batch, loss=lambda o, y: (o - y).sum()), 1e-10)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.modules(torch.float64))
def test_the_public_total_is_the_joint_gradient_that_autograd_returns(case):
    ledger = measure(case.model, case.batch, loss=case.loss)
    loss = strategies.run(case)
    expected = twins.account(loss, twins.data_ends(loss)).total
    if math.isfinite(expected):
        assert ledger.log_gain == pytest.approx(expected, abs=1e-10)
        assert sum(gain for _, gain in ledger.by_kind) == pytest.approx(expected, abs=1e-10)
        assert sum(stage.log_gain for stage in ledger.stages) == pytest.approx(expected, abs=1e-10)
        assert sum(op.log_gain for op in ledger.operations) == pytest.approx(expected, abs=1e-10)
    else:
        assert ledger.log_gain == expected
