"""Scouting: a script's live network examined at its first step, and what is worth a race on it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.chance import kept_torch_state
from fadeout.call.isolate import Isolation
from fadeout.call.question import Question
from fadeout.errors import FadeoutError, ModelError
from fadeout.exams import concluded
from fadeout.live.calls import Call, Replay
from fadeout.live.racing.dose import Opening
from fadeout.live.racing.first_call import Meeting
from fadeout.live.roots import unwrapped
from fadeout.planning import plan
from fadeout.probe.process import leaves_no_trace
from fadeout.probe.reading import take_reading
from fadeout.records import Exam, Plan, Planned
from fadeout.treatments import BY_ID, TREATMENTS, Patient

PATIENCE = 120.0  # seconds that treated copies may take; a network that needs more gets a plan by the exam alone
SAME = 1e-5  # relative: a treated copy that gives this is the same function


class Again:
    """The step that the script has just made, on any copy of its network: the calls are found there by their paths."""

    def __init__(self, model: nn.Module, calls: Sequence[Call], scale: float) -> None:
        paths = {id(m): path for path, m in model.named_modules()}
        self.calls = [(call, paths[id(unwrapped(call.module))]) for call in calls]
        self.scale = scale

    def __call__(self, model: nn.Module) -> Tensor:
        own = [replace(call, module=model.get_submodule(path), buffers=[], held=None) for call, path in self.calls]
        return Replay(own, self.scale)(model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scouted:
    """What the live network showed.

    Attributes:
        refused: Treatments that were planned and must not be given here.
        why: For what reason.
    """

    verdict: str
    sentence: str
    decades: float
    depth: float
    plan: Plan
    refused: tuple[str, ...] = ()
    why: str = ""


def scout(meeting: Meeting, calls: Sequence[Call], scale: float, *, loaded: str) -> Scouted:
    """Examine and plan, at the optimizer's first step.

    Args:
        loaded: Why the network's weights count as trained already; "" where they do not.

    Raises:
        FadeoutError, ModelError: If the step can't be run again.
    """
    model, optimizers = meeting.model, meeting.optimizers
    optimizer: Any = optimizers[0] if len(optimizers) == 1 else list(optimizers)
    step = Again(model, calls, scale)
    begun = time.perf_counter()
    exam = _exam(Question(verb="race", model=model, step=step, optimizer=optimizer))
    each = time.perf_counter() - begun
    found = None
    if each * len(TREATMENTS) < PATIENCE:
        try:
            found = plan(model, step=step, optimizer=optimizer, exam=exam)
        except (FadeoutError, ModelError):  # a network that can't be copied
            found = None
    if found is None or not (found.entries or found.wont_help):
        found = plan(exam)
    why, allowed = "", _anything
    if loaded:
        why, allowed = f"{loaded}, and they would draw them anew or change what the network computes", _harmless
    elif type(meeting.called).__name__ == "DistributedDataParallel":
        why, allowed = (
            "they add weights, which a network that DDP has wrapped already would not keep alike",
            _same_weights,
        )
    refused = tuple(entry.treatment for entry in found.entries if not allowed(entry, meeting))
    found = replace(found, entries=tuple(entry for entry in found.entries if entry.treatment not in refused))
    return Scouted(
        verdict=exam.verdict,
        sentence=exam.sentence,
        decades=exam.decades,
        depth=float("nan") if exam.effective_depth.layers is None else float(exam.effective_depth.layers),
        plan=found,
        refused=refused,
        why=why,
    )


@leaves_no_trace
def _exam(question: Question) -> Exam:
    begun = time.perf_counter()
    return concluded(take_reading(question, "start"), begun, question.optimizer)


def _anything(entry: Planned, meeting: Meeting) -> bool:
    """Every treatment is allowed."""
    return True


def _same_weights(entry: Planned, meeting: Meeting) -> bool:
    """Whether a treatment leaves the number of parameters as it is."""
    try:
        twin, optimizer = Isolation(verb="race").copied((meeting.model, meeting.optimizers[0]))
        before = len(list(twin.parameters()))
        BY_ID[entry.treatment].apply(Patient(model=twin, optimizer=optimizer, step=Opening(meeting)))
    except (FadeoutError, RuntimeError, ValueError, TypeError):
        return False
    return len(list(twin.parameters())) == before


def _harmless(entry: Planned, meeting: Meeting) -> bool:
    """Whether a treatment leaves trained weights and the network's function as they are."""
    treatment = BY_ID[entry.treatment]
    if set(treatment.parts) <= {"optimizer", "precision"}:
        return True
    if "init" in treatment.parts:
        return False
    try:
        twin, optimizer = Isolation(verb="race").copied((meeting.model, meeting.optimizers[0]))
        step = Opening(meeting)
        with kept_torch_state():
            torch.manual_seed(0)
            was = step(twin).detach()
            treatment.apply(Patient(model=twin, optimizer=optimizer, step=step))
            torch.manual_seed(0)
            now = step(twin).detach()
    except (FadeoutError, RuntimeError, ValueError, TypeError):
        return False
    return bool((now - was).abs() <= SAME * was.abs().clamp_min(1e-12))
