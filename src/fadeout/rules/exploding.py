"""FO102: the gradient grows by orders of magnitude towards the first layer, or the training blows up."""

import math

from fadeout.records import Advice, Course, Evidence, Finding, Kind, Level, Reading, WontHelp
from fadeout.rules.build import advise, advised, named, remark
from fadeout.rules.causes import causes_by_account
from fadeout.rules.factors import main_factor, near_one
from fadeout.rules.few_values import few_values, gained, of_pairs, on_this_batch
from fadeout.rules.limits import Limits
from fadeout.rules.persistence import learning, probes, smoothed, stands
from fadeout.rules.signs import growth, raw_first, unjudged

ABSURD = 1e3  # times the loss of the best constant output
_HELPS: dict[Kind, tuple[Advice | str, ...]] = {
    "weight": (
        advise("smaller initial weights (He or Glorot)", "critical_init"),
        advise("scaling residual branches by 1/sqrt(L)", "branch_scale"),
        advise("pre-norm blocks", "pre_norm"),
    ),
    "norm": ("fewer normalisations in a plain stack, or residual connections around them", "a larger batch"),
    "slope": ("an activation with bounded slope", advise("smaller initial weights", "critical_init")),
    "mix": ("scaling the mixing by its fan-in",),
    "skip": (
        advise("scaling residual branches by 1/sqrt(L)", "branch_scale"),
        advise("zero-initialised branches", "rezero"),
    ),
}


def exploding(reading: Reading, limits: Limits) -> Finding | None:
    """A training that blows up, or a gradient that arrives many decades larger at the first layers."""
    return _diverged(reading, limits) or _grown(reading, limits)


def _diverged(reading: Reading, limits: Limits) -> Finding | None:
    """Losses or parameters that stop being finite, or a last loss far above the first and the constant's."""
    course = reading.course
    if course is None or sudden(reading, limits):
        return None
    broken = course.broken is not None
    name, value, bound, unit = "step at which it stopped being finite", float(course.broken or 0), math.nan, "steps"
    if not broken:
        risen = _risen(reading, limits)
        if risen:
            name, value, bound, unit = "last loss over the first", risen, limits.diverged, "ratio"
        elif course.growth > limits.grown and learning(reading, limits) != "well":
            name, value, bound, unit = "size of the parameters over the start's", course.growth, limits.grown, "ratio"
        else:
            return None
    paths = _blamed(reading, limits)
    ratio = dict(course.updates).get(paths[0], math.nan) if paths else math.nan
    hot = ratio > 0.1
    claim = (
        f"training stops being finite at step {course.broken:,}"
        if broken
        else f"training diverges: the {name} is {value:.3g}"
    )
    if hot:
        claim += f"; the first updates change {named(paths[0])} by {ratio:.0%} of its weights"
    return remark(  # no cause: the account of step 0 says nothing of what the steps did
        reading,
        code="FO102",
        label="exploding",
        level="alarm",
        claim=claim,
        where=paths,
        since=_begun(course, limits),
        evidence=(
            Evidence(name=name, value=value, bound=bound, unit=unit),
            Evidence(name="largest update ratio of the first steps", value=ratio, bound=limits.update, unit="ratio"),
        ),
        helps=(
            *raw_first(reading, limits),
            advise("a smaller learning rate, with warm-up", "slower", "warmup"),
            advise("gradient clipping by norm", "clip"),
            advise("smaller initial weights", "critical_init"),
        ),
        wont=(WontHelp(what="training longer", why="what is not finite stays so"),) if broken else (),
    )


def _begun(course: Course, limits: Limits) -> int:
    """The step at which a divergence began: its first loss beyond the bound; where none is, that of the break."""
    start = max((v for v in (course.losses[0], course.probes[0].loss) if math.isfinite(v)), default=math.inf)
    end = course.broken if course.broken is not None else course.steps
    beyond = (n for n, loss in enumerate(course.losses, 1) if not loss <= limits.diverged * start)
    return min(next(beyond, end), end) if start > 0 else end


def _risen(reading: Reading, limits: Limits) -> float:
    """Last loss over the first where it has grown too large; 0 where not, or where the two say nothing.

    The first is the one before any step, of several batches: what a tenth of the steps lost already is no bar.  A loss
    that no constant can be held against may rise for good reasons (a policy's, an adversary's), so it takes a second
    sign: updates as large as the weights, parameters that swell, or a rise beyond any reason.
    """
    course = reading.course
    assert course is not None
    known = [v for v in course.losses if math.isfinite(v)]
    if course.backwards > 1 or course.ignores_targets or not known or min(known) < 0:
        return 0.0
    begun = [v for v in (course.losses[0], course.probes[0].loss, course.constant) if math.isfinite(v)]
    start, last = max(begun, default=0.0), smoothed(course.losses, end=True)
    if not start > 0 or not last > limits.diverged * start or not course.losses[-1] > start:
        return 0.0
    hot = max((r for _, r in course.updates if not math.isnan(r)), default=0.0) > limits.wild
    second = hot or course.growth > limits.swells or last > limits.leaps * start
    return last / start if math.isfinite(course.constant) or second else 0.0


