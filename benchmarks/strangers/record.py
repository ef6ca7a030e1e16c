"""A stranger: a case with what its author knows of it, and the short ways to write one down."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from benchmarks.truth.case import Case, Setup
from benchmarks.truth.data import Pairs
from benchmarks.truth.program import Program, adam, build
from benchmarks.truth.task import accuracy, explained
from torch import nn

Family = Literal["today", "classic"]
Cure = Callable[[Setup], Setup]
CUT = ("severed",)
SATURATES = ("saturated", "vanishing", "bad_init", "dead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What the author knows of a case beside its labels.

    Attributes:
        family: Whether the program is a network of today or a classic one.
        cure: One sentence that says what cures it; empty for a healthy program.
        cures: Gives the repaired program for a freshly built sick one; None for a healthy program.
    """

    family: Family
    cure: str = ""
    cures: Cure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """A case and its truth."""

    case: Case
    truth: Truth


def become(sound: Program, setup: Setup) -> Setup:
    """The sound program in the place of the sick one, from the same start: build() has just seeded the generator."""
    return build(replace(sound, seed=torch.initial_seed()))


def healthy(program: Program, family: Family) -> Stranger:
    """The program as it is, which learns."""
    case = Case(
        name=program.name,
        program=program.name,
        group="healthy",
        steps=program.steps,
        build=partial(build, program),
        skill=program.skill,
        bar=program.bar,
    )
    return Stranger(case=case, truth=Truth(family=family))


def sick(
    fault: str,
    sound: Program,
    family: Family,
    labels: tuple[str, ...],
    cure: str,
    *,
    where: tuple[str, ...] = (),
    causes: tuple[str, ...] = (),
    trap: bool = False,
    **changes: Any,
) -> Stranger:
    """The program with `changes` that spoil its gradient."""
    return _spoilt("fault", fault, sound, family, labels, cure, where, causes, trap, changes)


def elsewhere(fault: str, sound: Program, family: Family, cure: str, **changes: Any) -> Stranger:
    """The program with `changes` that keep it from learning although its gradient flows."""
    return _spoilt("elsewhere", fault, sound, family, ("flows",), cure, (), (), False, changes)


def _spoilt(
    group: Literal["fault", "elsewhere"],
    fault: str,
    sound: Program,
    family: Family,
    labels: tuple[str, ...],
    cure: str,
    where: tuple[str, ...],
    causes: tuple[str, ...],
    trap: bool,
    changes: dict[str, Any],
) -> Stranger:
    spoilt = replace(sound, **changes)
    case = Case(
        name=f"{fault}:{sound.name}",
        program=sound.name,
        group=group,
        fault=fault,
        labels=labels,
        where=where,
        causes=causes,
        steps=sound.steps,
        build=partial(build, spoilt),
        twin=partial(build, sound),
        skill=spoilt.skill,
        bar=sound.bar,
        trap=trap,
    )
    return Stranger(case=case, truth=Truth(family=family, cure=cure, cures=partial(become, sound)))


def classify(
    name: str, model: Callable[[], nn.Module], batches: Callable[[], Pairs], *, lr: float = 3e-3, **others: Any
) -> Program:
    """A classifier with cross entropy and Adam."""
    options: dict[str, Any] = {
        "name": name,
        "steps": 150,
        "model": model,
        "batches": batches,
        "loss": nn.functional.cross_entropy,
        "optimizer": adam(lr),
        "skill": accuracy(batches),
        "places": (),
    }
    return Program(**(options | others))


def regress(
    name: str, model: Callable[[], nn.Module], batches: Callable[[], Pairs], *, lr: float = 3e-3, **others: Any
) -> Program:
    """A regression with squared error and Adam."""
    return classify(
        name, model, batches, lr=lr, **({"loss": nn.functional.mse_loss, "skill": explained(batches)} | others)
    )
