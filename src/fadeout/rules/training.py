"""FO209, FO214, FO215, FO301 to FO304: what the steps themselves say - rates, clipping, steps that change nothing."""

import math

from fadeout.records import Evidence, Finding, Level, Reading, WontHelp
from fadeout.rules.build import advise, listed, named, remark
from fadeout.rules.limits import Limits
from fadeout.rules.persistence import blamed, falling, hindered, learning, probes
from fadeout.rules.signs import all_zero, raw_first, still, time_fade

MOST_SLOWER = 10_000  # times


def rate_too_high(reading: Reading, limits: Limits) -> Finding | None:
    """Updates as large as the weights themselves, in the first steps or the next one."""
    if reading.optimizer == "LBFGS":
        return None  # a step of it is many updates along a line
    if reading.course is not None:
        ratios = dict(reading.course.updates)
    else:
        ratios = {layer.path: layer.update_ratio for layer in reading.layers if not math.isnan(layer.update_ratio)}
    hot = {path: r for path, r in ratios.items() if math.isfinite(r) and r > limits.update}
    if not hot or (reading.course is not None and learning(reading, limits) == "well"):
        return None
    worst = max(hot, key=lambda path: hot[path])
    return remark(
        reading,
        code="FO209",
        label="exploding",
        claim=f"one step changes {listed(sorted(hot, key=lambda p: -hot[p]))} by {hot[worst]:.3g} times its own size: "
        "the learning rate is too high for these gradients",
        where=sorted(hot, key=lambda path: -hot[path]),
        evidence=(Evidence(name="update over weight", value=hot[worst], bound=limits.update, unit="ratio"),),
        helps=(_slower(hot[worst] / limits.usual),),
        wont=(WontHelp(what="more steps", why="each of them overshoots"),),
    )


def _slower(times: float) -> str:
    """The rule of thumb, up to MOST_SLOWER: a step that throws the weights further measures nothing any more."""
    if times > MOST_SLOWER:
        return (
            f"a learning rate at least {MOST_SLOWER:,} times smaller; look at the updates again from there: by a rule "
            "of thumb they are near 1e-3 of the weights"
        )
    return f"a learning rate about {times:.0e} times smaller: by a rule of thumb updates are near 1e-3"


def rate_too_low(reading: Reading, limits: Limits) -> Finding | None:
    """FO301: updates a millionth of the weights: nothing can have been learned yet."""
    course = reading.course
    if course is not None and learning(reading, limits) == "well":
        return None
    if course is not None and course.rate_gone is not None:
        return _decayed(reading, course.rate_gone)
    ratios = [r for _, r in course.updates] if course is not None else []
    if course is None:
        ratios = [layer.update_ratio for layer in reading.layers if layer.update_ratio >= 0]
    if course is not None and 0 < course.travelled < limits.still and course.steps >= limits.enough:
        return _hardly_moved(reading, course.travelled, limits)
    if not ratios or not 0 < max(ratios) < limits.crawl:
        return None
    return remark(
        reading,
        code="FO301",
        label="flows",
        level="note",
        claim=f"the largest update is {max(ratios):.1g} of its weights: the learning rate is far too small",
        evidence=(Evidence(name="update over weight", value=max(ratios), bound=limits.crawl, unit="ratio"),),
        helps=(
            f"a learning rate about {limits.usual / max(ratios):.0e} times larger: "
            "by a rule of thumb updates are near 1e-3",
        ),
    )


def _decayed(reading: Reading, step: int) -> Finding:
    course = reading.course
    assert course is not None
    return remark(
        reading,
        code="FO301",
        label="flows",
        level="warning",
        claim=f"the learning rate has decayed to nothing: from step {step:,} of {course.steps:,} on it is a thousandth "
        "of its largest, or less",
        since=step,
        evidence=(Evidence(name="step from which the rate is gone", value=float(step), bound=math.nan, unit="steps"),),
        helps=("a schedule that lasts as long as the training: count in optimizer steps, not in epochs",),
    )


def _hardly_moved(reading: Reading, travelled: float, limits: Limits) -> Finding:
    course = reading.course
    assert course is not None
    return remark(
        reading,
        code="FO301",
        label="flows",
        level="warning",
        claim=f"{course.steps:,} steps move no layer further than {travelled:.1g} of its size: the learning rate is "
        "far too small",
        evidence=(Evidence(name="distance over size", value=travelled, bound=limits.still, unit="ratio"),),
        helps=(f"a learning rate about {max(10.0, 0.1 / travelled):.0e} times larger, found by doubling it",),
    )


