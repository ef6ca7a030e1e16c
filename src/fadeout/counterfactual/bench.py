"""The bench: the network that shows a finding, on the rows that show it, and how the finding's quantity is read."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.batch import Closure
from fadeout.call.copies import copy_of
from fadeout.call.guard import Guard
from fadeout.call.question import Question
from fadeout.errors import FadeoutError
from fadeout.probe.account.chains import bypassed, chains
from fadeout.probe.account.passes import Observer
from fadeout.probe.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a counterfactual changes one thing of.

    Attributes:
        model: The network with the weights of the probe that shows the finding.
        closure: The rows of that probe, and the way from them to the scalar.
        chain: The layers that the finding is about, loss side first; () for the whole way back.
        trunk: Paths of the weight layers on the way.
        activations: Names of the activations in use.
        control: The quantity as the exam itself measured it on this bench; nan: measure it untreated.
        around: What the probe was taken in (no dropout, its own random state).
        copies: Of the network, for the changes; made once.
    """

    model: nn.Module
    closure: Closure
    within: str | None
    autocast: torch.dtype | bool | None
    chain: tuple[str, ...] = ()
    trunk: frozenset[str] = frozenset()
    activations: frozenset[str] = frozenset()
    control: float = math.nan
    around: Callable[[nn.Module], AbstractContextManager[Any]] = field(default=lambda model: nullcontext())
    copies: list[nn.Module] = field(default_factory=list)


def measured(bench: Bench, *observers: Observer) -> float:
    """The finding's quantity: decades of the whole way back, or lost in its chain; nan where it can't be said.

    Args:
        observers: What changes the pass, and any wider one that follows it.
    """
    question = Question(
        verb="examine", model=bench.model, step=bench.closure.run, within=bench.within, autocast=bench.autocast
    )
    try:
        with (
            bench.around(bench.model),
            Guard([]),
            Session(question) as session,
        ):
            best = session.widen(session.take(*observers), *observers)
            if not bench.chain:
                return session.ledger(best).decades
            every = chains(best, bypassed(best.graph))
            return next((chain.lost for chain in every if chain.layers == bench.chain), math.nan)
    except (FadeoutError, RuntimeError, ValueError, TypeError):  # the changed network does not run
        return math.nan


def copied(bench: Bench, change: Callable[[nn.Module], frozenset[str]]) -> Bench | None:
    """The bench with a changed copy of its network; None where a layer in question could not be changed.

    Args:
        change: Changes a model in place and returns the paths of the layers that it changed.
    """
    if not bench.copies:  # every change draws the same weights anew, so that one copy serves all
        try:
            bench.copies.append(copy_of(bench.model))
        except Exception:  # user code: __deepcopy__ can raise anything
            return None
    model = bench.copies[0]
    with torch.no_grad():
        changed = change(model)
    asked = frozenset(bench.chain) or bench.trunk
    return replace(bench, model=model) if asked <= changed else None


def under(bench: Bench, mode: Callable[[], AbstractContextManager[Any]]) -> Bench:
    """The bench with its forward run under a mode."""
    run = bench.closure.run

    def moded(model: nn.Module) -> Tensor:
        with mode():
            return run(model)

    return replace(bench, closure=replace(bench.closure, run=moded))
