"""Training loops as people write them: each makes a model, an optimizer, a step, and whatever else it reaches."""

import copy
import dataclasses
import functools
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Loop:
    """One set-up.

    Attributes:
        batches: What the loop is fed.
        reaches: Everything beyond model and optimizer that the step can touch.
        refused: The step must be refused, for it reaches the originals.
    """

    model: nn.Module
    optimizer: Any
    step: Callable[..., Any]
    reaches: tuple[Any, ...] = ()
    refused: bool = False
    batches: list[Any] = field(default_factory=lambda: data())


def data() -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(5)
    return [(torch.randn(12, 8, generator=draw), torch.arange(12) % 3) for _ in range(4)]


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), 1e-3)


def basic(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    return loss.detach()


class Lookahead(torch.optim.Optimizer):
    """Holds another optimizer, and slow weights of its own."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self.base, self.count = base, 0
        super().__init__([p for g in base.param_groups for p in g["params"]], {})
        self.param_groups = base.param_groups
        self.slow = [p.detach().clone() for g in base.param_groups for p in g["params"]]

    def step(self, closure: Any = None) -> None:
        self.base.step()
        self.count += 1
        if self.count % 2 == 0:
            with torch.no_grad():
                for slow, p in zip(self.slow, (p for g in self.param_groups for p in g["params"]), strict=True):
                    slow.add_(0.5 * (p - slow))
                    p.copy_(slow)


class SAM(torch.optim.Optimizer):
    """Climbs before it steps; needs a closure."""

    def __init__(self, parameters: Any, rho: float = 0.05) -> None:
        super().__init__(parameters, {"rho": rho})
        self.base = torch.optim.SGD(self.param_groups, lr=0.01)
        self.param_groups = self.base.param_groups

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        assert closure is not None
        parameters = [p for g in self.param_groups for p in g["params"]]
        length = torch.stack([p.grad.norm() for p in parameters]).norm() + 1e-12
        for p in parameters:
            self.state[p]["climb"] = p.grad * (0.05 / length)
            p.add_(self.state[p]["climb"])
        torch.enable_grad()(closure)()
        for p in parameters:
            p.sub_(self.state[p]["climb"])
        self.base.step()


class Momentum(torch.optim.Optimizer):
    """Keeps its moments in a dict of its own."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.01})
        self.moments: dict[Any, Tensor] = {}

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for p in (p for g in self.param_groups for p in g["params"] if p.grad is not None):
            p.sub_(0.01 * self.moments.setdefault(p, torch.zeros_like(p)).mul_(0.9).add_(p.grad))


class Duck:
    """No optimizer by its class; it has the methods of one."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer, self.count = optimizer, 0

    def zero_grad(self) -> None:
        self._optimizer.zero_grad()

    def step(self) -> None:
        self.count += 1
        self._optimizer.param_groups[0]["lr"] = 1e-3 / self.count
        self._optimizer.step()


class Average:
    """An exponential moving average of the weights."""

    def __init__(self, model: nn.Module) -> None:
        self.shadow = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module) -> None:
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].mul_(0.9).add_(value.detach(), alpha=0.1)


@dataclasses.dataclass
class Trainer:
    model: nn.Module
    optimizer: Any
    scheduler: Any
    history: list[float] = dataclasses.field(default_factory=list)

    def __call__(self, batch: Any) -> Tensor:
        loss = basic(self.model, batch, self.optimizer)
        self.scheduler.step()
        self.history.append(float(loss))
        return loss

    def once(self, batch: Any) -> Tensor:
        return self(batch)


class Shy:
    """Hands itself out as its own copy."""

    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        self.model, self.optimizer = model, optimizer

    def __deepcopy__(self, memo: Any) -> "Shy":
        return self


LOOPS: dict[str, Callable[[], Loop]] = {}


def loop(make: Callable[[], Loop]) -> Callable[[], Loop]:
    LOOPS[make.__name__.replace("_", " ")] = make
    return make


def _closure_step(model: nn.Module, batch: Any, optimizer: Any) -> Any:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        return loss

    loss = closure()
    optimizer.step(closure)
    return loss.detach()


@loop
def plain() -> Loop:
    model = net()
    return Loop(model, adam(model), basic)


@loop
def lbfgs() -> Loop:
    model = net()
    return Loop(model, torch.optim.LBFGS(model.parameters(), max_iter=2), _closure_step)


@loop
def sam() -> Loop:
    model = net()
    return Loop(model, SAM(model.parameters()), _closure_step)


@loop
def lookahead() -> Loop:
    model = net()
    return Loop(model, Lookahead(adam(model)), basic)


@loop
def moments_in_a_dict() -> Loop:
    model = net()
    return Loop(model, Momentum(model.parameters()), basic)


@loop
def duck_typed_optimizer() -> Loop:
    model = net()
    return Loop(model, Duck(adam(model)), basic)


@loop
def a_callable_trainer() -> Loop:
    model = net()
    optimizer = adam(model)
    trainer = Trainer(model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2))
    return Loop(model, optimizer, trainer, (trainer,))


@loop
def a_method_of_a_trainer() -> Loop:
    model = net()
    optimizer = adam(model)
    trainer = Trainer(model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10))
    return Loop(model, optimizer, trainer.once, (trainer,))


@loop
def a_closure_over_everything() -> Loop:
    model = net()
    optimizer, average, history, settings, count = adam(model), Average(model), [], {"n": 0}, 0
    numbers = itertools.cycle([1, 2, 3])
    teacher = copy.deepcopy(model).requires_grad_(False)
    draw, python, arrays = torch.Generator().manual_seed(3), random.Random(4), np.random.default_rng(5)

    def inner(x: Tensor) -> Tensor:
        return model(x) + 0 * teacher(x)

    def step(batch: Any) -> Tensor:
        nonlocal count
        count += 1
        settings["n"] += 1
        history.append(count)
        next(numbers)
        noise = torch.randn(batch[0].shape, generator=draw) * python.random() + float(arrays.normal())
        optimizer.zero_grad()
        loss = F.cross_entropy(inner(batch[0] + 0.01 * noise), batch[1])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(model)
        return loss.detach()

    return Loop(model, optimizer, step, (step, average, history, settings, teacher, draw, python, arrays))


@loop
def a_wrapped_function() -> Loop:
    model, log = net(), []
    optimizer = adam(model)

    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            log.append(1)
            return function(*args, **kwargs)

        return call

    @logged
    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        return basic(model, batch, optimizer)

    return Loop(model, optimizer, step, (step, log))


@loop
def models_in_containers() -> Loop:
    things: dict[str, Any] = {"model": net()}
    things["optimizers"] = [adam(things["model"])]
    return Loop(
        things["model"],
        things["optimizers"][0],
        lambda batch: basic(things["model"], batch, things["optimizers"][0]),
        (things,),
    )


@loop
def a_partial() -> Loop:
    model = net()
    optimizer = adam(model)
    return Loop(model, optimizer, functools.partial(lambda m, o, batch: basic(m, batch, o), model, optimizer))


@loop
def a_step_that_edits_its_batch() -> Loop:
    model = net()

    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        batch[0].mul_(2)
        batch[1].zero_()
        return basic(model, batch, optimizer)

    return Loop(model, adam(model), step)


@loop
def data_of_its_own() -> Loop:
    model, x, y = net(), torch.randn(40, 8), torch.arange(40) % 3

    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        rows = torch.randint(0, 40, (12,))
        return basic(model, (x[rows], y[rows]), optimizer)

    return Loop(model, adam(model), step, (x, y))


@loop
def data_of_its_own_that_it_writes() -> Loop:
    model, x = net(), torch.randn(40, 8)

    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        x.add_(0.01)
        return basic(model, (x[:12], batch[1]), optimizer)

    return Loop(model, adam(model), step, (x,))


@loop
def hooks_of_optimizer_and_parameter() -> Loop:
    model, seen = net(), []
    optimizer = adam(model)
    optimizer.register_step_post_hook(lambda *_: seen.append(1))
    model[0].weight.register_hook(lambda g: g.clamp(-1e-3, 1e-3))
    return Loop(model, optimizer, basic, (seen,))


@loop
def two_optimizers() -> Loop:
    made = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8))
    judge = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    first, second = adam(made), adam(judge)

    def step(batch: Any) -> Tensor:
        fake = made(torch.randn(12, 4))
        second.zero_grad()
        (F.softplus(judge(fake.detach())).mean() + F.softplus(-judge(batch[0])).mean()).backward()
        second.step()
        first.zero_grad()
        loss = F.softplus(-judge(fake)).mean()
        loss.backward()
        first.step()
        return loss.detach()

    return Loop(nn.ModuleDict({"made": made, "judge": judge}), [first, second], step)


@loop
def a_scaler_and_a_schedule() -> Loop:
    model = net()
    optimizer, scaler = adam(model), torch.amp.GradScaler("cpu")
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=1000)

    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(batch[0]), batch[1])
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        return loss.detach()

    return Loop(model, optimizer, step, (scaler, schedule))


_model = net()
_optimizer = adam(_model)
_history: list[int] = []


def _global_step(batch: Any) -> Tensor:
    _history.append(1)
    return basic(_model, batch, _optimizer)


@loop
def everything_global() -> Loop:
    return Loop(_model, _optimizer, _global_step, (_history,))


def _halved(model: nn.Module, batch: Any, optimizer: Any, depth: int) -> Tensor:
    """Calls itself, by way of another that calls it."""
    return basic(model, batch, optimizer) if not depth else _other(model, batch, optimizer, depth)


def _other(model: nn.Module, batch: Any, optimizer: Any, depth: int) -> Tensor:
    return _halved(model, batch, optimizer, depth - 1)


@loop
def functions_that_call_one_another() -> Loop:
    model = net()
    return Loop(model, adam(model), lambda model, batch, optimizer: _halved(model, batch, optimizer, 2))


@loop
def a_step_that_reaches_the_original() -> Loop:
    model = net()
    shy = Shy(model, adam(model))
    return Loop(model, shy.optimizer, lambda batch: basic(shy.model, batch, shy.optimizer), (shy,), refused=True)


@loop
def one_that_reaches_it_in_its_fifth_call() -> Loop:
    model, count = net(), [0]
    shy = Shy(model, adam(model))

    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        count[0] += 1
        return basic(shy.model, batch, shy.optimizer) if count[0] > 4 else basic(model, batch, optimizer)

    return Loop(model, shy.optimizer, step, (shy, count), refused=True)


@loop
def an_iterator_that_cannot_be_copied() -> Loop:
    model = net()
    rows = (batch for batch in data() * 20)
    return Loop(model, adam(model), lambda model, batch, optimizer: basic(model, next(rows), optimizer), refused=True)


@loop
def a_step_that_raises() -> Loop:
    model = net()
    count = [0]

    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        count[0] += 1
        loss = basic(model, batch, optimizer)
        if count[0] > 3:
            raise KeyError("user's own")
        return loss

    return Loop(model, adam(model), step, (count,), refused=True)


def loops() -> Iterator[tuple[str, Callable[[], Loop]]]:
    yield from LOOPS.items()
