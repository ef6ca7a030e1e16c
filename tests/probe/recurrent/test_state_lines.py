"""Loops carried by elementwise lines: their profiles against autograd's own gradients, and what is no time."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.probe.recurrent.hand_loops import DEPTH, TIME, Leaky, Loop, MinGRU
from torch import nn

import fadeout


def batch(steps, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(6, steps, 5, generator=draw), torch.randint(0, 3, (6,), generator=draw)


def ready(kind, steps=24, **options):
    model = kind(**options)
    model(batch(steps)[0])  # the head is lazy
    return model


def exam(model, data):
    return fadeout.examine(model, data, loss=F.cross_entropy)


def gradients_at_the_states(model, data):
    """Decades of dL/d state at every step, by autograd on a plain forward, the last step first."""
    x, y = data
    loss = F.cross_entropy(model(x), y)
    parts = [
        torch.autograd.grad(loss, state, retain_graph=True, allow_unused=True, materialize_grads=True)
        for state in model.states
    ]
    lengths = [math.hypot(*(float(g.double().norm()) for g in part)) for part in reversed(parts)]
    return [math.log10(length) if length > 0 else -math.inf for length in lengths]


@pytest.mark.parametrize("kind", TIME)
@settings(max_examples=3, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(seed=st.integers(0, 10**6), bias=st.floats(-2.0, 3.0), steps=st.integers(9, 40))
def test_the_profile_of_a_loop_by_hand_is_the_gradient_at_its_states(kind, seed, bias, steps):
    model, data = ready(kind, steps, seed=seed, bias=bias), batch(steps, seed)
    expected = gradients_at_the_states(model, data)
    rows = [row for row in exam(model, data).time if row.steps]
    assert all(row.steps == steps and row.line.startswith("hand_loops.py:") for row in rows)
    wanted = pytest.approx([v - expected[0] for v in expected], abs=2e-3)
    row = next((row for row in rows if row.log_gain == wanted), None)
    assert row is not None, [row.log_gain for row in rows]
    whole = max(expected[-max(1, steps // 10) :]) - max(expected)
    assert row.early == pytest.approx(whole, abs=2e-3)


class Read(MinGRU):
    """Every step's state is read by the loss."""

    def forward(self, x):
        self.states = []
        self.run(x)
        return self.head(torch.stack([h for (h,) in self.states], 1).mean(1))


def test_where_every_step_is_read_the_profile_is_of_the_last_step_and_early_of_the_whole_loss():
    model, data = ready(Read, bias=1.0), batch(24)
    (row,) = exam(model, data).time
    whole = gradients_at_the_states(model, data)
    loss = F.cross_entropy(model(data[0]), data[1])
    states = [h for (h,) in model.states]
    (seed,) = torch.autograd.grad(loss, states[-1], retain_graph=True)
    alone = torch.autograd.grad(states[-1], states, seed)
    assert row.log_gain == pytest.approx([math.log10(g.norm() / seed.norm()) for g in reversed(alone)], abs=1e-4)
    assert row.early == pytest.approx(max(whole[-2:]) - max(whole), abs=1e-4)


@pytest.mark.parametrize("kind", DEPTH)
def test_depth_sums_and_iterations_on_one_input_are_no_time(kind):
    assert exam(ready(kind), batch(24)).time == ()


def test_micro_batches_whose_losses_are_added_are_no_time():
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    parts = [batch(1, n) for n in range(12)]

    def step(model):
        loss, mean = 0.0, 0.0
        for x, y in parts:
            loss = loss + F.cross_entropy(model(x[:, 0]), y) / 12
            mean = 0.9 * mean + 0.1 * loss
        return loss + 1e-3 * mean

    assert fadeout.examine(model, step=step).time == ()


@pytest.mark.parametrize("bias", [-1.0, 0.0, 2.0])
def test_the_factor_kept_a_step_is_the_gates_mean(bias):
    model, data = ready(MinGRU, bias=bias), batch(24)
    (row,) = exam(model, data).time
    ((name, kept, _),) = row.gates
    gate = 1 - torch.sigmoid(model.z(data[0]) - bias)
    assert name == "keep" and kept == pytest.approx(gate.mean().item(), abs=0.05)  # of some steps


def test_a_fixed_decay_is_named_with_its_factor():
    (row,) = exam(ready(Leaky), batch(24)).time
    assert (row.cause, row.gates[0][:2]) == ("decay", ("decay", pytest.approx(0.8)))
    assert row.horizon == pytest.approx(-1 / math.log10(0.8), rel=1e-4)


def test_shut_gates_of_a_loop_by_hand_are_found_with_their_line():
    found = exam(ready(MinGRU, bias=-3.0), batch(24))
    (row,) = found.time
    assert row.cause == "forget gates closed" and row.early < -6
    (finding,) = (f for f in found.findings if f.code == "FO108")
    assert finding.line == row.line and "forget gates closed" in finding.claim


def scan(z, c):
    h, outs = torch.zeros_like(c[:, 0]), []
    for t in range(z.shape[1]):
        h = (1 - z[:, t]) * h + z[:, t] * c[:, t]
        outs.append(h)
    return outs


