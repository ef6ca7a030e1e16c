"""rules: one file a finding.  Gives `diagnose`.  No torch."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from fadeout.records import Finding, Progress, Reading
from fadeout.rules import persistence
from fadeout.rules.attention import attention_saturated, tokens_alike
from fadeout.rules.bad_init import bad_init
from fadeout.rules.confidence import with_confidence
from fadeout.rules.dead import dead_units
from fadeout.rules.diluted import diluted
from fadeout.rules.exploding import exploding
from fadeout.rules.forgetting import forgetting
from fadeout.rules.gates import hasty_gates, truncated
from fadeout.rules.limits import LIMITS, Limits
from fadeout.rules.not_finite import not_finite
from fadeout.rules.numbers import below_eps, flushed
from fadeout.rules.plasticity import dormant, noisy, norm_statistics, shattered, tanh_for_norm
from fadeout.rules.saturated import saturated
from fadeout.rules.severed import nothing_at_all, severed
from fadeout.rules.streams import streams
from fadeout.rules.training import (
    always_clipped,
    answers_ignored,
    elsewhere,
    nothing_moves,
    rate_too_high,
    rate_too_low,
    stale,
    unmoved,
)
from fadeout.rules.untrained import unheld, unregistered
from fadeout.rules.vanishing import vanishing
from fadeout.rules.verdict import sentence, verdict
from fadeout.rules.wiring import misplaced_activation, no_nonlinearity, raw_input

Rule = Callable[[Reading, Limits], Finding | None]
RULES: tuple[Rule, ...] = (  # in order of precedence
    not_finite,
    severed,
    exploding,
    bad_init,
    dead_units,
    saturated,
    vanishing,
    forgetting,
    diluted,
    streams,
    attention_saturated,
    hasty_gates,
    flushed,
    below_eps,
    truncated,
    tokens_alike,
    rate_too_high,
    unregistered,
    unheld,
    no_nonlinearity,
    misplaced_activation,
    raw_input,
    stale,
    always_clipped,
    norm_statistics,
    shattered,
    noisy,
    dormant,
    tanh_for_norm,
    unmoved,
    rate_too_low,
    nothing_moves,
    answers_ignored,
    elsewhere,
)

_BREAKS = ("FO102", "FO104")
AT_ONCE = 3  # steps after which a break is no consequence of what stood at the start: it is that start


def diagnose(reading: Reading, *, rules: Sequence[Rule] = RULES, limits: Limits = LIMITS) -> tuple[Finding, ...]:
    """Every finding that the rules make of one reading, or of a course of them, most important first.

    Args:
        reading: One step, measured; with its `course` if training steps followed.
        rules: Extend with `RULES + (mine,)`.
        limits: The bounds they hold numbers against.
    """
    found = [f for rule in rules if (f := rule(reading, limits)) is not None]
    if severed in rules and not any(f.level == "alarm" for f in found):
        last = nothing_at_all(reading, limits)
        found += [last] if last is not None else []
    fitting = _fitting([_excused(f, reading, limits) for f in found])
    broken = max((f.since for f in fitting if f.level == "alarm" and f.code in _BREAKS), default=0)
    return tuple(with_confidence(f, reading) for f in sorted(fitting, key=lambda finding: _rank(finding, broken)))


def _excused(finding: Finding, reading: Reading, limits: Limits) -> Finding:
    """An alarm that another cause explains is a warning.

    Gradients that nobody clears drive a network anywhere, so what comes after the start came of them; but what is not
    finite any more is told as that.  And steps that move nothing show no more of a fade than one step does: a part that
    starts at zero stays shut.
    """
    course = reading.course
    if course is None or finding.level != "alarm":
        return finding
    driven = course.stale and finding.since > 0 and course.broken is None
    still = 0 <= course.travelled < limits.still and course.steps >= limits.enough
    doubtful = finding.code == "FO101" and still and vanishing(replace(reading, course=None), limits) is None
    return replace(finding, level="warning") if driven or doubtful else finding


def _rank(finding: Finding, broken: int) -> tuple[int, int]:
    """Alarms first, the earlier sign before the later; then raw inputs, then in the order of the rules.

    A large first output is the way in which a training breaks, so it comes behind a break.
    """
    order = {"alarm": 0, "warning": 1, "note": 2}[finding.level]
    if finding.level == "alarm":
        if finding.code == "FO107" and broken:
            return order, max(finding.since, broken + 1)
        return order, max(finding.since, broken) if broken <= AT_ONCE else finding.since
    return order, 0 if finding.code == "FO212" else 1


def _fitting(found: Sequence[Finding]) -> list[Finding]:
    """Without what makes no sense beside the rest.

    "Though the gradient flows" (FO302) is no word beside an alarm; what float16 would do (FO205) is none of a network
    in which nothing fades and that does not run in float16.
    """
    alarmed = any(finding.level == "alarm" for finding in found)
    fading = any(finding.label == "vanishing" and finding.level != "note" for finding in found)
    idle = {"FO302"} if alarmed else set()
    return [f for f in found if f.code not in idle and (f.code != "FO205" or f.level != "note" or fading)]


def progress(reading: Reading, findings: Sequence[Finding], *, limits: Limits = LIMITS) -> Progress:
    """Whether the copy learns, learns in spite of a severe sign, or does not learn; unknown in one step."""
    severe = any(finding.level in ("alarm", "warning") for finding in findings)
    return persistence.progress(reading, severe=severe, limits=limits)


__all__ = ["LIMITS", "RULES", "Limits", "Rule", "diagnose", "progress", "sentence", "verdict"]
