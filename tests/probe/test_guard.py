"""No trace: whatever a measurement touches is put back, also when the model raises in the middle."""

import copy
import pickle
import random

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
