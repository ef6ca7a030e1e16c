"""No trace: whatever a measurement touches is put back, also when the model raises in the middle."""

import copy
import pickle
import random
from collections import deque

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout

X, Y = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3


class Troublesome(nn.Module):
    """Everything a forward may do to itself."""

    def __init__(self, *, fail=""):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("bound", torch.zeros(2))
        self.cache, self.calls, self.history = {}, 0, []
        self.plain = torch.zeros(3)
        self.fail = fail

    def forward(self, x):
        self.calls += 1
        self.count += 1
        self.bound = self.bound + 1  # re-bound, not written into
        self.cache["x"] = x
        self.history.append(self.calls)
        self.plain.add_(1)
        self.extra = "new attribute"
        with torch.no_grad():
            self.a.weight.clamp_(-0.01, 0.01)
            self.b.weight.mul_(0.5)
        random.random()
        np.random.rand()
        h = F.dropout(self.norm(self.a(x)), 0.3)
        if self.fail == "forward":
            raise RuntimeError("on purpose")
        if self.fail == "backward":
            h = Fails.apply(h)
        return self.b(h)


class Fails(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        raise RuntimeError("on purpose")


def state_of(model):
    """Values, identities, modes, hooks and attributes of a model, and the random states."""
    return {
        "values": {k: v.clone() for k, v in model.state_dict().items()},
        "objects": {k: id(v) for k, v in model.state_dict(keep_vars=True).items()},
        "grads": {k: id(p.grad) if p.grad is not None else None for k, p in model.named_parameters()},
        "requires": {k: p.requires_grad for k, p in model.named_parameters()},
        "modes": {k: m.training for k, m in model.named_modules()},
        "hooks": {k: (len(m._forward_hooks), len(m._forward_pre_hooks)) for k, m in model.named_modules()},
        "attributes": {k: sorted(m.__dict__) for k, m in model.named_modules()},
        "own": (model.calls, list(model.history), dict(model.cache), model.plain.clone()),
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()),
    }


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        for left, right in zip(a, b, strict=True):
            assert_same(left, right)
    elif isinstance(a, (torch.Tensor, np.ndarray)):
        assert (a == b).all()
    else:
        assert a == b


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("fail", ["", "forward", "backward"])
@pytest.mark.parametrize("verb", [fadeout.measure, fadeout.examine])
def test_the_model_is_left_exactly_as_it_was(verb, fail, train):
    model = Troublesome(fail=fail).train(train)
    model.b.bias.grad = torch.ones(3)
    model.norm.bias.requires_grad_(False)
    before = state_of(model)
    if fail:
        with pytest.raises(fadeout.ModelError, match="on purpose"):
            verb(model, (X, Y), loss=F.cross_entropy)
    else:
        verb(model, (X, Y), loss=F.cross_entropy)
    assert_same(before, state_of(model))
    pickle.dumps(model)


def test_the_batch_is_left_as_it_was():
    x = X.clone()
    fadeout.examine(Troublesome(), (x, Y), loss=F.cross_entropy)
    assert not x.requires_grad
    assert x.grad is None
    assert torch.equal(x, X)


def test_the_optimizer_is_left_as_it_was():
    model = Troublesome()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    F.cross_entropy(model(X), Y).backward()
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    fadeout.examine(model, (X, Y), loss=F.cross_entropy, optimizer=optimizer)
    assert_same(before, optimizer.state_dict())


def test_a_module_outside_the_model_is_put_back_too():
    generator, critic = nn.Linear(4, 6), Troublesome()
    z = torch.randn(8, 4)
    before = state_of(critic)
    fadeout.examine(generator, step=lambda g: F.cross_entropy(critic(g(z)), Y))
    assert_same(before, state_of(critic))


def test_a_generator_that_the_model_holds_is_rewound():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.draw = nn.Linear(6, 3), torch.Generator().manual_seed(1)

        def forward(self, x):
            return self.a(x + torch.randn(x.shape, generator=self.draw))

    model = Noisy()
    before = model.draw.get_state()
    first = fadeout.measure(model, (X, Y), loss=F.cross_entropy).log_gain
    assert torch.equal(before, model.draw.get_state())
    assert fadeout.measure(model, (X, Y), loss=F.cross_entropy).log_gain == first


def test_an_ordinary_training_step_gives_the_same_gradients_after_an_exam():
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 3))
    torch.manual_seed(3)
    F.cross_entropy(model(X), Y).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    torch.manual_seed(3)
    fadeout.examine(model, (X, Y), loss=F.cross_entropy)
    F.cross_entropy(model(X), Y).backward()
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), expected, strict=True))


def test_gradients_that_are_there_keep_their_values_under_a_step_that_touches_them():
    model = nn.Linear(6, 3)
    model.weight.grad = torch.full((3, 6), 2.0)
    kept = model.weight.grad

    def step(m):
        m.zero_grad(set_to_none=False)
        F.cross_entropy(m(X), Y).backward()
        nn.utils.clip_grad_norm_(m.parameters(), 1e-3)
        return F.cross_entropy(m(X), Y)

    fadeout.examine(model, step=step)
    assert model.weight.grad is kept
    assert torch.equal(kept, torch.full((3, 6), 2.0))


def test_writes_through_lists_of_tensors_into_the_batch_and_into_nested_containers_are_undone():
    class Teacher(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.t = nn.Linear(6, 3), nn.Linear(6, 3).requires_grad_(False)
            self.log = {"loss": []}
            self.state = [[torch.zeros(2)]]
            self.queue = deque(maxlen=3)

        def forward(self, x):
            torch._foreach_lerp_(list(self.t.parameters()), [p.detach() for p in self.a.parameters()], 0.5)
            self.log["loss"].append(1)
            self.state[0][0].add_(1)
            self.queue.append(1)
            with torch.no_grad():
                x.mul_(3)
            return self.a(x) + self.t(x)

    model, x = Teacher(), X.clone()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fadeout.examine(model, (x, Y), loss=F.cross_entropy)
    assert torch.equal(x, X)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert (model.log, list(model.queue)) == ({"loss": []}, [])
    assert torch.equal(model.state[0][0], torch.zeros(2))


def test_an_optimizer_inside_backward_and_global_hooks_stay_out_of_it():
    from torch.optim.optimizer import register_optimizer_step_post_hook
    from torch.utils.checkpoint import checkpoint

    class Saves(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.b(checkpoint(torch.tanh, self.a(x), use_reentrant=True))

    model = Saves()
    before = {k: v.clone() for k, v in model.state_dict().items()}

    def train(p):
        p.data.sub_(0.1 * p.grad)

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(train)
    fired = []
    handle = register_optimizer_step_post_hook(lambda *a: fired.append(1))
    try:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        fadeout.examine(model, (X, Y), loss=F.cross_entropy, optimizer=optimizer)
    finally:
        handle.remove()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not fired
    assert all(len(p._post_accumulate_grad_hooks) == 1 for p in model.parameters())
