"""What a course notices of the loop: gradients never cleared, rates that decay, loss scalers, the step that broke."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout

DRAW = torch.Generator().manual_seed(0)
X = torch.randn(256, 8, generator=DRAW)
Y = (X[:, :1] * X[:, 1:2] + X[:, 2:3]).detach()
BATCHES = [(X[a : a + 32], Y[a : a + 32]) for a in range(0, 256, 32)]


def net(width=32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 1))


def exam(train_step, model=None, optimizer=None, steps=40, batches=BATCHES, **options):
    model = model or net()
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=3e-3)
    return fadeout.examine(model, batches, optimizer=optimizer, train_step=train_step, steps=steps, **options)


def codes(found):
    return {f.code for f in found.findings}


def plain(m, b, o):
    o.zero_grad()
    loss = F.mse_loss(m(b[0]), b[1])
    loss.backward()
    o.step()
    return loss


def never_cleared(m, b, o):
    loss = F.mse_loss(m(b[0]), b[1])
    loss.backward()
    o.step()
    return loss


def cleared_afterwards(m, b, o):
    loss = F.mse_loss(m(b[0]), b[1])
    loss.backward()
    o.step()
    m.zero_grad(set_to_none=False)
    return loss


def accumulated(m, b, o):
    o.zero_grad()
    for part in range(4):
        loss = F.mse_loss(m(b[0][part::4]), b[1][part::4]) / 4
        loss.backward()
    o.step()
    return loss


def two_passes(m, b, o):  # as SAM does: the second pass starts from cleared gradients
    o.zero_grad()
    F.mse_loss(m(b[0]), b[1]).backward()
    o.zero_grad()
    loss = F.mse_loss(m(b[0]), b[1])
    loss.backward()
    o.step()
    return loss


def with_closure(m, b, o):
    def closure():
        o.zero_grad()
        loss = F.mse_loss(m(b[0]), b[1])
        loss.backward()
        return loss

    return o.step(closure)


@pytest.mark.parametrize(
    ("step", "stale"),
    [
        (plain, False),
        (never_cleared, True),
        (cleared_afterwards, False),
        (accumulated, False),
        (two_passes, False),
        (with_closure, False),
    ],
)
def test_only_gradients_that_nothing_clears_are_stale(step, stale):
    assert ("FO305" in codes(exam(step))) is stale


def test_a_generator_that_trains_first_leaves_the_critics_gradients_alone():
    model = nn.ModuleDict({"g": net(), "d": nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 1))})
    optimizers = {k: torch.optim.Adam(model[k].parameters(), lr=1e-3) for k in ("g", "d")}

    def step(m, b, o):
        o["g"].zero_grad()
        loss = -m["d"](m["g"](b[0])).mean()
        loss.backward()  # reaches the critic, whose gradients of the step before are still there
        o["g"].step()
        o["d"].zero_grad()
        (m["d"](m["g"](b[0]).detach()).mean() - m["d"](b[1]).mean()).backward()
        o["d"].step()
        return loss

    assert "FO305" not in codes(exam(step, model, optimizers))


@pytest.mark.parametrize(("factor", "gone"), [(0.4, True), (0.99, False)])
def test_a_rate_that_decays_to_nothing_is_told_from_one_that_decays(factor, gone):
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, factor)

    def step(m, b, o):
        loss = plain(m, b, o)
        schedule.step()
        return loss

    found = exam(step, model, optimizer, batches=[(x, torch.randn(y.shape, generator=DRAW)) for x, y in BATCHES])
    said = [f for f in found.findings if f.code == "FO301" and "decayed" in f.claim]
    assert bool(said) is gone
    assert not gone or 5 <= said[0].since <= 12


def test_a_rate_far_too_small_is_said_with_the_distance_travelled():
    model = net()
    found = exam(plain, model, torch.optim.SGD(model.parameters(), lr=1e-6), loss=F.mse_loss)
    assert any(f.code == "FO301" and "move no layer further" in f.claim for f in found.findings)


class Scaled:
    """A step in float16 under a scaler, as pytorch's recipe has it."""

    def __init__(self, start):
        self.scaler = torch.amp.GradScaler("cpu", init_scale=start)

    def __call__(self, m, b, o):
        o.zero_grad()
        with torch.autocast("cpu", torch.float16):
            out = m(b[0])
        loss = (out.float() - b[1]).square().sum()
        self.scaler.scale(loss).backward()
        self.scaler.step(o)
        self.scaler.update()
        if self.scaler.get_scale() < 1:
            self.scaler.update(1.0)
        return loss


@pytest.mark.parametrize("size", [1.0, 10.0])
def test_a_scale_that_overflows_now_and_then_is_normal(size):
    found = exam(Scaled(2.0**20), batches=[(x, size * y) for x, y in BATCHES])
    assert found.verdict == "flows" and "FO104" not in codes(found)
    assert found.course.learned[-1] > 0  # the loss's own fall, not that of the scale


def test_a_scaler_that_leaves_out_every_step_is_named():
    found = exam(Scaled(2.0**16), batches=[(x, 6e4 * y) for x, y in BATCHES], steps=30)
    assert found.verdict == "not_finite"
    assert "every one of 30 steps" in found.sentence and "falls" not in found.sentence
    assert "FO303" not in codes(found)  # the steps were called