def sudden(reading: Reading, limits: Limits) -> bool:
    """Training stops being finite out of calm: no loss had grown, no update was wild."""
    course = reading.course
    if course is None or course.broken is None:
        return False
    before = [v for v in course.losses[: course.broken - 1] if math.isfinite(v)]
    before = before or [probe.loss for probe in course.probes[:1] if math.isfinite(probe.loss)]
    wild = max((r for _, r in course.updates if not math.isnan(r)), default=0.0) > limits.wild
    if not before or wild:
        return False
    return max(before[-3:]) <= 2 * before[0]


def _blamed(reading: Reading, limits: Limits) -> tuple[str, ...]:
    """Layers with the largest update ratios of the first steps, else the largest gradient."""
    course = reading.course
    assert course is not None
    loud = _loud(reading, limits)
    top = [(path, ratio) for path, ratio in course.updates if ratio > 0]
    if loud:
        return tuple(dict.fromkeys([loud, *(path for path, _ in top[:3])]))
    if top:
        return tuple(path for path, ratio in top if ratio >= 0.3 * top[0][1])[:8]
    trunk = [w for w in reading.ledger.weights if math.isfinite(w.norm)]
    return (max(trunk, key=lambda w: w.norm).path,) if trunk else ()


def _loud(reading: Reading, limits: Limits) -> str:
    """The one layer whose output is ten times what entered it, in the forward of step 0."""
    grown = dict(growth(reading))
    order = sorted(grown, key=lambda path: -grown[path])
    alone = len(order) > 1 and grown[order[0]] >= limits.loud and grown[order[0]] >= 3 * grown[order[1]]
    return order[0] if alone else ""


def _grown(reading: Reading, limits: Limits) -> Finding | None:
    flags = [_explodes(probe, limits) for probe in probes(reading)]
    level: Level = "alarm"
    chance = ""
    if reading.course is not None:
        how = learning(reading, limits)
        if not stands(flags) or (how == "well" and not all(flags)):
            return None
        mild = how == "well" or (how == "little" and not all(flags))
        level = "warning" if mild and not _absurd(reading) else "alarm"
    elif not flags[0]:
        return None
    elif unjudged(reading, _grows(reading), limits):
        level = "warning"
    at = next((p for p, flag in zip(probes(reading), flags, strict=True) if flag), reading)
    decades = at.ledger.opened
    if of_pairs(at) or (few_values(at) and _grows(at) - gained(at) < limits.exploding):
        level, chance = "warning", on_this_batch(at)
    causes = causes_by_account(at, sign=1, without=("loss",))
    main = causes[0].kind if causes else "weight"
    trunk = [w for w in at.ledger.weights if w.trunk] or list(at.ledger.weights)
    largest = max(trunk, key=lambda w: w.norm)
    return Finding(
        code="FO102",
        label="exploding",
        level=level,
        claim=f"the gradient grows by {decades:.1f} decades between the last weight layer and the first{chance}",
        where=(largest.path,),
        line=largest.line,
        decades=decades,
        expected=math.nan,
        since=at.step,
        confidence=math.nan,
        cause=causes,
        status="account",
        evidence=(
            Evidence(
                name="decades, first over last weight layer",
                value=decades,
                bound=limits.exploding,
                unit="decades",
            ),
        ),
        advice=advised((*near_one(main_factor(at, sign=1)), *_HELPS.get(main, _HELPS["weight"]))),
    )


def _absurd(reading: Reading) -> bool:
    """Steps later the loss is still far above what a constant output gets, however much it has fallen."""
    course = reading.course
    return course is not None and course.constant > 0 and course.probes[-1].loss > ABSURD * course.constant


def _explodes(probe: Reading, limits: Limits) -> bool:
    return math.isfinite(probe.ledger.opened) and _grows(probe) >= limits.exploding


def _grows(probe: Reading) -> float:
    """Decades gained, but for what a norm that reads the first layer makes of that layer's own scale.

    Weights of 1e-4 in front of a norm (RWKV's embedding) receive a gradient 1e4 times as large, and that is all.
    """
    scale, normed = 0.0, False
    entries = list(reversed(probe.ledger.trunk.entries))
    for entry in entries[1:] if entries and entries[0].kind == "weight" else entries:
        if entry.kind == "weight":
            break
        normed = normed or entry.kind == "norm"
        # a norm written by hand is several operations, some of whose ways meet
        scale += entry.log_gain if entry.kind in ("norm", "skip") else 0.0
    return probe.ledger.opened - (max(scale, 0.0) if normed else 0.0)