def stale(reading: Reading, limits: Limits) -> Finding | None:
    """FO305: every step adds the gradients of all steps before it."""
    if reading.course is None or not reading.course.stale:
        return None
    return remark(
        reading,
        code="FO305",
        label="flows",
        level="warning",
        claim="the optimizer steps with gradients of earlier steps added to the new ones: nothing clears them",
        helps=("optimizer.zero_grad() before backward()",),
        wont=(WontHelp(what="a smaller learning rate alone", why="the direction is that of all batches so far"),),
    )


def nothing_moves(reading: Reading, limits: Limits) -> Finding | None:
    """FO303: steps after which every parameter is what it was."""
    course = reading.course
    if course is not None and course.unmoved:
        if course.skipped > limits.skipped * max(1, course.scaled):
            return None  # the scaler left them out, which is said
        claim = f"{course.steps:,} steps change no parameter at all"
    elif course is None and reading.optimizer and _frozen_rate(reading):
        claim = "the next step would change no parameter at all"
    else:
        return None
    return remark(
        reading,
        code="FO303",
        label="flows",
        level="warning",
        claim=f"{claim}: is optimizer.step() called, does it hold these parameters, is the rate zero?",
        helps=("calling optimizer.step() after backward()", "a learning rate above zero"),
    )


def _frozen_rate(reading: Reading) -> bool:
    rows = [layer for layer in reading.layers if layer.trained and layer.weight_gradient_norm > 0]
    return bool(rows) and all(layer.update_ratio == 0 for layer in rows)


def always_clipped(reading: Reading, limits: Limits) -> Finding | None:
    """FO214: clipping that bites at nearly every step is a learning rate in disguise."""
    course = reading.course
    if course is None or not course.clipped > limits.clipped or course.steps < 10:
        return None
    return remark(
        reading,
        code="FO214",
        label="flows",
        level="note",
        claim=f"gradient clipping bites at {course.clipped:.0%} of the steps: the step's length is set by the clip",
        evidence=(Evidence(name="steps clipped", value=course.clipped, bound=limits.clipped, unit="share"),),
        helps=(advise("a larger clipping norm, or a smaller learning rate", "clip", "slower"),),
    )


def unmoved(reading: Reading, limits: Limits) -> Finding | None:
    """FO215: a part that the optimizer holds and that never receives a gradient."""
    if reading.course is None:
        return _silent(reading)
    every = [set(still(probe)) for probe in probes(reading)]
    known = {*reading.detached, *reading.unrecorded, *_behind_the_dead(reading)}
    left = set.intersection(*every) - known if every else set()
    if not left or len(every) < 3:
        return None
    paths = [layer.path for layer in reading.layers if layer.path in left]
    return remark(
        reading,
        code="FO215",
        label="severed",
        level=_level(reading, limits) if 2 * len(paths) >= _held(reading) else "warning",
        claim=f"{_layers(reading, paths)} never receive{'s' if len(paths) == 1 else ''} a gradient "
        f"({len(every)} probes)",
        where=paths,
        evidence=(Evidence(name="layers without a gradient", value=float(len(paths)), bound=0.0, unit="layers"),),
        helps=("looking at how the loss depends on them", "leaving them out of the optimizer, if that is meant"),
    )


def _level(reading: Reading, limits: Limits) -> Level:
    return "alarm" if hindered(reading, limits) else blamed(reading, limits)


def _held(reading: Reading) -> int:
    """Layers that the optimizer is to train."""
    return sum(layer.trained and not math.isnan(layer.update_ratio) for layer in reading.layers)


def _layers(reading: Reading, paths: list[str]) -> str:
    """'the layer '6' (Linear)', '4 layers, 'body.0' to 'body.6','."""
    if len(paths) > 1:
        return f"{len(paths):,} layers, from {named(paths[0])} to {named(paths[-1])},"
    kind = next(layer.kind for layer in reading.layers if layer.path == paths[0])
    return f"the layer {named(paths[0])} ({kind})"