class Layers(Loop):
    """One function for two layers; the second reads what the first left in a list, or in one tensor."""

    stacked = True

    def run(self, x):
        first = scan(torch.sigmoid(self.z(x)), self.c(x))
        read = torch.stack(first, 1)
        if self.stacked:
            return scan(torch.sigmoid(self.w(read)), read)[-1]
        h = x.new_zeros(x.shape[0], 6)
        for y in first:
            z = torch.sigmoid(self.w(y))
            h = (1 - z) * h + z * y
        return h


@pytest.mark.parametrize("stacked", [True, False])
def test_one_function_called_for_two_layers_is_two_loops(stacked, monkeypatch):
    monkeypatch.setattr(Layers, "stacked", stacked)
    rows = exam(ready(Layers), batch(20)).time
    assert [row.steps for row in rows] == [20, 20]
    assert len({row.horizon for row in rows}) == 2


class Tokens(Loop):
    """A token a step, looked up in the loop."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 5)

    def run(self, tokens):
        h = torch.zeros(tokens.shape[0], 6)
        for t in range(tokens.shape[1]):
            e = self.table(tokens[:, t])
            z = torch.sigmoid(self.z(e))
            h = (1 - z) * h + z * self.c(e)
        return h


def test_a_token_a_step_is_new_data():
    tokens = torch.randint(0, 11, (6, 20), generator=torch.Generator().manual_seed(0))
    model = Tokens()
    model(tokens)
    assert [row.steps for row in exam(model, (tokens, torch.arange(6) % 3)).time] == [20]


class Cut(MinGRU):
    def run(self, x):
        z, h = torch.sigmoid(self.z(x)), x.new_zeros(x.shape[0], 6)
        for t in range(x.shape[1]):
            h = (1 - z[:, t]) * h + z[:, t]
            if (t + 1) % 5 == 0 and t + 1 < x.shape[1]:
                h = h.detach()
        return h


def test_a_state_that_is_detached_every_few_steps_is_time_that_is_cut():
    (row,) = exam(ready(Cut), batch(24)).time
    assert (row.steps, row.cut.step, row.cut.op) == (24, 20, "detach")
    assert row.cut.line.startswith("test_state_lines.py:") and set(row.log_gain[4:]) == {-math.inf}


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.z, self.c = nn.Linear(5, 6), nn.Linear(5, 6)

    def forward(self, x, h):
        z = torch.sigmoid(self.z(x))
        return (1 - z) * h + z * self.c(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head = Cell(), nn.Linear(6, 3)

    def forward(self, x, h=None):
        h = x.new_zeros(x.shape[0], 6) if h is None else h
        if x.dim() == 2:
            return self.cell(x, h)
        for x_t in x.unbind(1):
            h = self.cell(x_t, h)
        return self.head(h)


def test_a_cell_of_ones_own_is_named_by_its_module():
    (row,) = exam(Net(), batch(20)).time
    assert (row.path, row.steps, row.cause) == ("cell", 20, "forget gates half open")


def test_a_model_that_is_stepped_by_the_training_loop_is_time():
    x, y = batch(20)

    def step(model):
        h = torch.zeros(6, 6)
        for t in range(20):
            h = model(x[:, t], h)
        return F.cross_entropy(model.head(h), y)

    assert [row.steps for row in fadeout.examine(Net(), step=step).time] == [20]


def test_no_trace_is_left_and_gradients_are_those_of_a_plain_step():
    model, data = ready(MinGRU), batch(24)
    random = torch.get_rng_state()
    exam(model, data)
    assert torch.equal(random, torch.get_rng_state()) and all(p.grad is None for p in model.parameters())


class Once(torch.autograd.Function):
    """An operation whose backward can be run once only."""

    @staticmethod
    def forward(ctx, x):
        ctx.held = [x]
        return x * 1.0

    @staticmethod
    def backward(ctx, g):
        if not ctx.held:
            raise RuntimeError("gone")
        ctx.held.clear()
        return g


class OnceOnly(Loop):
    def run(self, x):
        z, h = torch.sigmoid(self.z(x)), x.new_zeros(x.shape[0], 6)
        for t in range(x.shape[1]):
            h = Once.apply((1 - z[:, t]) * h + z[:, t] * x[:, t, :1])
        return h


def test_a_backward_that_runs_only_once_costs_the_profile_and_not_the_exam():
    found = exam(ready(OnceOnly), batch(20))
    assert found.time == () and found.verdict != "not_finite"
    assert any("no time profile" in note for note in found.environment.notes)


class Masked(Net):
    """Sequences of several lengths: the state waits where one has ended."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(5, 6)

    def forward(self, x):
        h, self.states = x.new_zeros(x.shape[0], 6), []
        ends = 3 * torch.arange(1, 7).unsqueeze(1)
        for t in range(x.shape[1]):
            alive = (t < ends).float()
            h = alive * self.cell(x[:, t], h) + (1 - alive) * h
            self.states.append((h,))
        return self.head(h)


def test_a_state_that_waits_behind_its_cell_is_measured_where_it_is_carried():
    model, data = Masked(), batch(20)
    (row,) = (row for row in exam(model, data).time if row.steps)
    expected = gradients_at_the_states(model, data)
    assert row.log_gain == pytest.approx([v - expected[0] for v in expected], abs=1e-3)