def test_a_falling_scale_is_no_learning():
    labels = [(x, torch.randn(y.shape, generator=DRAW) * 1e3) for x, y in BATCHES]
    found = exam(Scaled(2.0**30), batches=labels, steps=25)
    assert abs(found.course.learned[-1]) < 0.5


def reward_rises(m, b, o):
    """A policy loss that grows with the returns."""
    o.zero_grad()
    reward.append(reward[-1] + 1.0)
    loss = (m(b[0]).square().mean() + 1e-3) * 0 + reward[-1] * (1 + 1e-3 * m(b[0]).mean())
    loss.backward()
    o.step()
    return loss


reward = [1.0]


def test_a_rising_loss_alone_is_no_divergence():
    found = exam(reward_rises, steps=60)
    assert found.verdict == "flows" and found.progress == "unknown"
    assert "rises" in found.sentence


def test_a_loss_that_rises_because_the_rate_is_too_high_is_one():
    model = net()
    found = exam(plain, model, torch.optim.SGD(model.parameters(), lr=30.0), steps=30)
    assert found.verdict in ("exploding", "not_finite")


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_divergence_in_the_first_steps_does_not_raise_its_own_bar(at):
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    count = []

    def step(m, b, o):
        count.append(1)
        o.param_groups[0]["lr"] = 5.0 if len(count) == at else 1e-5
        return plain(m, b, o)

    assert exam(step, model, optimizer, steps=40).verdict == "exploding"


class Breaks(nn.Module):
    """Sound until a batch with a negative entry comes."""

    def __init__(self, operation):
        super().__init__()
        self.first, self.last, self.operation = nn.Linear(8, 16), nn.Linear(16, 1), operation
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.last(torch.tanh(self.first(x))) + 0 * self.operation(self.scale * x[:, :1])


BAD_ROW = 5
OPERATIONS = {
    "log": (lambda v: torch.log(v), -1.0, "epsilon inside"),
    "sqrt": (lambda v: torch.sqrt(v), -1.0, "sqrt(x + 1e-8)"),
    "acos": (lambda v: torch.acos(v / 4), 9.0, "clamping"),
    "exp": (lambda v: torch.exp(v) * 0, 2000.0, "exponent"),
    "div": (lambda v: 1 / v, 0.0, "divisor"),
    "where": (lambda v: torch.where(v > 0, 1 / v, torch.zeros_like(v)) + v, 0.0, "inside the where"),
    "pow": (lambda v: v**-1.5, -1.0, "base"),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_operation_and_the_rows_that_break_a_training_are_found_again(name):
    operation, value, advice = OPERATIONS[name]
    torch.manual_seed(0)
    model = Breaks(operation)
    batches = [(x.abs().clone() + 0.1, y) for x, y in BATCHES]
    batches[6][0][BAD_ROW, 0] = value  # the seventh step
    found = fadeout.examine(
        model, batches * 3, loss=F.mse_loss, optimizer=torch.optim.Adam(model.parameters()), steps=24
    )
    alarm = found.findings[0]
    assert alarm.code == "FO104" and f"of step 7, in row {BAD_ROW} of 32" in alarm.claim, alarm
    assert any(advice in one.words for one in alarm.advice), alarm.advice
    assert alarm.line.startswith("test_loops_as_they_are")


def test_a_gradient_of_the_data_alone_that_is_not_finite_breaks_nothing():
    torch.manual_seed(0)

    class OnInputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))

        def forward(self, x):
            return self.inner(x) + 0 * torch.where(x > 0, x.sqrt(), torch.zeros_like(x)).sum(1, keepdim=True)

    model = OnInputs()
    batches = [(x.clamp(min=0), y) for x, y in BATCHES]
    found = fadeout.examine(
        model, batches, loss=F.mse_loss, optimizer=torch.optim.Adam(model.parameters(), lr=0.01), steps=60
    )
    assert found.verdict == "flows" and found.progress == "learns"


def test_rows_are_found_where_the_loss_breaks():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    batches = [(x, y.abs() + 1) for x, y in BATCHES]
    batches[4][1][[2, 9]] = -1.0

    def loss(out, y):
        return (out - y.log()).square().mean()

    found = fadeout.examine(model, batches, loss=loss, optimizer=torch.optim.Adam(model.parameters()), steps=8)
    assert "rows 2, 9 of 32" in found.findings[0].claim and "made in the loss" in found.findings[0].claim


def test_hooks_of_the_optimizer_train_the_copy_too():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    calls = []

    def clip(o, args, kwargs):
        calls.append(1)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-12)

    optimizer.register_step_pre_hook(clip)
    found = fadeout.examine(model, BATCHES, loss=F.mse_loss, optimizer=optimizer, steps=20)
    assert "FO214" in codes(found) and not calls


def test_small_batches_are_gathered_until_they_say_something():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    single = [(x[None], y[None]) for x, y in zip(X, Y, strict=True)]
    found = fadeout.examine(model, single, loss=F.mse_loss, optimizer=torch.optim.Adam(model.parameters()), steps=20)
    assert found.environment.samples >= 48
    assert not math.isnan(found.layers[0].dead)


def test_one_batch_learned_by_heart_is_called_that():
    model = net(64)
    found = fadeout.examine(
        model, [BATCHES[0]], loss=F.mse_loss, optimizer=torch.optim.Adam(model.parameters(), lr=0.01), steps=150
    )
    assert "this one batch by heart" in found.sentence
