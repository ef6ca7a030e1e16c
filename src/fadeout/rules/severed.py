"""FO103: no gradient at all reaches the first layers."""

import math
from collections.abc import Sequence
from dataclasses import replace

from fadeout.records import Advice, Edge, Evidence, Finding, Gap, Level, LossTerm, Reading
from fadeout.rules.build import advise, advised, listed, named
from fadeout.rules.limits import Limits
from fadeout.rules.persistence import all_along, hindered, learning, probes
from fadeout.rules.signs import all_zero

_FAR = "what it is given is too far from zero"
_ONE = "what it is given is too far apart, or it is taken over a single entry"
FLAT = {  # functions that can be flat to the last bit, and why
    **dict.fromkeys(("sigmoid", "tanh", "erf"), _FAR),
    **dict.fromkeys(("softmax", "log_softmax", "logsumexp"), _ONE),
    "exp": "what it is given is far below zero",
}


def severed(reading: Reading, limits: Limits) -> Finding | None:
    """Exactly zero, or no path at all, between the loss and the first trained layers.

    A zero behind an all-zero parameter that itself receives a gradient is a zero-initialised
    head or gate and says nothing in one step: then the rule is silent.  So it is where dead or
    saturated units make the zero, of which other rules speak, and after a course that learns or
    at whose end a gradient arrives.
    """
    if reading.course is not None:
        last = reading.course.probes[-1]
        if learning(reading, limits) == "well" and not _no_path(last):
            return _part(reading, limits) or _idle_term(reading, limits)
        found = _no_path(last) or _killed(last) or _nothing(reading, limits) or _part(reading, limits)
        return replace(found, since=_since(reading)) if found is not None else _idle_term(reading, limits)
    return _no_path(reading) or _killed(reading) or _part(reading, limits) or _idle_term(reading, limits)


def _idle_term(reading: Reading, limits: Limits) -> Finding | None:
    """One term of a summed loss that reaches nothing of what the step trains; a warning where all goes well without."""
    idle = [term for term in reading.terms if term.idle]
    if not idle or len(idle) == len(reading.terms):
        return None
    one, gap = idle[0], max(reading.gaps, key=lambda g: g.op == "detach", default=None)
    cut = f": {gap.op} at {gap.line}" if gap is not None and gap.op == "detach" and gap.line else ""
    made = f"{one.op}, {one.line}" if one.line else one.op
    found = _finding(
        reading,
        claim=f"one of the {len(reading.terms)} terms of the loss ({made}) gives "
        f"no gradient to anything that the step trains{cut}; only the others do",
        where=reading.moves,
        line=one.line,
        helps=("removing the detach() or no_grad() between that term and what is trained",),
    )
    count = Evidence(name="terms that reach nothing", value=float(len(idle)), bound=0.0, unit="terms")
    return replace(found, level=_worth(reading, one, limits), evidence=(count,))


def _worth(reading: Reading, term: LossTerm, limits: Limits) -> Level:
    """Of a term that reaches nothing.  Detached numbers are added on purpose, too: the course must have shown harm."""
    well = learning(reading, limits) == "well" and not hindered(reading, limits)
    if not term.detached:
        return "warning" if well else "alarm"
    if reading.course is None:
        return "warning"
    return "note" if well else "alarm"


def _part(reading: Reading, limits: Limits) -> Finding | None:
    """A part that is to be trained and no gradient path leads to: a branch cut off, beside others that learn.

    Without an optimizer nobody has said that it is to be trained: a frozen encoder may run under no_grad.  A reentrant
    checkpoint around parameters that require a gradient is meant to train them.
    """
    every = probes(reading)
    asked = [layer for layer in reading.layers if layer.trained]
    held = {layer.path for layer in asked if not reading.optimizer or not math.isnan(layer.update_ratio)}
    held = set(reading.moves) or held
    lost = [
        path
        for path in (*reading.detached, *reading.unrecorded)
        if path in held and all(path in (*probe.detached, *probe.unrecorded) for probe in every)
    ]
    if not lost:
        return None
    gap = _gap(reading, lost)
    if not reading.optimizer and not reading.moves:
        alarm = gap is not None and gap.op == "checkpoint"
    elif reading.course is None:  # no path is no path in one step as well; but a spare head may be meant
        alarm = 2 * len(lost) >= len(held)
    else:
        unjudged = math.isnan(reading.course.constant) and 2 * len(lost) >= len(held)
        alarm = learning(reading, limits) in ("not", "little") or unjudged or len(lost) == len(held)
        let_go = gap is not None and gap.op not in ("", "no_grad")  # under no_grad people run what they mean to keep
        alarm = alarm or (let_go and hindered(reading, limits))
    found = _finding(
        reading,
        claim=f"no gradient path leads to {len(lost)} of the {len(held)} layers that {_meant(reading)}{_words(gap)}",
        where=_beside(gap, lost, whole=len(lost) == len(held)),
        line=gap.line if gap is not None else "",
        helps=(_remedy(gap),),
    )
    return found if alarm else replace(found, level="warning")


