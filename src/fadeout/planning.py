"""Plans: which treatments are worth a race on this network, and which one exam of a treated copy rules out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.isolate import Isolation
from fadeout.call.question import Question
from fadeout.errors import FadeoutError
from fadeout.exams import examine
from fadeout.forecast import predict_from
from fadeout.probe.instruments import INSTRUMENTS
from fadeout.probe.instruments.attention import Attention
from fadeout.probe.instruments.mixing import Mixing
from fadeout.probe.instruments.reach import Reach
from fadeout.probe.process import leaves_no_trace
from fadeout.probe.reading import take_reading
from fadeout.records import Exam, Finding, Measured, Plan, Planned, Reading
from fadeout.rules import diagnose, verdict
from fadeout.treatments import BY_ID, TREATMENTS, Bundle, Patient, Receipt, Treatment
from fadeout.treatments.anatomy import Anatomy, anatomy
from fadeout.treatments.draws import FOLLOWS

TOO_FAR = 2.0  # decades of the treated copy, up or down, from which it won't help
SHALLOW = 0.5  # of the layers that see and move, below which it won't help
LEADS = {  # by verdict: what the study would try first there
    "dead": ("init_batchnorm_adam", "init_batchnorm", "critical_init"),
    "bad_init": ("init_adam_gentle", "init_adam", "init_layernorm_adam"),
    "exploding": ("init_batchnorm_adam", "slower_100", "init_clip_slower"),
    "not_finite": ("init_batchnorm_adam", "slower_100", "init_clip_slower"),
    "saturated": ("init_layernorm_adam", "init_batchnorm_adam"),
}
ADVICE = frozenset({"bf16", "loss_scaling"})  # which change nothing on a live network
ASKED = tuple(kind for kind in INSTRUMENTS if kind not in (Reach, Mixing, Attention))  # of a treated copy
_NOTHING = Measured(decades=math.nan, effective_depth=math.nan)


@leaves_no_trace
def plan(
    model: nn.Module | Exam,
    batch: Any = None,
    *,
    loss: Callable[..., Tensor] | None = None,
    step: Callable[[nn.Module], Tensor] | None = None,
    optimizer: Any = None,
    exam: Exam | None = None,
    treatments: Sequence[Treatment] = TREATMENTS,
    seed: int = 0,
) -> Plan:
    """What to change, in the order to try it, and what won't help here, with the number that says so.

    Each treatment that applies is made on a copy, and the copy gets one forward and backward.  Copies whose gradient
    does not flow, loses more than two decades, or leaves more than half of the layers unmoved are ruled out: of those,
    4 % worked in the study behind this.  The rest is ordered by how many kinds of fault a treatment cured there, with
    what the finding says; only a race tells which one works (`fadeout.trial`).

    Args:
        model: The network; it is left as it was.  Of an exam alone, which holds no network, the plan is an order
            by what the exam says, and nothing is measured.
        batch: As `examine` takes it.
        loss: loss(output, y).
        step: model -> scalar, instead of batch and loss.
        optimizer: The one in use; without it, treatments of the optimizer are left out.
        exam: What `examine` said of it; None: one is made.
        treatments: What may be tried.
        seed: For the weights that treatments draw.

    Returns:
        The plan; `fadeout.treat(model, plan.first)` applies its first entry.

    Raises:
        As `examine`.
    """
    if isinstance(model, Exam):
        exam = model
        found = [(t, reason) for t in treatments if (reason := t.applies_to(exam)) is not None and t.id not in ADVICE]
        order = _order(exam)
        return Plan(
            entries=tuple(
                Planned(treatment=t.id, title=t.title, predicted=_NOTHING, measured=_NOTHING, reason=reason)
                for t, reason in sorted(found, key=lambda pair: order(pair[0]))
            )
        )
    if exam is None:
        exam = examine(model, batch, loss=loss, step=step, optimizer=optimizer)
    question = Question(verb="plan", model=model, batch=batch, loss=loss, step=step, optimizer=optimizer)
    seen = anatomy(replace(question, optimizer=None))
    able: list[tuple[Treatment, Planned]] = []
    wont: list[Planned] = []
    for treatment in treatments:
        reason = treatment.applies_to(exam)
        if reason is None or treatment.id in ADVICE or (optimizer is None and set(treatment.parts) == {"optimizer"}):
            continue
        made = _treated(treatment, question, seen, seed)
        if made is None:
            continue
        predicted, measured, trouble = made
        entry = Planned(
            treatment=treatment.id, title=treatment.title, predicted=predicted, measured=measured, reason=reason
        )
        if trouble:
            wont.append(replace(entry, reason=trouble))
        else:
            able.append((treatment, entry))
    order = _order(exam)
    able.sort(key=lambda pair: order(pair[0]))
    return Plan(entries=tuple(entry for _, entry in able), wont_help=tuple(wont))


def _patient(question: Question, seen: Anatomy, seed: int) -> Patient:
    """Copies of model and optimizer that belong together, ready to be treated."""
    model, optimizer = Isolation(verb=question.verb).copied((question.model, question.optimizer))
    return Patient(
        model=model, optimizer=optimizer, batch=question.batch, loss=question.loss, step=question.step, seed=seed,
        anatomy=seen,
    )  # fmt: skip


def _treated(
    treatment: Treatment, question: Question, seen: Anatomy, seed: int
) -> tuple[Measured, Measured, str] | None:
    """(what theory expects of a treated copy, what it shows, why it won't help or ""); None: it can't be applied."""
    patient = _patient(question, seen, seed)
    try:
        receipt = treatment.apply(patient)
        optimizer = receipt.optimizer if receipt.optimizer is not None else patient.optimizer
        taken = take_reading(replace(question, model=patient.model, optimizer=optimizer), "whole", ASKED)
    except (FadeoutError, RuntimeError, ValueError, TypeError, AssertionError):
        return None
    reading = taken.reading
    forecast = predict_from(taken.sketch, reading.ledger) if taken.sketch is not None else None
    expected = math.nan
    if forecast is not None and forecast.decades is not None and FOLLOWS not in receipt.notes:
        expected = forecast.decades
    found = diagnose(reading)
    word = verdict(reading, found)
    measured = Measured(
        decades=reading.ledger.decades,
        effective_depth=_depth(reading),
        verdict=word,
    )
    return replace(_NOTHING, decades=expected), measured, _trouble(reading, word, found)


def _trouble(reading: Reading, word: str, found: Sequence[Finding]) -> str:
    decades, depth, layers = reading.ledger.decades, _depth(reading), reading.on_paper
    if word not in ("flows", "undetermined"):
        worst = next((f.claim for f in found if f.level == "alarm"), word)
        return f"a treated copy is still {word.replace('_', ' ')}: {worst}"
    if math.isfinite(decades) and abs(decades) > TOO_FAR:
        verb = "loses" if decades < 0 else "gains"
        return (
            f"in a treated copy the gradient still {verb} {abs(decades):.1f} decades from the last layer to the first"
        )
    if layers and depth < SHALLOW * layers:
        return f"in a treated copy only {depth:g} of {layers} layers see the input and move"
    return ""


def _depth(reading: Reading) -> float:
    return math.nan if reading.depth.layers is None else float(reading.depth.layers)


def _order(exam: Exam) -> Callable[[Treatment], tuple[float, ...]]:
    leads = LEADS.get(exam.verdict, ())
    advised = [name for finding in exam.findings if finding.level == "alarm" for name in finding.treatments]
    place = {treatment.id: n for n, treatment in enumerate(TREATMENTS)}

    def key(treatment: Treatment) -> tuple[float, ...]:
        if treatment.id == "keep_graph":  # it applies only where the way through time is cut
            return -2, 0, 0
        first = leads.index(treatment.id) if treatment.id in leads else len(leads)
        if "recurrence" in treatment.parts and any(row.source == "none" for row in exam.time):
            first = -1  # gates that forget within a token
        covers = treatment.covers if isinstance(treatment, Bundle) else (2 if treatment.id in advised else 1)
        return first, -covers, place.get(treatment.id, len(place))

    return key


def treat(
    model: nn.Module,
    treatment: str | Treatment,
    batch: Any = None,
    *,
    loss: Callable[..., Tensor] | None = None,
    optimizer: Any = None,
    seed: int = 0,
) -> Receipt:
    """Change a network in place, and get the way back.

    Args:
        model: The network.
        treatment: Its id, as a plan names it, or a treatment of your own.
        batch: A real batch, for what looks at a forward pass: most treatments do.
        loss: loss(output, y).
        optimizer: The one in use; new parameters join the group of their neighbours.
        seed: Of the weights that are drawn; torch's random state is left alone.

    Returns:
        The receipt: what was touched, `undo()`, and `optimizer` where another one takes its place.

    Raises:
        FadeoutError: If there is no such treatment, or it can't be done here; nothing is changed then.
    """
    if isinstance(treatment, str):
        if treatment not in BY_ID:
            raise FadeoutError(f"treat: there is no treatment {treatment!r}; there are {', '.join(BY_ID)}")
        treatment = BY_ID[treatment]
    if not isinstance(treatment, Treatment):
        raise TypeError(
            f"treat: the treatment must be an id or a Treatment, got {type(treatment).__name__}; "
            "of a plan take plan.first"
        )
    with torch.inference_mode(False):
        return treatment.apply(Patient(model=model, optimizer=optimizer, batch=batch, loss=loss, seed=seed))
