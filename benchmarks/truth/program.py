"""A program: model, data, loss, optimizer and loop as separate makers, so that a fault changes just one of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from benchmarks.truth.case import Setup, Step
from benchmarks.truth.task import Skill
from torch import Tensor, nn
from torch.optim import Optimizer

OptimizerMaker = Callable[[Any], Optimizer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A training program that learns, as makers.

    Attributes:
        places: Five module paths, data side first: blocks of the way from input to loss.
        inputs: Path of the first weight layer, the one that meets the data; empty where there are several.
        chain: No skip leads around a block, so that what one block loses is lost.
        prepare: Runs on the finished setup: training before the exam, gradients left over.
    """

    name: str
    steps: int
    model: Callable[[], nn.Module]
    batches: Callable[[], list[Any]]
    loss: Callable[..., Tensor] | None
    optimizer: OptimizerMaker
    train_step: Step | None = None
    skill: Skill
    places: tuple[str, ...]
    inputs: str = ""
    chain: bool = True
    bar: float = 0.5
    seed: int = 0
    prepare: Callable[[Setup], None] | None = None


def build(program: Program) -> Setup:
    """The program ready to train, the same each time."""
    torch.manual_seed(program.seed)
    model = program.model()
    setup = Setup(
        model=model,
        batches=program.batches(),
        loss=program.loss,
        optimizer=program.optimizer(model.parameters()),
        train_step=program.train_step,
    )
    if program.prepare is not None:
        program.prepare(setup)
    return setup


def alter(program: Program, change: Callable[[nn.Module], nn.Module | None], **others: Any) -> Program:
    """The program with its fresh model changed, before the optimizer sees it."""
    make = program.model

    def changed() -> nn.Module:
        model = make()
        found = change(model)
        return model if found is None else found

    return replace(program, model=changed, **others)


def spread(count: int, stem: str = "blocks") -> tuple[str, ...]:
    """Five places spread over `count` numbered blocks."""
    return tuple(f"{stem}.{round(i * (count - 1) / 4)}" for i in range(5))


def adam(lr: float = 1e-3, **options: Any) -> OptimizerMaker:
    """A maker of Adam."""
    return lambda parameters: torch.optim.Adam(_trained(parameters), lr=lr, **options)


def adamw(lr: float = 1e-3, **options: Any) -> OptimizerMaker:
    """A maker of AdamW."""
    return lambda parameters: torch.optim.AdamW(_trained(parameters), lr=lr, **options)


def sgd(lr: float = 0.05, momentum: float = 0.9, **options: Any) -> OptimizerMaker:
    """A maker of SGD."""
    return lambda parameters: torch.optim.SGD(_trained(parameters), lr=lr, momentum=momentum, **options)


def rmsprop(lr: float = 1e-3) -> OptimizerMaker:
    """A maker of RMSprop."""
    return lambda parameters: torch.optim.RMSprop(_trained(parameters), lr=lr)


def _trained(parameters: Iterable[Any]) -> list[Any]:
    return [p for p in parameters if isinstance(p, dict) or p.requires_grad]


def advance(setup: Setup, steps: int) -> list[float]:
    """The user's loop: `steps` steps on the cycled batches; the losses."""
    losses = []
    for i in range(steps):
        batch = setup.batches[i % len(setup.batches)]
        if setup.train_step is not None:
            losses.append(setup.train_step(setup.model, batch, setup.optimizer).item())
            continue
        assert setup.optimizer is not None
        setup.optimizer.zero_grad()
        loss = read_loss(setup, batch)
        loss.backward()
        setup.optimizer.step()
        losses.append(loss.item())
    return losses


def read_loss(setup: Setup, batch: Any) -> Tensor:
    """The scalar of one batch in the two plain call forms."""
    if isinstance(batch, dict):
        output = setup.model(**batch)
        found: Tensor = output.loss if setup.loss is None else setup.loss(output)
        return found
    x, y = batch
    assert setup.loss is not None
    value: Tensor = setup.loss(setup.model(x), y)
    return value