def _meant(reading: Reading) -> str:
    if reading.moves:
        return "the training step moves"
    return f"{reading.optimizer} is to train" if reading.optimizer else "require a gradient"


def _since(reading: Reading) -> int:
    return next((p.step for p in probes(reading) if _no_path(p) or _killed(p)), reading.step)


def _nothing(reading: Reading, limits: Limits) -> Finding | None:
    """No gradient at all in nearly every probe, though the loss is not solved: fp16 without loss scaling, a mask."""
    if _by_activation(reading):
        return None
    return nothing_at_all(reading, limits)


def nothing_at_all(reading: Reading, limits: Limits) -> Finding | None:
    """Every gradient is exactly zero, though the loss is not solved: whoever else is silent, this is an alarm."""
    every = probes(reading)
    if learning(reading, limits) == "well":
        return None
    if not all_along([all_zero(p) for p in every]) and not _all_that_trains(reading):
        return None
    if reading.loss == 0 or reading.zero_weights:  # solved on this batch; or a zero-initialised part, in one step
        return None
    killer = _killer(reading)
    if killer is not None and killer.op in FLAT:
        return _flat(reading, killer, ())
    return _finding(
        reading,
        claim="every gradient is exactly zero"
        + (", in nearly every probe, and the loss is not solved" if reading.course is not None else ""),
        where=_idle(reading),
        line="",
        helps=_of_nothing(reading),
    )


def _idle(reading: Reading) -> tuple[str, ...]:
    """The layers that are trained, the last one first, since not even that gets any; else the owners of vectors."""
    layers = tuple(layer.path for layer in reversed(reading.layers) if layer.trained)
    return layers or tuple(dict.fromkeys(name.rpartition(".")[0] for name in reading.silent))


def _all_that_trains(reading: Reading) -> bool:
    """Nothing moves, no layer is trained, and what else is trained receives exact zeros: a prompt, a lone vector."""
    unmoved = reading.course is not None and reading.course.unmoved
    return unmoved and bool(reading.silent) and not any(layer.trained for layer in reading.layers)


def _of_nothing(reading: Reading) -> tuple[Advice | str, ...]:
    """What may make every gradient zero: float16, weights that are all zero, or the loss."""
    zeros = [layer.path for layer in reading.layers if layer.trained and layer.weight_rms == 0]
    first: tuple[Advice | str, ...] = ()
    if reading.dtype == "float16":
        first = (advise("scaling the loss, which float16 flushes, or bf16", "loss_scaling", "bf16"),)
    elif zeros:
        first = (advise(f"random initial weights in {listed(zeros)}, which are all zero", "critical_init"),)
    return (*first, "looking at what the loss masks or ignores", "looking at what each layer hands on: is it constant?")


def _no_path(reading: Reading) -> Finding | None:
    trained = [r.path for r in reading.layers if r.trained and (r.reached or r.path in reading.detached)]
    first = []
    for path in trained:
        if path not in reading.detached:
            break
        first.append(path)
    reaches_data = any(end.what != "weight" for end in reading.ledger.ends)
    if not first or reaches_data or len(first) == len(trained):
        return None
    gap = _gap(reading, first)
    return _finding(
        reading,
        claim=f"no gradient path leads to the first {len(first)} of {len(trained)} trained layers{_words(gap)}",
        where=_beside(gap, first),
        line=gap.line if gap is not None else "",
        helps=(_remedy(gap),),
    )


