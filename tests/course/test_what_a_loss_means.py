"""What a loss means: answers that it ignores, shapes that broadcast, losses without a floor, a first loss too large."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fadeout
from fadeout.call.question import Question
from fadeout.call.standard import against_constants
from fadeout.probe.reading import take_reading

DRAW = torch.Generator().manual_seed(0)
X = torch.randn(128, 6, generator=DRAW)


def net(out=1):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, out))


LOSSES = {
    "mse": (F.mse_loss, lambda n: torch.randn(n, 1)),
    "l1": (F.l1_loss, lambda n: torch.randn(n, 1)),
    "huber": (F.huber_loss, lambda n: torch.randn(n, 1)),
    "large offset": (lambda o, y: F.mse_loss(o, y) + 1e4, lambda n: torch.randn(n, 1)),
    "bce": (F.binary_cross_entropy_with_logits, lambda n: (torch.rand(n, 1) > 0.5).float()),
    "sum": (lambda o, y: F.mse_loss(o, y, reduction="sum"), lambda n: torch.randn(n, 1)),
}
BLIND = {
    "zeros": (lambda o, y: o.square().mean(), lambda n: torch.zeros(n, 1)),
    "random": (lambda o, y: o.abs().mean(), lambda n: torch.randn(n, 1)),
    "classes": (lambda o, y: o.square().mean(), lambda n: torch.randint(3, (n,))),
    "all of one class": (lambda o, y: o.square().mean(), lambda n: torch.zeros(n, dtype=torch.long)),
    "wasserstein": (lambda o, y: -o.mean(), lambda n: torch.ones(n, 1)),
    "broadcast": (F.mse_loss, lambda n: torch.randn(n)),
    "rounding": (lambda o, y: o.square().mean() + y.sum() * 1e-3 - y.sum() * 1e-3, lambda n: torch.randn(n, 1)),
}


@pytest.mark.filterwarnings("ignore:Using a target size")
@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from([*LOSSES, *BLIND]), rows=st.integers(8, 200), seed=st.integers(0, 10_000))
def test_whether_a_loss_reads_its_answers_does_not_depend_on_rounding(name, rows, seed):
    torch.manual_seed(seed)
    loss, answers = (LOSSES | BLIND)[name]
    output = torch.randn(rows, 1)
    assert against_constants(output, answers(rows), loss).ignores_targets is (name in BLIND)


def test_constant_answers_that_matter_are_told_from_placeholders():
    output = torch.randn(32, 1, generator=DRAW)
    assert not against_constants(output, torch.full((32, 1), 3.0), F.mse_loss).ignores_targets
    logits = torch.randn(32, 4, generator=DRAW)
    assert not against_constants(logits, torch.full((32,), 3), F.cross_entropy).ignores_targets
    assert not against_constants(logits, torch.zeros(32, dtype=torch.long), F.cross_entropy).ignores_targets


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("steps", [0, 30])
def test_shapes_that_broadcast_are_named_in_one_step_and_in_many(steps):
    model, y = net(), X[:, 0] * X[:, 1]
    batch = (X, y)
    found = fadeout.examine(
        model, [batch] if steps else batch, loss=F.mse_loss, optimizer=torch.optim.Adam(model.parameters()), steps=steps
    )
    said = next(f for f in found.findings if f.code == "FO304")
    assert said.level == "warning" and "(128, 1) against (128,)" in said.claim


def test_placeholders_make_no_output_too_large():
    model = net(8)
    batches = [(X, torch.zeros(128, 8)) for _ in range(4)]

    def apart(out, _):  # a contrastive loss: the answers are there for the loader's sake
        sim = F.normalize(out, dim=-1) @ F.normalize(out, dim=-1).T
        return F.cross_entropy(sim / 0.2, torch.arange(len(out)))

    for steps in (0, 30):
        found = fadeout.examine(
            model, batches if steps else batches[0], loss=apart,
            optimizer=torch.optim.Adam(model.parameters(), lr=1e-3), steps=steps,
        )  # fmt: skip
        assert found.verdict == "flows", found.sentence


@pytest.mark.parametrize("offset", [-5.0, -1e-3, 0.0])
def test_a_loss_without_a_floor_is_no_measure_of_progress(offset):
    y = X[:, :1]
    constant = float((y - y.mean()).square().mean())

    def loss(out, target):
        return F.mse_loss(out, target) - constant + offset

    standard = against_constants(torch.randn(128, 1, generator=DRAW), y, loss)
    judged = standard.judge(torch.zeros(128, 2), offset - 0.5)
    assert math.isnan(judged)


def test_a_first_loss_far_above_the_constants_is_a_bad_start():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(50, 64), nn.Flatten(), nn.Linear(64 * 4, 50))
    with torch.no_grad():
        model[2].weight.mul_(40)
    ids = torch.randint(50, (256, 4))
    batches = [(ids[a : a + 32], torch.randint(50, (32,))) for a in range(0, 256, 32)]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    one = fadeout.examine(model, batches[0], loss=F.cross_entropy, optimizer=optimizer)
    many = fadeout.examine(model, batches, loss=F.cross_entropy, optimizer=optimizer, steps=40)
    assert [f.level for f in one.findings if f.code == "FO107"] == ["warning"]
    assert many.verdict == "bad_init" and many.findings[0].where[0] == "2"


def lora(trained_base):
    class Lora(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = nn.Parameter(torch.randn(16, 6) / 3, requires_grad=trained_base)
            self.a, self.b = nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.zeros(16, 2))

        def forward(self, x):
            return F.linear(x, self.base + self.b @ self.a)

    return nn.Sequential(Lora(), nn.Tanh(), nn.Linear(16, 1))


def constant_start():
    model = net()
    nn.init.constant_(model[0].weight, 0.1)
    nn.init.zeros_(model[0].bias)
    nn.init.constant_(model[2].weight, 0.1)
    return model


def weight_norm():
    torch.manual_seed(0)
    first = nn.utils.parametrizations.weight_norm(nn.Linear(6, 32))
    return nn.Sequential(first, nn.Tanh(), nn.Linear(32, 1))


@pytest.mark.parametrize(
    ("make", "alike"),
    [(lambda: lora(False), False), (lambda: lora(True), False), (weight_norm, False), (constant_start, True)],
)
def test_units_are_alike_only_where_nothing_of_their_own_tells_them_apart(make, alike):
    torch.manual_seed(0)
    model = make()
    batches = [(X, torch.randn(128, 1, generator=DRAW)) for _ in range(4)]  # nothing to learn: a long plateau
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    found = fadeout.examine(model, batches, loss=F.mse_loss, optimizer=optimizer, steps=40)
    assert ("FO107" in {f.code for f in found.findings}) is alike


def test_a_bias_that_shuts_a_layer_is_the_first_thing_to_change():
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    nn.init.constant_(model[2].bias, -10.0)
    optimizer = torch.optim.Adam(model.parameters())
    found = fadeout.examine(model, [(X, X[:, :1])] * 4, loss=F.mse_loss, optimizer=optimizer, steps=30)
    assert found.verdict == "dead" and "its bias, -10 on average" in found.sentence
    assert "bias of zero" in found.findings[0].advice[0].words


def test_raw_pixels_come_first():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))
    x = torch.randint(0, 256, (128, 6), generator=DRAW).float()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    found = fadeout.examine(
        model, [(x, torch.randint(3, (128,)))] * 4, loss=F.cross_entropy, optimizer=optimizer, steps=30
    )
    assert "normalising the input" in found.findings[0].advice[0].words


@pytest.mark.parametrize("held", ["optimizer", "loop"])
def test_a_term_that_reaches_nothing_of_what_is_trained_is_severed(held):
    model = nn.ModuleDict({"g": net(), "d": nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 1))})
    optimizer = torch.optim.Adam(model["g"].parameters(), lr=1e-3)

    def loss(m, cut):
        fake = m["g"](X)
        return -m["d"](fake.detach() if cut else fake).mean() + 0.1 * (fake - X[:, :1]).abs().mean()

    def step(m, b, o, cut):
        o.zero_grad()
        value = loss(m, cut)
        value.backward()
        o.step()
        return value

    for cut in (True, False):
        if held == "optimizer":
            found = fadeout.examine(model, step=lambda m, cut=cut: loss(m, cut), optimizer=optimizer)
        else:
            found = fadeout.examine(
                model, [X], optimizer=optimizer, train_step=lambda m, b, o, cut=cut: step(m, b, o, cut), steps=10
            )
        assert (found.verdict == "severed") is cut, found.sentence
        assert len(found.terms) == 2 and [t.idle for t in found.terms] == [cut, False]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(2, 5), scales=st.lists(st.floats(-3, 3), min_size=5, max_size=5))
def test_the_account_by_term_is_that_of_plain_autograd(seed, count, scales):
    torch.manual_seed(seed)
    model = net(4)
    targets = [torch.randn(128, 4) for _ in range(count)]
    kinds = [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.mse_loss, F.l1_loss]

    def terms(m):
        out = m(X)
        return [10.0**s * kind(out, t) for s, kind, t in zip(scales, kinds, targets, strict=False)]

    found = fadeout.examine(model, step=lambda m: sum(terms(m)))
    assert len(found.terms) == count
    for said, term in zip(found.terms, terms(model), strict=True):
        (first,) = torch.autograd.grad(term, [model[0].weight], retain_graph=True)
        assert said.first == pytest.approx(float(first.norm()), rel=1e-4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(1, 300), classes=st.booleans())
def test_the_share_of_wrong_and_silent_rows_is_that_of_plain_autograd(seed, scale, classes):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3 if classes else 1), nn.Sigmoid())
    with torch.no_grad():
        model[2].weight.mul_(scale)
    y = torch.randint(3, (128,)) if classes else (X[:, :1] > 0).float()
    loss = (lambda o, t: -o.gather(1, t[:, None]).mean()) if classes else F.mse_loss
    reading = take_reading(Question(verb="examine", model=model, batch=(X, y), loss=loss)).reading
    z = model[:3](X).detach().requires_grad_()
    output = torch.sigmoid(z)
    (sent,) = torch.autograd.grad(loss(output, y), [z])
    rows = sent.norm(dim=1)
    wrong = output.argmax(1) != y if classes else (output - y).abs().squeeze(1) > 0.5 * y.std()
    assert reading.silent_rows == pytest.approx(float((wrong & (rows < 1e-3 * rows.max())).double().mean()), abs=0.02)


def test_a_network_that_returns_one_number_has_no_rows():
    """Its loss itself, say, or the likelihood of the whole batch."""

    class Likelihood(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))

        def forward(self, x):
            return (self.net(x) - x).square().mean()

    torch.manual_seed(0)
    model, x = Likelihood(), torch.randn(16, 4)
    for answers in (torch.randint(0, 3, (16,)), torch.zeros(()), x):
        exam = fadeout.examine(
            model, [(x, answers)], loss=lambda o, y: o, optimizer=torch.optim.Adam(model.parameters()), steps=3
        )
        assert exam.verdict == "flows"