def _behind_the_dead(reading: Reading) -> list[str]:
    """Layers up to one that is dead in every probe: that it takes all of their gradient is told of it."""
    dead = set.intersection(
        *({r.path for r in p.layers if r.dead >= 1 and r.path not in p.bypassed} for p in probes(reading))
    )
    last = max((i for i, layer in enumerate(reading.layers) if layer.path in dead), default=-1)
    return [layer.path for layer in reading.layers[: last + 1]]


def _silent(reading: Reading) -> Finding | None:
    """What one step can say of it: parameters with a gradient of exact zeros, while others receive one."""
    if not reading.silent or reading.zero_weights or all_zero(reading) or not math.isfinite(reading.loss):
        return None
    explained = {layer.path for layer in reading.layers if layer.dead > 0}
    names = [name for name in reading.silent if name.rpartition(".")[0] not in explained]
    if not names or reading.ledger.decades == -math.inf:
        return None
    return remark(
        reading,
        code="FO215",
        label="severed",
        level="note",
        claim=f"{listed(names)} receive{'s' if len(names) == 1 else ''} a gradient of exactly zero on this batch",
        where=[name.rpartition(".")[0] for name in names],
        evidence=(Evidence(name="parameters with exact zeros", value=float(len(names)), bound=0.0, unit="parameters"),),
        helps=("looking at how the loss depends on them, and whether other batches do",),
    )


def _cut(reading: Reading) -> bool:
    return any(row.cut is not None for row in reading.time)


def answers_ignored(reading: Reading, limits: Limits) -> Finding | None:
    """FO304: the loss is the same whichever sample an answer belongs to."""
    signal = reading.signal
    ignored = reading.course.ignores_targets if reading.course is not None else signal and signal.ignores_targets
    if not ignored:
        return None
    shapes = signal.shapes if signal is not None else ""
    return remark(
        reading,
        code="FO304",
        label="flows",
        level="warning" if shapes else "note",
        claim=f"output and answers broadcast, {shapes}: every output is compared with the answers of all samples"
        if shapes
        else "the loss does not change when the answers are given to other samples: it ignores them",
        helps=("comparing the shapes of output and answers: (N, 1) against (N) makes N x N of them",)
        if shapes
        else ("looking at what the loss makes of its answers, if it is to read them",),
    )


def elsewhere(reading: Reading, limits: Limits) -> Finding | None:
    """FO302: nothing is learned, and the gradient is not why."""
    course = reading.course
    if course is None or learning(reading, limits) != "not" or course.broken is not None:
        return None
    if course.steps < limits.enough or course.unmoved or falling(reading):
        return None
    slowest = time_fade(course.probes[-1])
    if slowest is not None and slowest.early <= limits.time:
        return None  # along time it does not flow
    if not limits.calm_low <= course.probes[-1].ledger.decades <= limits.calm_high:
        return None
    return remark(
        reading,
        code="FO302",
        label="flows",
        level="note",
        claim=f"nothing is learned in {course.steps:,} steps, though the gradient flows: the cause lies "
        f"elsewhere ({'a memory that is cut, ' if _cut(reading) else ''}labels, rate, loss, data, or more steps)",
        evidence=(Evidence(name="progress", value=course.learned[-1], bound=limits.learns, unit="share"),),
        helps=(
            *raw_first(reading, limits),
            *_of_the_loss(reading, limits),
            "overfitting one batch: if that fails, look at loss and labels",
        ),
    )


def _of_the_loss(reading: Reading, limits: Limits) -> list[str]:
    """What the loss itself explains: it is certain, or it differentiates what has no second derivative."""
    found = []
    rows = probes(reading)[-1].silent_rows
    if rows >= limits.silent_rows:
        found.append(
            f"an output without a flat end (logits, no sigmoid or softmax before the loss): {rows:.0%} of the rows are "
            "wrong and send next to nothing back"
        )
    lost = dict(reading.ledger.by_kind).get("loss", 0.0)
    if reading.signal is not None and reading.signal.bends_twice:
        found.append(
            f"tanh, SiLU or sine in place of {reading.signal.bends_twice}: the loss holds derivatives of the network, "
            "and its second derivative is zero everywhere"
        )
    if math.isfinite(lost) and lost <= limits.faint_loss:
        found.append(
            f"a loss that still pushes: this one sends back 1e{lost:.0f} of itself, as an adversary does that is "
            "certain (the non-saturating form, or fewer steps for the adversary)"
        )
    return found
