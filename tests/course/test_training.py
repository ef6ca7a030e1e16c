"""Exams of several steps: on a copy, with probes at growing distances, progress, and every call form."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.course.training import schedule


def stack(activation, depth, width=32, inputs=16, classes=4):
    torch.manual_seed(0)
    layers = [nn.Linear(inputs, width), activation()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, classes))


def batches(count=8, rows=32, inputs=16, classes=4, shuffled=False):
    draw = torch.Generator().manual_seed(1)
    centres = torch.randn(classes, inputs, generator=draw) * 1.5
    found = []
    for _ in range(count):
        y = torch.randint(0, classes, (rows,), generator=draw)
        x = centres[y] + torch.randn(rows, inputs, generator=draw)
        if shuffled:
            y = torch.randint(0, classes, (rows,), generator=draw)
        found.append((x, y))
    return found


def adam(model, lr=1e-3):
    return torch.optim.Adam(model.parameters(), lr=lr)


def exam(model, optimizer=None, steps=30, data=None, **options):
    return fadeout.examine(
        model,
        batches() if data is None else data,
        loss=options.pop("loss", F.cross_entropy),
        optimizer=optimizer or adam(model),
        steps=steps,
        **options,
    )


@pytest.mark.parametrize("steps", [1, 2, 3, 20, 21, 22, 40, 100, 1000])
def test_probes_stand_at_growing_distances_and_at_the_end(steps):
    found = schedule(steps)
    assert found[0] == 0 and found[-1] == steps
    assert list(found) == sorted(set(found))
    assert set(found) >= {n for n in (0, 3, 6, 11) if n < steps}
    assert len(found) <= 6 + math.log(max(steps, 21) / 21, 1.5)


def test_the_originals_are_untouched():
    model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 4))
    optimizer = adam(model)
    x, y = batches()[0]
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    grads = [p.grad.clone() for p in model.parameters()]
    random = torch.get_rng_state()
    exam(model, optimizer)
    assert all(torch.equal(v, before[0][k]) for k, v in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))
    assert repr(optimizer.state_dict()) == repr(before[1])
    assert torch.equal(random, torch.get_rng_state())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules()) and model.training


def test_a_shuffling_loader_and_what_a_step_closes_over_are_left_alone():
    x, y = (torch.cat(part) for part in zip(*batches(), strict=True))
    own = torch.Generator().manual_seed(5)
    for options in ({}, {"generator": own}):
        loader = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(x, y), batch_size=32, shuffle=True, **options
        )
        model = stack(nn.ReLU, 2)
        states = torch.get_rng_state(), own.get_state()
        exam(model, data=loader, steps=12)
        assert torch.equal(states[0], torch.get_rng_state()) and torch.equal(states[1], own.get_state())
    model, head = stack(nn.ReLU, 2), nn.Linear(4, 4)
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    before = head.weight.detach().clone()

    def step(model, batch, optimizer):
        optimizer.zero_grad()
        loss = F.cross_entropy(head(model(batch[0])), batch[1])
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss

    fadeout.examine(model, batches(), optimizer=optimizer, train_step=step, steps=8)
    assert optimizer.param_groups[0]["lr"] == 1e-3 and scheduler.last_epoch == 0
    assert torch.equal(head.weight, before) and not optimizer.state


def test_a_second_optimizer_on_the_model_keeps_its_state():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = stack(nn.Sigmoid, 10)
            self.second = adam(self.net)

        def forward(self, x):
            return self.net(x)

    def step(model, batch, optimizer):
        for each in (model.second, optimizer):
            each.zero_grad()
            loss = F.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            each.step()
        return loss

    model = Own()
    found = fadeout.examine(model, batches(), optimizer=adam(model), train_step=step, steps=8)
    assert found.verdict == "vanishing" and not model.second.state


def test_batches_that_cannot_be_joined_are_probed_one_by_one():
    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 3)

        def forward(self, x, a):
            return self.second(a @ torch.relu(self.first(a @ x)))

    draw = torch.Generator().manual_seed(0)
    x, a, y = torch.randn(600, 8, generator=draw), torch.eye(600), torch.randint(0, 3, (600,), generator=draw)
    model = Graph()
    found = exam(model, data=[((x, a), y)], steps=5)
    assert found.environment.samples == 600
    pairs = [((x[:n], a[:n, :n]), y[:n]) for n in (20, 30)]
    assert exam(model, data=pairs, steps=5).environment.samples == 20


def test_dropout_neither_shatters_nor_moves_the_probes():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 4)
    )
    found = exam(model, adam(model, 1e-12), steps=40, data=batches(shuffled=True))
    assert "FO216" not in [f.code for f in found.findings]
    assert found.course.learned == pytest.approx([found.course.learned[0]] * len(found.course.learned), abs=1e-4)


def test_accumulated_gradients_are_no_steps_that_change_nothing():
    count = 0

    def step(model, batch, optimizer):
        nonlocal count
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        count += 1
        if count % 8 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    model = stack(nn.ReLU, 2)
    found = fadeout.examine(model, batches(), optimizer=adam(model), train_step=step, steps=64)
    assert "FO303" not in [f.code for f in found.findings]
    assert count == 0  # the user's counter is the user's


def test_the_copy_trains_as_the_original_would():
    model = stack(nn.ReLU, 2)
    twin, data = copy.deepcopy(model), batches()
    optimizer = adam(twin)
    for n in range(20):
        x, y = data[n % len(data)]
        optimizer.zero_grad()
        F.cross_entropy(twin(x), y).backward()
        optimizer.step()
    from fadeout.call.question import Question
    from fadeout.course.training import take_course

    class Seen(list):
        """A list that a copy of the step keeps using."""

        def __deepcopy__(self, memo):
            return self

    seen = Seen()

    def step(model, batch, optimizer):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        seen.append([p.detach().clone() for p in model.parameters()])
        return loss

    take_course(
        Question(
            verb="examine",
            model=model,
            batch=data,
            loss=F.cross_entropy,
            optimizer=adam(model),
            train_step=step,
            steps=20,
        )
    )
    assert all(torch.equal(a, b) for a, b in zip(seen[-1], twin.parameters(), strict=True))


def test_progress_tells_learning_from_not_learning():
    learns = exam(stack(nn.ReLU, 2), steps=60)
    assert (learns.verdict, learns.progress) == ("flows", "learns")
    lost = exam(stack(nn.ReLU, 2), steps=30, data=batches(shuffled=True, count=60))
    assert (lost.verdict, lost.progress) == ("flows", "does_not_learn")
    assert [f.code for f in lost.findings] == ["FO302"]
    assert fadeout.examine(stack(nn.ReLU, 2), batches()[0], loss=F.cross_entropy).progress == "unknown"


@pytest.mark.parametrize("scale", [1e-6, 1.0, 65536.0])
def test_nothing_depends_on_the_scale_of_the_loss(scale):
    model = stack(nn.Sigmoid, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1 / scale)
    assert exam(model, optimizer, loss=lambda out, y: scale * F.cross_entropy(out, y)).verdict == "vanishing"
    healthy = exam(stack(nn.ReLU, 3), loss=lambda out, y: scale * F.cross_entropy(out, y), steps=40)
    assert healthy.verdict == "flows"


FAULTS = {
    "vanishing": lambda: (stack(nn.Sigmoid, 12), 1e-3, "FO101"),
    "dead": lambda: (biased(stack(nn.ReLU, 3), -30.0), 1e-3, "FO105"),
    "saturated": lambda: (widened(stack(nn.Tanh, 3), 60.0), 1e-4, "FO106"),
    "bad_init": lambda: (alike(stack(nn.Tanh, 3)), 1e-3, "FO107"),
    "exploding": lambda: (stack(nn.ReLU, 3), 1e6, "FO102"),
}


def biased(model, bias):
    model[2].bias.data.fill_(bias)
    return model


def widened(model, factor):
    for layer in (model[0], model[2], model[4]):
        layer.weight.data.mul_(factor)
    return model


def alike(model):
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.constant_(layer.weight, 0.1)
            nn.init.zeros_(layer.bias)
    return model


@pytest.mark.parametrize("word", FAULTS)
def test_each_fault_is_named_and_moves_the_verdict(word):
    model, rate, code = FAULTS[word]()
    optimizer = (
        torch.optim.SGD(model.parameters(), lr=rate) if word in ("exploding", "saturated") else adam(model, rate)
    )
    found = exam(model, optimizer, steps=30)
    assert found.verdict == word, found.sentence
    assert found.findings[0].code == code and found.findings[0].level == "alarm"
    assert found.findings[0].helps and found.findings[0].evidence and found.findings[0].where


def test_a_branch_cut_off_from_training_is_named_with_the_line():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right, self.head = stack(nn.ReLU, 2), stack(nn.ReLU, 1), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(torch.cat([self.left(x).detach(), self.right(x)], 1))

    found = exam(Two(), steps=12)
    severed = next(f for f in found.findings if f.code == "FO103")
    assert severed.line.startswith("test_training.py:") and "detach" in severed.claim
    assert "left.4" in severed.where and not any(w.startswith("right") for w in severed.where)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: iter(x),
        lambda x: torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(torch.cat([a for a, _ in x]), torch.cat([b for _, b in x])), batch_size=32
        ),
        lambda x: x[0],
        lambda x: (pair for pair in x),
    ],
)
def test_batches_come_in_any_form(make):
    found = exam(stack(nn.ReLU, 2), data=make(batches()), steps=40)
    assert (found.verdict, found.progress) == ("flows", "learns")
    assert 4 < len(found.course.losses) == found.course.steps


def test_a_dict_whose_output_carries_its_loss():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = stack(nn.ReLU, 2)

        def forward(self, x, labels):
            logits = self.net(x)
            return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    model = Own()
    data = [{"x": x, "labels": y} for x, y in batches()]
    found = fadeout.examine(model, data, optimizer=adam(model), steps=60)
    assert (found.verdict, found.progress) == ("flows", "learns")


STEPS = {
    "documented": lambda model, batch, optimizer: once(model, batch, optimizer),
    "other order": lambda batch, net, opt: once(net, batch, opt),
    "keywords": lambda *, optimizer, model, batch: once(model, batch, optimizer),
    "no names": lambda a, b, c: once(a, b, c),
}


def once(model, batch, optimizer):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(batch[0]), batch[1])
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    optimizer.step()
    return loss.item()


@pytest.mark.parametrize("form", STEPS)
def test_a_training_step_of_the_users_own_is_called_by_its_names(form):
    model = stack(nn.ReLU, 2)
    found = fadeout.examine(model, batches(), optimizer=adam(model), steps=25, train_step=STEPS[form])
    assert found.verdict == "flows" and found.progress == "learns"
    assert "FO214" in [f.code for f in found.findings]  # clipped at every step


def test_a_step_that_takes_nothing_trains_copies_of_what_it_closes_over():
    model, data = stack(nn.ReLU, 2), batches()
    optimizer, count = adam(model), 0

    def step():
        nonlocal count
        once(model, data[count % 8], optimizer)
        count += 1

    before = [p.detach().clone() for p in model.parameters()]
    found = fadeout.examine(model, optimizer=optimizer, train_step=step, steps=40)
    assert found.verdict == "flows" and found.decades < 0
    assert count == 0 and not optimizer.state
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    without = fadeout.examine(model, train_step=step, steps=4)
    assert without.verdict == "flows" and not optimizer.state


def test_a_step_that_reaches_the_original_behind_our_back_is_refused_and_undone():
    model = stack(nn.ReLU, 2)
    optimizer = adam(model)

    class Hidden:
        """What a closure can hide: no module, no optimizer."""

        def go(self, batch):
            once(model, batch, optimizer)

    hidden = Hidden()
    before = [p.detach().clone() for p in model.parameters()]
    for options in ({}, {"loss": F.cross_entropy}):
        with pytest.raises(ValueError, match="trains the model outside"):
            fadeout.examine(model, batches(), train_step=lambda m, b: hidden.go(b), steps=4, **options)
        assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
        assert all(p.grad is None for p in model.parameters())


def test_two_optimizers_and_two_losses_are_no_trouble():
    class Gan(nn.Module):
        def __init__(self):
            super().__init__()
            self.gen, self.disc = stack(nn.ReLU, 2, classes=16), stack(nn.LeakyReLU, 2, classes=1)
            self.second = adam(self.disc)

        def forward(self, z):
            return self.gen(z)

    def play(model, batch, optimizer):
        x, _ = batch
        fake = model.gen(torch.randn(len(x), 16))
        loss = F.softplus(-model.disc(x)).mean() + F.softplus(model.disc(fake.detach())).mean()
        model.second.zero_grad()
        loss.backward()
        model.second.step()
        optimizer.zero_grad()
        loss = F.softplus(-model.disc(model.gen(torch.randn(len(x), 16)))).mean()
        loss.backward()
        optimizer.step()
        return loss

    model = Gan()
    found = fadeout.examine(
        model, batches(), optimizer=torch.optim.Adam(model.gen.parameters(), lr=1e-3), steps=25, train_step=play
    )
    assert found.verdict == "flows" and found.progress == "unknown"
    assert any(layer.path.startswith("gen") and layer.reached for layer in found.layers)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"steps": -1}, ValueError, "steps= counts optimizer steps"),
        ({"steps": 2.5}, ValueError, "steps= counts optimizer steps"),
        ({"steps": 5, "data": []}, ValueError, "batches is empty"),
        ({"steps": 5, "data": 3}, TypeError, "an iterable of batches, got int"),
        ({"steps": 5, "train_step": lambda a, b, c, d: None}, ValueError, r"must take \(model, batch, optimizer\)"),
        ({"steps": 5, "loss": None, "train_step": lambda: None}, fadeout.FadeoutError, "never called backward"),
        ({"steps": 5, "train_step": "now"}, TypeError, "train_step= must be callable"),
        ({"steps": 5, "train_step": lambda m, b, o: 1 / 0}, fadeout.ModelError, "training step 1 failed: ZeroDivision"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(options, error, words):
    with pytest.raises(error, match=words):
        exam(stack(nn.ReLU, 1), **options)


def test_steps_without_an_optimizer_are_refused():
    with pytest.raises(ValueError, match="needs optimizer="):
        fadeout.examine(stack(nn.ReLU, 1), batches(), loss=F.cross_entropy, steps=5)


def test_steps_that_change_nothing_and_rates_of_nothing_are_noted():
    model = stack(nn.ReLU, 2)
    idle = exam(model, train_step=lambda m, b, o: F.cross_entropy(m(b[0]), b[1]).backward(), steps=12)
    assert (idle.verdict, idle.progress) == ("flows", "does_not_learn")
    assert "FO303" in [f.code for f in idle.findings]
    slow = exam(model, adam(model, 1e-10), steps=12)
    assert "FO301" in [f.code for f in slow.findings] and slow.verdict == "flows"


HEALTHY = {
    "zero head": lambda m: nn.init.zeros_(m[-1].weight),
    "default": lambda m: None,
    "frozen front": lambda m: m[0].requires_grad_(False),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_networks_are_met_with_silence(name):
    model = stack(nn.ReLU, 4)
    HEALTHY[name](model)
    found = exam(model, steps=80)
    assert (found.verdict, found.progress) == ("flows", "learns")
    assert not [f for f in found.findings if f.level != "note"]
