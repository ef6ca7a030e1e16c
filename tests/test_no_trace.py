"""Whatever a user's loop holds and does, an exam leaves all of it as it was."""

import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

import fadeout
from fadeout.call import guard, isolate
from fadeout.call.train_step import bound
from fadeout.course import sound
from fadeout.probe.instruments import updates
from fingerprints import difference, fingerprint, untouched
from training_loops import LOOPS, Lookahead, Loop, adam, data, net


def started(name: str) -> Loop:
    """A loop in mid-training, so that there are moments and counts to lose."""
    torch.manual_seed(0)
    loop = LOOPS[name]()
    if not loop.refused:
        step = bound(loop.step, verb="test")
        for batch in data()[:2]:
            step(loop.model, tuple(t.clone() for t in batch), loop.optimizer)
    return loop


SIZES = ((guard, "SMALL"), (guard, "ALL_SMALL"), (isolate, "LARGE"), (sound, "LARGEST"), (updates, "LARGE"))


@pytest.fixture(params=["small", "large"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Large: every limit from which something is shared, watched or left out instead of copied is far below the net."""
    if request.param == "large":
        for module, name in SIZES:
            monkeypatch.setattr(module, name, 4)
    return str(request.param)


@pytest.mark.parametrize("name", LOOPS)
def test_an_exam_of_a_loop_leaves_no_trace(name: str, size: str) -> None:
    loop = started(name)
    outcome: list[Any] = []

    def act() -> None:
        try:
            outcome.append(
                fadeout.examine(loop.model, loop.batches, optimizer=loop.optimizer, train_step=loop.step, steps=6)
            )
        except Exception as error:
            outcome.append(error)

    changed = untouched(act, loop.model, loop.optimizer, loop.reaches, loop.batches)
    assert changed == ""
    (found,) = outcome
    if loop.refused:
        assert isinstance(found, (fadeout.FadeoutError, ValueError, TypeError))
    elif size == "large" and isinstance(found, fadeout.FadeoutError):
        assert "too large to copy" in str(found)
    else:
        assert isinstance(found, fadeout.Exam) and found.course.steps == 6
        assert len(set(found.course.losses)) > 1  # and it did train


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, 1e-2, amsgrad=True),
    "fused": lambda p: torch.optim.AdamW(p, 1e-2, fused=True),
    "one by one": lambda p: torch.optim.Adam(p, 1e-2, foreach=False),
    "adagrad": lambda p: torch.optim.Adagrad(p, 1e-2),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-2, momentum=0.5),
    "rprop": lambda p: torch.optim.Rprop(p, 1e-2),
    "lbfgs": lambda p: torch.optim.LBFGS(p, 1e-2, max_iter=2),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_an_exam_of_steps_leaves_no_trace_in_an_optimizer(kind: str, size: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12), nn.Dropout(0.1), nn.ReLU(), nn.Linear(12, 3))
    x, y = torch.randn(16, 8), torch.randint(0, 3, (16,))
    optimizer = OPTIMIZERS[kind](model.parameters())

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)

    def act() -> None:
        fadeout.examine(model, [(x, y)], loss=F.cross_entropy, optimizer=optimizer, steps=6)

    assert untouched(act, model, optimizer, x, y) == ""


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("name", [name for name in LOOPS if not LOOPS[name]().refused])
def test_nor_does_an_exam_of_one_step_with_its_optimizer(name: str) -> None:
    loop = started(name)
    if isinstance(loop.optimizer, list) or isinstance(loop.model, nn.ModuleDict):
        pytest.skip("one step takes one optimizer")

    def act() -> None:
        fadeout.examine(loop.model, loop.batches[0], loss=F.cross_entropy, optimizer=loop.optimizer)

    assert untouched(act, loop.model, loop.optimizer, loop.reaches, loop.batches) == ""


def test_the_next_update_of_an_optimizer_that_holds_another_is_still_measured() -> None:
    torch.manual_seed(0)
    model = net()
    exam = fadeout.examine(model, data()[0], loss=F.cross_entropy, optimizer=Lookahead(adam(model)))
    assert all(layer.update_ratio > 0 for layer in exam.layers)


# ---- call forms and outcomes


class Answers(nn.Module):
    """A model that carries its own loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        found = self.net(x)
        return found if labels is None else {"loss": F.cross_entropy(found, labels), "logits": found}


def deep() -> nn.Module:
    """One that is an alarm: the counterfactuals run too."""
    return nn.Sequential(*(m for _ in range(9) for m in (nn.Linear(8, 8), nn.Sigmoid())), nn.Linear(8, 3))


def broken() -> nn.Module:
    found = net()
    nn.init.constant_(found[0].weight, float("inf"))
    return found


class Raises(nn.Module):
    def __init__(self, where: str) -> None:
        super().__init__()
        self.net, self.where = net(), where

    def forward(self, x: Tensor) -> Tensor:
        found = self.net(x)
        if self.where == "forward":
            raise RuntimeError("on purpose")
        if found.requires_grad:
            found.register_hook(lambda g: 1 / 0)
        return found


X, Y = data()[0]
CALLS: dict[str, Callable[[nn.Module], dict[str, Any]]] = {
    "pair": lambda m: {"batch": (X, Y), "loss": F.cross_entropy},
    "list": lambda m: {"batch": [X, Y], "loss": F.cross_entropy},
    "x alone": lambda m: {"batch": X},
    "closure": lambda m: {"step": lambda model: F.cross_entropy(model(X), Y)},
    "own loss": lambda m: {"batch": X, "loss": lambda output: output.square().mean()},
    "reach": lambda m: {"batch": (X, Y), "loss": F.cross_entropy, "reach": 2},
    "autocast": lambda m: {"batch": (X, Y), "loss": F.cross_entropy, "autocast": torch.bfloat16},
    "optimizer": lambda m: {"batch": (X, Y), "loss": F.cross_entropy, "optimizer": adam(m)},
    "wrong loss": lambda m: {"batch": (X, Y), "loss": lambda o, y: o},
    "wrong batch": lambda m: {"batch": (X[:, :3], Y), "loss": F.cross_entropy},
    "nothing": lambda m: {},
}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "healthy": net,
    "alarm": deep,
    "not finite": broken,
    "raises in forward": lambda: Raises("forward"),
    "raises in backward": lambda: Raises("backward"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", MODELS)
def test_every_form_of_call_and_every_outcome_leaves_no_trace(kind: str, call: str) -> None:
    torch.manual_seed(0)
    model = MODELS[kind]()
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    options = CALLS[call](model)
    batch = options.pop("batch", None)
    args = () if batch is None else (batch,)
    for training in (True, False):
        model.train(training)
        assert untouched(lambda: fadeout.examine(model, *args, **options), model, options, args) == ""
    known = {name: value for name, value in options.items() if name not in ("optimizer", "reach")}
    assert untouched(lambda: fadeout.measure(model, *args, **known), model, args) == ""


def test_a_batch_of_keywords_is_left_alone() -> None:
    torch.manual_seed(0)
    model = Answers()
    batch = {"x": X, "labels": Y}
    assert untouched(lambda: fadeout.examine(model, batch), model, batch) == ""
    assert untouched(lambda: fadeout.examine(model, [batch], optimizer=adam(model), steps=3), model, batch) == ""


# ---- writes that are hard to see


class Writes(nn.Module):
    """A forward that writes in one way."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.a, self.b = way, nn.Linear(8, 8), nn.Linear(8, 3)
        self.gain = nn.Parameter(torch.ones(8))
        self.mean, self.var = nn.Parameter(torch.zeros(8), False), nn.Parameter(torch.ones(8), False)
        self.register_buffer("sparse", torch.eye(4).to_sparse())
        self.pair = ([1, 2], {"k": [3]})
        self.python, self.numpy, self.torch = random.Random(0), np.random.default_rng(0), torch.Generator()

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.way)(x)

    def own(self, h: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(h)) * self.gain)

    def data_dependent_initialisation(self, x: Tensor) -> Tensor:
        nn.init.orthogonal_(self.a.weight)
        nn.init.constant_(self.gain, float(x.std()))
        return self.own(x)

    def activation_in_place_on_a_parameter(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            F.relu(self.gain, inplace=True)
            F.elu_(self.a.bias)
        return self.own(x)

    def statistics_held_as_parameters(self, x: Tensor) -> Tensor:
        return self.own(F.batch_norm(x, self.mean, self.var, training=True))

    def raw_operator(self, x: Tensor) -> Tensor:
        torch.ops.aten.mul_.Scalar(self.gain.detach(), 0.5)
        return self.own(x)

    def numpy_view(self, x: Tensor) -> Tensor:
        self.a.weight.detach().numpy()[:] *= 0.5
        return self.own(x)

    def through_data(self, x: Tensor) -> Tensor:
        self.a.weight.data.mul_(0.5)
        self.b.weight.data = self.b.weight.data * 2
        return self.own(x)

    def sparse_buffer(self, x: Tensor) -> Tensor:
        self.sparse = (self.sparse * 2).coalesce()
        return self.own(x)

    def lists_in_tuples(self, x: Tensor) -> Tensor:
        self.pair[0].append(4)
        self.pair[1]["k"].append(5)
        return self.own(x)

    def generators(self, x: Tensor) -> Tensor:
        noise = self.python.random() + float(self.numpy.normal()) + float(torch.rand((), generator=self.torch))
        return self.own(x) * (1 + 0.01 * noise)

    def attributes_and_hooks_of_parameters(self, x: Tensor) -> Tensor:
        self.a.weight.seen = True
        self.a.weight.register_hook(lambda g: g)
        self.gain.register_post_accumulate_grad_hook(lambda p: None)
        return self.own(x)

    def first_operation_in_place(self, x: Tensor) -> Tensor:
        return self.own(x.add_(1))

    def relu_in_place_under_no_grad(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = torch.relu_(x)
        return self.own(x)

    def gradients_and_flags(self, x: Tensor) -> Tensor:
        self.gain.grad = torch.ones(8)
        self.b.bias.requires_grad_(False)
        self.train(not self.training)
        return self.own(x)

    def new_parameters(self, x: Tensor) -> Tensor:
        self.extra = nn.Parameter(torch.ones(8))
        self.late = nn.Linear(8, 8)
        return self.own(self.late(x) * self.extra)


WAYS = [name for name in vars(Writes) if not name.startswith("_") and name not in ("forward", "own")]


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("way", WAYS)
def test_a_forward_that_writes_finds_everything_as_it_was(way: str, steps: int) -> None:
    torch.manual_seed(0)
    model, batch = Writes(way), (X.clone(), Y.clone())
    outcome: list[Any] = []

    def act() -> None:
        options: dict[str, Any] = {"optimizer": adam(model), "steps": steps} if steps else {}
        outcome.append(fadeout.examine(model, [batch] if steps else batch, loss=F.cross_entropy, **options))

    assert untouched(act, model, batch) == ""
    assert outcome  # it was no error


def test_a_write_into_a_large_parameter_that_cannot_be_seen_in_time_is_said() -> None:
    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 1 << 16), nn.Linear(1 << 16, 3)

        def forward(self, x: Tensor) -> Tensor:
            torch.ops.aten.mul_.Scalar(self.a.weight.detach(), 0.999)
            return self.b(torch.tanh(self.a(x)))

    exam = fadeout.examine(Large(), (X, Y), loss=F.cross_entropy)
    assert any("a.weight" in note and "not put back" in note for note in exam.environment.notes)


def test_torch_s_own_tables_of_hooks_do_not_grow() -> None:
    held = [value for name, value in vars(torch_module).items() if name.startswith("_global_")]
    tables = [table for table in held if hasattr(table, "__len__")]
    before = [len(table) for table in tables]
    for _ in range(3):
        fadeout.examine(net(), (X, Y), loss=F.cross_entropy)
        model = deep()
        fadeout.examine(model, [(X, Y)], loss=F.cross_entropy, optimizer=adam(model), steps=2)
    assert [len(table) for table in tables] == before


def test_the_fingerprint_sees_what_it_should() -> None:
    model = net()
    before = fingerprint(model)
    with torch.no_grad():
        model[0].weight[0, 0] += 1e-6
    assert "weight" in difference(before, fingerprint(model))


def test_nothing_that_is_shown_draws_from_pythons_generator():
    """rich draws while it is imported: in a process of its own, so that nothing is imported yet."""
    code = """
import random, tempfile, torch
from pathlib import Path
random.seed(0)
before = random.getstate()
import fadeout
net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
exam = fadeout.examine(net, torch.randn(8, 4), loss=lambda o: o.square().mean())
str(exam), exam._repr_html_()
fadeout.report(exam, Path(tempfile.mkdtemp()) / "page.html")
with fadeout.watch(net, torch.optim.SGD(net.parameters(), lr=0.1), store=Path(tempfile.mkdtemp()) / "run.db"):
    pass
assert random.getstate() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)
