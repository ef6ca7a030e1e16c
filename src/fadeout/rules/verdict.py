"""The verdict: one word and one sentence from a reading and its findings."""

import math
from collections.abc import Sequence

from fadeout.records import EffectiveBlocks, Finding, Ledger, Reading, TimeProfile, Verdict
from fadeout.rules.build import listed, named
from fadeout.rules.limits import LIMITS
from fadeout.rules.persistence import falling, gained, probes, progress


def verdict(reading: Reading, findings: Sequence[Finding]) -> Verdict:
    """The first alarm's label; undetermined where nothing was there to judge or signs contradict; else flows."""
    if contradict(findings):
        return "undetermined"
    for finding in findings:
        if finding.level == "alarm":
            return finding.label
    every = probes(reading)
    if every[-1].ledger.outside:
        return "undetermined"
    known = any(math.isfinite(probe.ledger.decades) or _up_to_zeros(probe) for probe in every)
    return "flows" if known else "undetermined"


def _up_to_zeros(probe: Reading) -> bool:
    """Zero-initialised parts (LoRA's B) end the way, but most layers are reached before it, without a fade."""
    ledger = probe.ledger
    if not probe.zero_weights or ledger.decades != -math.inf:
        return False
    trained = {layer.path for layer in probe.layers if layer.trained}
    own = [w.norm for w in ledger.weights if w.data and w.path in trained]
    reached = [norm for norm in own if norm > -math.inf]
    last = max((w.norm for w in ledger.weights if w.last and w.data), default=-math.inf)
    most = len(reached) > 1 and 2 * len(reached) >= len(own)
    return most and LIMITS.vanishing < reached[0] - last < LIMITS.exploding


def contradict(findings: Sequence[Finding]) -> bool:
    """Alarms that can't both be true of one way back: it fades by decades, and it grows by decades."""
    by_decades = [f for f in findings if f.level == "alarm" and f.evidence and f.evidence[0].unit == "decades"]
    return {"vanishing", "exploding"} <= {f.label for f in by_decades if f.code in ("FO101", "FO102")}


def sentence(reading: Reading, word: Verdict, findings: Sequence[Finding]) -> str:
    """What a person reads first."""
    ledger = reading.ledger
    first = findings[0] if findings else None
    if word == "flows":
        far = f"{_signed(ledger.decades)} decades from the last weight layer to the first"
        text = f"The gradient flows: {far}{_shut(ledger)}."
        if math.isnan(ledger.decades) or ledger.decades == -math.inf:
            text = "The gradient flows once training has begun."
            if _up_to_zeros(reading):
                text = "The gradient flows up to zero-initialised parts, which open with the first steps."
        if first is not None and first.code == "FO101":
            carrier = reading.optimizer if reading.course is None else "training"
            fade = f"fades, {_signed(first.decades)} decades, but {carrier} still carries it."
            if first.chain:  # a branch beside the way of which the verdict speaks
                text += f" In the chain from {named(first.chain[0])} to {named(first.chain[-1])} it {fade}"
            else:
                text = f"The gradient {fade}"
        last = reading.course.probes[-1].ledger if reading.course is not None else ledger
        if reading.course is not None and progress(reading, severe=False, limits=LIMITS) == "does_not_learn":
            text = f"DOES NOT LEARN in {reading.course.steps:,} steps, though the {text[4].lower()}{text[5:]}"
            return text + _blocks(last.blocks) + memory_words(reading)
        return text + _blocks(last.blocks) + _course(reading) + memory_words(reading)
    if word == "undetermined":
        why = _why_unknown(reading)
        if contradict(findings):
            why = (
                "the signs contradict each other: "
                + ", and ".join(f.claim for f in findings if f.level == "alarm")
                + "."
            )
        return "Undetermined: " + why + _course(reading)
    assert first is not None
    text = f"{word.replace('_', ' ').upper()}: {first.claim}."
    if word in ("vanishing", "severed", "exploding") and first.code != "FO108":
        text += depth_words(reading)
    return text + _course(reading) + memory_words(reading)


def _shut(ledger: Ledger) -> str:
    """', -5.7 of them at gates that start nearly shut', where such gates make a decade or more."""
    if not math.isfinite(ledger.shut) or abs(ledger.shut) < 1:
        return ""
    return f", {_signed(ledger.shut)} of them at residual branches' gates, which start nearly shut and open by training"


def _course(reading: Reading) -> str:
    """' In 40 steps nothing is learned.', by the loss against the best constant output's."""
    course = reading.course
    if course is None or course.broken is not None or course.unmoved:
        return ""
    known = [p for p in gained(course) if math.isfinite(p)]
    if not known:
        return ""
    steps = f" In {course.steps:,} step{'s' if course.steps != 1 else ''}"
    if course.ignores_targets or course.backwards > 1:
        return ""
    if math.isnan(course.constant):
        if known[-1] < LIMITS.rises:
            return f"{steps} its loss rises, which the loss of a policy or an adversary may while it learns."
        return f"{steps} its loss falls by {known[-1]:.0%}." if known[-1] > 0 else f"{steps} its loss does not fall."
    if known[-1] >= LIMITS.learned and course.batches == 1:
        return f"{steps} it learns this one batch by heart ({known[-1]:.0%}), which says nothing of others."
    if known[-1] >= LIMITS.learns:
        return f"{steps} it gains {known[-1]:.0%} of what there is to learn."
    if falling(reading):
        return f"{steps} its loss falls, but is not yet below the best constant output's."
    return f"{steps} nothing is learned."