def _gap(reading: Reading, lost: list[str]) -> Gap | None:
    """The place that lets go of the graph in front of the last lost layer, or of most of them."""
    blamed = [gap for gap in reading.gaps if not set(lost).isdisjoint(gap.layers)]
    return max(blamed, key=lambda gap: (lost[-1] in gap.layers, len(gap.layers)), default=None)


def _remedy(gap: Gap | None) -> str:
    if gap is not None and gap.op == "checkpoint":
        return "checkpoint(..., use_reentrant=False), or letting an input of the checkpoint require a gradient"
    how = "the detach(), no_grad() or .data" if gap is None or not gap.op else f"the {gap.op}"
    return f"removing {how} between them and the loss"


def _words(gap: Gap | None) -> str:
    """': detach in encoder, net.py:12'."""
    if gap is None:
        return ""
    at = f" in {named(gap.path)}" + (f", {gap.line}" if gap.line else "")
    if gap.op == "checkpoint":
        return f": a reentrant checkpoint none of whose inputs requires a gradient{at}"
    return f": {gap.op or 'the graph ends'}{at}"


def _beside(gap: Gap | None, lost: list[str], *, whole: bool = False) -> tuple[str, ...]:
    """The place that lets go, where it is a layer, and the lost layers, the one beside it first; then a container.

    Args:
        whole: All that is to be trained is lost: the network's own forward is named first, if it lets go.
    """
    if gap is None or not gap.path:
        return ("", *reversed(lost)) if whole and gap is not None and gap.op else tuple(reversed(lost))
    inside = [path for path in reversed(lost) if path == gap.path or path.startswith(f"{gap.path}.")]
    return tuple(dict.fromkeys([*inside, *reversed(lost), gap.path]))


def _killed(reading: Reading) -> Finding | None:
    ledger = reading.ledger
    if ledger.decades != -math.inf or reading.zero_weights or _by_activation(reading):
        return None
    killer = _killer(reading)
    lost = [w.path for w in ledger.weights if w.norm == -math.inf]
    where = tuple(dict.fromkeys([*([killer.path] if killer and killer.path else []), *reversed(lost)]))
    at = f" at {killer.path or killer.op} ({killer.op})" if killer else ""
    if killer is not None and killer.op in FLAT:
        return _flat(reading, killer, lost)
    return _finding(
        reading,
        claim=f"the gradient ends{at}: exactly zero from there to the first layer",
        where=where,
        line=killer.line if killer else "",
        helps=(f"looking at what {killer.op} returns there: every slope is zero",) if killer else (),
    )


def _killer(reading: Reading) -> Edge | None:
    """The operation on the trunk that lets nothing through."""
    return next((entry for entry in reading.ledger.trunk.entries if entry.log_gain == -math.inf), None)


def _flat(reading: Reading, killer: Edge, lost: Sequence[str]) -> Finding:
    """A function that is flat to the last bit wherever it is asked."""
    op = killer.op
    found = _finding(
        reading,
        claim=f"every slope of {op} in {named(killer.path)} is exactly zero and lets no gradient through: {FLAT[op]}",
        where=tuple(dict.fromkeys([killer.path, *reversed(lost)])),
        line=killer.line,
        helps=(
            f"numbers nearer to zero into {op}: a smaller scale before it, a higher temperature, or smaller initial "
            "weights",
        ),
    )
    return replace(found, code="FO106", label="saturated")


def _by_activation(reading: Reading) -> bool:
    """A dead or wholly saturated layer on the way, with no way around it."""
    return any(
        (layer.dead >= 1 or layer.saturated >= 0.99) and layer.path not in reading.bypassed for layer in reading.layers
    )


def _finding(
    reading: Reading, *, claim: str, where: tuple[str, ...], line: str, helps: tuple[Advice | str, ...]
) -> Finding:
    lost = float(len({layer.path for layer in reading.layers}.intersection(where)))
    return Finding(
        code="FO103",
        label="severed",
        level="alarm",
        claim=claim,
        where=where,
        line=line,
        decades=-math.inf,
        expected=math.nan,
        since=reading.step,
        confidence=math.nan,
        cause=(),
        status="account",
        evidence=(
            Evidence(
                name="layers that receive nothing",
                value=lost,
                bound=0.0,
                unit="layers",
            ),
        ),
        advice=advised(helps),
    )
