"""What people's code does to torch, and what it raises: none of it ends an exam in a fault of ours."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap

import fadeout

X, Y = torch.randn(8, 16, generator=torch.Generator().manual_seed(2)), torch.arange(8) % 4


def mlp(act: type[nn.Module] = nn.ReLU) -> nn.Module:
    return nn.Sequential(nn.Linear(16, 16), act(), nn.Linear(16, 16), act(), nn.Linear(16, 4))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.inside, self.rnn, self.out = nn.Linear(16, 12), kind(12, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(self.inside(x))[0][:, -1])


class Adversaries(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.maker, self.judge = mlp(), nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def frozen_in_the_step(model: Any) -> Tensor:
    for p in model.judge.parameters():
        p.requires_grad_(False)
    return F.softplus(-model.judge(model.maker(X))).mean()


def frozen_for_the_pass(model: Any) -> Tensor:
    model.judge.requires_grad_(False)
    loss = F.softplus(-model.judge(model.maker(X))).mean()
    model.judge.requires_grad_(True)
    return loss


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside, self.out = nn.Linear(16, 16), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.fft.rfft(self.inside(x)) * 1j
        return self.out((z * (2 - 1j)).abs())


class Mapped(nn.Module):
    """vmap over a module with several layers, and with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.w = mlp(), nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.vmap(lambda row: self.inner(row) @ self.w)(x)


class Hooked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp()

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(x)
        torch.autograd.graph.register_multi_grad_hook([h], lambda g: None)
        return h


def batched_jacobian(model: nn.Module) -> Tensor:
    x = X.clone().requires_grad_()
    seeds = torch.eye(4).unsqueeze(1).expand(4, len(X), 4)
    (found,) = torch.autograd.grad(model(x), x, seeds, create_graph=True, is_grads_batched=True)
    return found.square().mean()


def per_sample(model: nn.Module) -> Tensor:
    parameters = dict(model.named_parameters())
    return vmap(lambda x, y: F.cross_entropy(functional_call(model, parameters, (x[None],)), y[None]))(X, Y).mean()


def jacobian_penalty(model: nn.Module) -> Tensor:
    return vmap(jacrev(model))(X).square().mean()


def functional_gradient(model: nn.Module) -> Tensor:
    parameters = dict(model.named_parameters())
    return grad(lambda z: functional_call(model, parameters, (z,)).square().sum())(X).square().mean()


WAYS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    **{
        f"{kind.__name__} under autocast": (
            lambda kind=kind: Recurrent(kind),
            {"batch": (torch.randn(8, 10, 16), Y), "loss": F.cross_entropy, "autocast": torch.bfloat16},
        )
        for kind in (nn.LSTM, nn.GRU, nn.RNN)
    },
    "a critic frozen in the step": (Adversaries, {"step": frozen_in_the_step}),
    "a critic frozen for the pass": (Adversaries, {"step": frozen_for_the_pass}),
    "complex constants": (Complex, {"batch": (X, Y), "loss": F.cross_entropy}),
    "vmap inside": (Mapped, {"batch": (X, Y), "loss": F.cross_entropy}),
    "vmap inside, a part": (Mapped, {"batch": (X, Y), "loss": F.cross_entropy, "within": "inner"}),
    "vmap around": (mlp, {"step": lambda m: F.cross_entropy(torch.vmap(m)(X), Y)}),
    "hooks over several tensors": (Hooked, {"batch": (X, Y), "loss": F.cross_entropy}),
    "batched gradients": (lambda: mlp(nn.Tanh), {"step": batched_jacobian}),
    "gradients of each sample": (mlp, {"step": per_sample}),
    "a penalty on the Jacobian": (lambda: mlp(nn.Tanh), {"step": jacobian_penalty}),
    "a gradient by torch.func": (mlp, {"step": functional_gradient}),
}


@pytest.mark.parametrize("name", WAYS)
def test_an_exam_survives(name: str) -> None:
    torch.manual_seed(0)
    make, options = WAYS[name]
    model = make()
    batch = {k: v for k, v in options.items() if k == "batch"}
    exam = fadeout.examine(model, *batch.values(), **{k: v for k, v in options.items() if k != "batch"})
    assert exam.verdict in ("flows", "undetermined", "bypassed", "vanishing")
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_modes_around_the_call_change_nothing(mode: type) -> None:
    torch.manual_seed(0)
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    plain = fadeout.examine(model, [(X, Y)], loss=F.cross_entropy, optimizer=optimizer, steps=4)
    with mode():
        inside = fadeout.examine(model, [(X, Y)], loss=F.cross_entropy, optimizer=optimizer, steps=4)
        assert fadeout.examine(model, (X, Y), loss=F.cross_entropy).verdict == "flows"
    assert inside.course.losses == plain.course.losses


# ---- probes that the model refuses


class Queue(nn.Module):
    """A memory bank that wants batches of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()
        self.register_buffer("queue", torch.zeros(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        if len(x) != len(self.queue):
            raise RuntimeError("the queue wants batches of 8")
        loss = out @ self.queue.T
        self.queue = out.detach()
        return out + loss.mean()


class Carried(nn.Module):
    """A recurrent state that is carried from batch to batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out, self.state = nn.LSTM(16, 8, batch_first=True), nn.Linear(8, 4), None

    def forward(self, x: Tensor) -> Tensor:
        found, state = self.rnn(x.unsqueeze(1), self.state)
        self.state = tuple(s.detach() for s in state)
        return self.out(found[:, -1])


@pytest.mark.parametrize("make", [Queue, Carried])
def test_a_model_that_refuses_larger_probes_is_probed_on_its_own_batches(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = make()
    batches = [(torch.randn(8, 16), Y) for _ in range(4)]
    exam = fadeout.examine(
        model, batches, loss=F.cross_entropy, optimizer=torch.optim.Adam(model.parameters(), 1e-3), steps=8
    )
    assert exam.course.probes[-1] == 8


# ---- whose fault it is


class Fails(nn.Module):
    def __init__(self, where: str) -> None:
        super().__init__()
        self.net, self.where, self.calls = mlp(), where, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        found = self.net(x)
        if self.where == "forward" or (self.where == "late" and self.training and found.mean() != found.mean()):
            raise KeyError("mine")
        if self.where == "exit":
            raise SystemExit(1)
        if self.where == "backward" and found.requires_grad:
            found.register_hook(lambda g: 1 / 0)
        return found


@pytest.mark.parametrize("where", ["forward", "backward", "exit"])
def test_an_error_of_the_model_is_told_with_its_line(where: str) -> None:
    with pytest.raises(fadeout.ModelError, match=r"(forward|backward).*\(test_user_code\.py:\d+\)$"):
        fadeout.examine(Fails(where), (X, Y), loss=F.cross_entropy)


@pytest.mark.parametrize(
    "trouble", [KeyError("mine"), ZeroDivisionError(), SystemExit(3), RuntimeError("x" * 2000), AssertionError()]
)
def test_an_error_of_the_training_step_is_told_with_step_and_line(trouble: BaseException) -> None:
    calls: list[int] = []

    def step(model: nn.Module, batch: Any, optimizer: Any) -> None:
        calls.append(1)
        optimizer.zero_grad()
        F.cross_entropy(model(batch[0]), batch[1]).backward()
        optimizer.step()
        if len(calls) > 3:
            raise trouble

    model = mlp()
    with pytest.raises(fadeout.ModelError, match=r"step \d.*\(test_user_code\.py:\d+\)$") as caught:
        fadeout.examine(model, [(X, Y)], optimizer=torch.optim.Adam(model.parameters()), train_step=step, steps=9)
    assert len(str(caught.value)) < 800