def memory_words(reading: Reading) -> str:
    """'rnn remembers 11 of 200 steps.', and gates that forget within a token."""
    parts = []
    measured = [row for row in reading.time if row.steps > 1 and not math.isnan(row.horizon)]
    if measured:
        best = max(measured, key=lambda row: row.horizon)
        name = best.path or "the model"
        if best.horizon < best.steps - 1:
            why = f" ({_cause(best)})" if best.cause else ""
            parts.append(f" {name} remembers {best.horizon:.0f} of {best.steps:,} steps{why}.")
        else:
            parts.append(f" {name} remembers all {best.steps:,} steps{f' ({_cause(best)})' if best.cut else ''}.")
    hasty = [r for r in reading.time if r.gate_horizon is not None and r.gate_horizon.median < LIMITS.token]
    if hasty:
        worst = min(hasty, key=lambda r: r.gate_horizon.median if r.gate_horizon else math.inf)
        span = worst.gate_horizon
        assert span is not None
        parts.append(
            f" {len(hasty)} recurrence{'s forget' if len(hasty) > 1 else ' forgets'} a decade within a token "
            f"({worst.path}: {span.median:.2g}, slowest head {span.slowest:.2g})."
        )
    return "".join(parts)


def _cause(row: TimeProfile) -> str:
    """'forget gates closed', 'cut by detach() at net.py:12'."""
    if row.cause != "truncation" or row.cut is None:
        return row.cause
    how = f"by {row.cut.op}()" if row.cut.op else "off: the graph ends"
    where = "" if row.cut.step == 0 else f" before step {row.cut.step:,}"
    return f"cut {how}{where}" + (f" at {row.cut.line}" if row.cut.line else "")


def depth_words(reading: Reading) -> str:
    """'21 layers on paper, none in practice: 1-4 see the input but do not move, ...'."""
    depth = reading.depth
    if depth.layers is None or depth.layers >= reading.on_paper:
        return ""
    order = {layer.path: n for n, layer in enumerate(reading.layers, 1)}  # as reports number them
    trained = {order[layer.path] for layer in reading.layers[: reading.on_paper] if layer.trained}
    seen, moved = {order[p] for p in depth.seen}, {order[p] for p in depth.moved}
    parts = []
    still = seen - moved
    blind = moved - seen
    neither = trained - seen - moved
    if still:
        parts.append(f"{_which(still)} see{_verb(still)} the input but {_do(still)} not move")
    if blind:
        parts.append(f"{_which(blind)} move{_verb(blind)} but no longer see{_verb(blind)} it")
    if neither:
        parts.append(f"{_which(neither)} {_do(neither)} neither")
    head = f" {len(trained):,} layers on paper, {f'{depth.layers:,}' if depth.layers else 'none'} in practice"
    how = "" if reading.optimizer else " (by plain gradient steps, as no optimizer was given)"
    return head + how + (": " + ", ".join(parts) if parts else "") + "."


def _blocks(blocks: EffectiveBlocks | None) -> str:
    """'64 blocks carry like 18', where the shares allow the word (arXiv:2502.05795)."""
    if blocks is None or len(blocks.blocks) < 4 or not math.isfinite(blocks.n):
        return ""
    if blocks.branch_total < LIMITS.branches or any(b.share < -0.05 for b in blocks.blocks):
        return ""
    return f" {len(blocks.blocks)} residual blocks carry like {blocks.n:.0f}."


def _why_unknown(reading: Reading) -> str:
    ledger = reading.ledger
    outside = probes(reading)[-1].ledger.outside
    if outside:
        homes = tuple(dict.fromkeys(name.rpartition(".")[0] for name in outside))
        return (
            f"{listed(homes)} receive{'s' if len(homes) == 1 else ''} a gradient on a way that could not be "
            "followed; whether it fades there is not known."
        )
    if reading.zero_weights:
        name = reading.zero_weights[0]
        return (
            f"the gradient is exactly zero behind {name!r}, which is all zero itself but receives a gradient; "
            "one step says nothing about a zero-initialised part."
        )
    if not ledger.weights:
        return "no operation with weights lies between the loss and the data."
    if all(w.norm == -math.inf for w in ledger.weights if w.last and w.data):
        return "the loss itself sends no gradient on this batch: solved, saturated or masked."
    return "the gradient at the first or last weight layer is not defined on this batch."


def _signed(value: float) -> str:
    return f"{value:+.1f}" if abs(value) >= 0.05 else "0.0"


def _which(numbers: set[int]) -> str:
    """'layers 1-4', or '37 layers' where they are scattered."""
    ordered = sorted(numbers)
    spans: list[list[int]] = []
    for n in ordered:
        if spans and spans[-1][1] == n - 1:
            spans[-1][1] = n
        else:
            spans.append([n, n])
    if len(spans) > 3:
        return f"{len(numbers):,} layers"
    words = ", ".join(f"{a:,}" if a == b else f"{a:,}-{b:,}" for a, b in spans)
    return f"layer{'s' if len(numbers) > 1 else ''} {words}"


def _verb(numbers: set[int]) -> str:
    return "" if len(numbers) > 1 else "s"


def _do(numbers: set[int]) -> str:
    return "do" if len(numbers) > 1 else "does"
