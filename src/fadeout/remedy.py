"""Remedies: from a function that builds a network to a proven change of its source - plan, race, patch."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from fadeout.call.batch import is_pair
from fadeout.call.case import Case, seeded
from fadeout.call.isolate import Isolation
from fadeout.errors import FadeoutError
from fadeout.exams import examine
from fadeout.planning import plan
from fadeout.records import Exam, Plan, Trial, Unhelpful
from fadeout.target import Target
from fadeout.treatments import BY_ID, Bundle, Patient, Treatment
from fadeout.trials import trial

HELD_OUT = 5  # one row or batch in so many is kept for scoring
ROWS = 32  # in a batch, where a function gives all of its rows at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What `fadeout treat` found.

    Attributes:
        exam: Of the network as it is.
        plan: What was worth trying.
        trial: The race, with the patch of the winner.
        patch: The patch itself, to be applied; None where there is none.
    """

    exam: Exam
    plan: Plan
    trial: Trial
    patch: Any


class Program:
    """The user's function as two makers: its model, and the optimizer that came with the same call."""

    def __init__(self, make: Callable[[], Target], optimizer: Callable[[Target], Any] | None) -> None:
        self._make = make
        self._optimizer = optimizer
        self._last: Target | None = None

    def model(self) -> nn.Module:
        """A fresh network."""
        self._last = self._make()
        return self._last.model

    def optimizer(self, parameters: Any) -> Any:
        """The optimizer of the network that was made last."""
        assert self._last is not None
        if self._optimizer is not None:
            return self._optimizer(self._last)
        return self._last.optimizer


def remedy(
    make: Callable[[], Target],
    spec: str,
    *,
    batches: Sequence[Any],
    loss: Any,
    optimizer: Callable[[Target], Any] | None,
    steps: int,
    seeds: Sequence[int],
    engine: str,
    arms: int,
    cheap: bool = False,
    store: str | os.PathLike[str] | None = None,
    progress: bool = False,
    treatments: Sequence[Treatment] = tuple(BY_ID.values()),
) -> Remedy:
    """Examine, plan, race, and write the winner into the source.

    Args:
        make: Builds the network, and what comes with it, anew.
        spec: How the user names it, "net.py:build": where the source is.
        batches: What is trained on; a fifth is held out for scoring.
        optimizer: Of a fresh target; None: the one that it brings.
        arms: Treatments of the plan that race; 0 for all of them.

    Raises:
        FadeoutError: If there is no optimizer, or nothing to hold out.
    """
    program = Program(make, optimizer)
    trained, held_out = divided(batches)
    case = Case(program.model, trained, loss, program.optimizer, held_out, steps=steps, name=spec)
    setup = case.build(seeds[0])
    if setup.optimizer is None:
        raise FadeoutError(
            "treat: there is no optimizer to train with; add --optimizer Adam --lr 0.001, or let the function return "
            "(model, batch, loss, optimizer)"
        )
    batch = trained[0]
    exam = examine(setup.model, batch, loss=loss, optimizer=setup.optimizer)
    found = plan(setup.model, batch, loss=loss, optimizer=setup.optimizer, exam=exam, treatments=treatments)
    raced = replace(found, entries=found.entries[:arms] if arms else found.entries)
    race = trial(
        case, raced, seeds=seeds, engine=engine, cheap=cheap, store=store, progress=progress, treatments=treatments
    )
    patch = None
    if race.winner is not None:
        patch, recipe = written(spec, case, batch, loss, seeds[0], needed(race, treatments))
        race = replace(race, patch=patch.diff or None if patch is not None else None, recipe=recipe)
    unhelpful = tuple(Unhelpful(treatment=e.treatment, reason=e.reason, measured=e.measured) for e in found.wont_help)
    return Remedy(exam=exam, plan=found, trial=replace(race, wont_help=unhelpful), patch=patch)


def divided(batches: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """What is trained on, and what is held out; one batch of rows is cut into several first."""
    given = list(batches)
    if len(given) == 1 and is_pair(given[0]) and hasattr(given[0][1], "split") and len(given[0][1]) >= 2 * HELD_OUT:
        x, y = given[0]
        if hasattr(x, "split") and len(x) == len(y):
            given = list(
                zip(x.split(min(ROWS, len(x) // HELD_OUT)), y.split(min(ROWS, len(y) // HELD_OUT)), strict=True)
            )
    if len(given) < 2:
        return given, given
    kept = max(1, len(given) // HELD_OUT)
    return given[:-kept], given[-kept:]


def needed(race: Trial, treatments: Sequence[Treatment]) -> Treatment:
    """The winner, less the parts that it works without."""
    winner = next(t for t in treatments if t.id == race.winner)
    if isinstance(winner, Bundle) and race.needed:
        members = tuple(m for m in winner.members if m.id in race.needed)
        if len(members) == 1:
            return members[0]
        if members:
            return replace(winner, members=members)
    return winner


def written(
    spec: str, case: Case, batch: Any, loss: Any, seed: int, treatment: Treatment
) -> tuple[Any, tuple[str, ...]]:
    """(the patch, or None; lines for a person) of a treatment on a fresh network."""
    setup = case.build(seed)
    receipt = treatment.apply(Patient(model=setup.model, optimizer=setup.optimizer, batch=batch, loss=loss, seed=seed))
    by_hand = tuple(f"{edit.path or 'the model'}: {edit.what} {edit.new}" for edit in receipt.edits)
    try:
        from fadeout.patches import patch_of
    except FadeoutError as error:
        return None, (*receipt.recipe, str(error), *by_hand)
    optimizer = receipt.optimizer if receipt.optimizer is not None else setup.optimizer

    def look(model: nn.Module) -> tuple[str, float]:
        twin = Isolation(verb="treat").copied(model)
        with seeded(seed):
            seen = examine(twin, batch, loss=loss)
        return seen.verdict, seen.decades

    patch = patch_of(spec, receipt, treated=setup.model, optimizer=optimizer, examine=look, seed=seed)
    return patch, (*receipt.recipe, *patch.recipe)


def apply(found: Remedy) -> tuple[Path, ...]:
    """Write the patch into the user's files, each with a backup beside it."""
    from fadeout.patches import apply_patch

    return tuple(Path(p) for p in apply_patch(found.patch))
