"""Surgery for faults: an operation after a module, a module replaced, weights changed; and the case it makes."""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from benchmarks.truth.case import Case
from benchmarks.truth.program import Program, alter, build
from benchmarks.truth.programs.dqn import QNet
from torch import Tensor, nn

WEIGHTED = (nn.Linear, nn.Conv2d)
SMOOTH_OR_NOT = (nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.SELU, nn.LeakyReLU, nn.Softplus, nn.Mish)


class Twisted(nn.Module):
    """A module with one more operation on its output, as a line in a user's forward would add it."""

    def __init__(self, inner: nn.Module, op: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.op = op

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.op(self.inner(*inputs))


class Before(nn.Module):
    """A module with one more operation on its input."""

    def __init__(self, inner: nn.Module, op: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.op = op

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(self.op(x))
        return y


def put(model: nn.Module, path: str, module: nn.Module) -> None:
    """Set the module at a dotted path."""
    parent, _, name = path.rpartition(".")
    owner = model.get_submodule(parent)
    if name.isdigit() and isinstance(owner, nn.ModuleList | nn.Sequential):
        owner[int(name)] = module
    else:
        setattr(owner, name, module)


def twisted(program: Program, path: str, op: Callable[[Tensor], Tensor], **others: Any) -> Program:
    """The program with `op` on the output of the module at `path`."""

    def change(model: nn.Module) -> None:
        put(model, path, Twisted(model.get_submodule(path), op))
        if isinstance(model, QNet):  # the lagging copy is a copy of the same code
            model.lag = deepcopy(model.q).requires_grad_(False)

    return alter(program, change, **others)


def weighted(model: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Linear and convolution layers at or under a path, with their full paths."""
    for name, m in model.get_submodule(path).named_modules():
        if isinstance(m, WEIGHTED):
            yield ".".join(p for p in (path, name) if p), m


def hidden(model: nn.Module, program: Program) -> Iterator[nn.Module]:
    """Weight layers of every block, without input layer and head."""
    stem = program.places[0].rpartition(".")[0]
    yield from (m for _, m in weighted(model, stem))


def swap_acts(model: nn.Module, act: Callable[[], nn.Module]) -> None:
    """Every activation module of a common kind replaced."""
    for name, m in list(model.named_modules()):
        if isinstance(m, SMOOTH_OR_NOT):
            put(model, name, act())


@torch.no_grad()
def rescale(modules: Iterable[nn.Module], factor: float) -> None:
    """Weights times a factor."""
    for m in modules:
        m.weight *= factor  # type: ignore[operator]


def paths_under(*paths: str) -> tuple[str, ...]:
    """The given module paths and all below them, as patterns which `draw` spells out."""
    return tuple(f"{p}.*" for p in paths)


def fault_case(
    faulty: Program,
    twin: Program,
    fault: str,
    *,
    strength: int,
    labels: tuple[str, ...],
    place: int | None = None,
    where: tuple[str, ...] = (),
    causes: tuple[str, ...] = (),
    trap: bool = True,
) -> Case:
    """A case of the fault group; whether it stays there is for training to say."""
    suffix = f"@{place}" if place is not None else ""
    return Case(
        name=f"{fault}{strength}{suffix}:{twin.name}",
        program=twin.name,
        group="fault",
        fault=fault,
        strength=strength,
        place=place,
        labels=labels,
        where=where,
        causes=causes,
        steps=faulty.steps,
        build=partial(build, faulty),
        twin=partial(build, twin),
        skill=twin.skill,
        bar=twin.bar,
        trap=trap,
    )


def at_places(program: Program) -> Iterator[tuple[int, str]]:
    """The distinct places of a program with their index."""
    seen: set[str] = set()
    for i, path in enumerate(program.places):
        if path not in seen:
            seen.add(path)
            yield i, path


def change_weights(program: Program, change: Callable[[nn.Module], None], **others: Any) -> Program:
    """`alter` without gradients, for surgery on weights."""

    def quietly(model: nn.Module) -> None:
        with torch.no_grad():
            change(model)

    return alter(program, quietly, **others)


__all__ = [
    "Before", "Twisted", "alter", "at_places", "change_weights", "fault_case", "hidden", "paths_under", "put",
    "replace", "rescale", "swap_acts", "twisted", "weighted",
]  # fmt: skip
