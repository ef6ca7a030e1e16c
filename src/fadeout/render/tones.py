"""Tones: how strongly something is coloured; bad only in the direction in which the exam says that it is bad."""

import math
from dataclasses import dataclass
from typing import Literal

from fadeout.records import Exam, Kind, Level, Verdict

Tone = Literal["plain", "mild", "warm", "bad"]
TONES: tuple[Tone, ...] = ("plain", "mild", "warm", "bad")
STEPS: dict[Tone, float] = {"mild": 1.3, "warm": 2.0, "bad": 4.0}  # decades; for the eye, no verdict rests on them
VERDICT_TONES: dict[Verdict, Literal["good", "open"]] = {"flows": "good", "undetermined": "open"}  # else bad

_FADING: tuple[Verdict, ...] = ("vanishing", "severed", "dead", "saturated")
_THROUGH_TIME = "FO108"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is wrong with an exam's decades.

    Attributes:
        sign: -1 where fading is bad, 1 where growing is, 0 where nothing is.
        most: The strongest tone that may be used.
        kinds: The kinds blamed; empty where nobody is.
    """

    sign: int
    most: Tone
    kinds: tuple[Kind, ...] = ()


NOTHING = Trouble(sign=0, most="plain")


def verdict_tone(exam: Exam) -> Literal["good", "open", "bad"]:
    """Good only where nothing speaks against it: a network that learns nothing is not well, whatever flows."""
    if exam.verdict == "flows" and exam.progress == "does_not_learn":
        return "open"
    return VERDICT_TONES.get(exam.verdict, "bad")


def trouble(exam: Exam) -> Trouble:
    """Red for what an alarm is about, yellow at most for a warning, no colour in a healthy network."""
    if exam.verdict == "undetermined":
        return NOTHING
    worst: tuple[tuple[Level, Tone], ...] = (("alarm", "bad"), ("warning", "mild"))
    for level, most in worst:
        for finding in exam.findings:
            sign = _sign(finding.label)
            if finding.level == level and sign and finding.code != _THROUGH_TIME:
                return Trouble(sign=sign, most=most, kinds=tuple(c.kind for c in finding.cause))
    sign = 0 if exam.findings else _sign(exam.verdict)
    return Trouble(sign=sign, most="bad" if sign else "plain")


def _sign(word: Verdict) -> int:
    return -1 if word in _FADING else 1 if word == "exploding" else 0


def of_gap(found: Trouble, gap: float) -> Tone:
    """The tone of a layer `gap` decades away from the last one."""
    amount = gap * found.sign
    if math.isnan(amount):
        return "plain"
    fits: Tone = "plain"
    for tone, bound in STEPS.items():
        if amount > bound and TONES.index(tone) <= TONES.index(found.most):
            fits = tone
    return fits


def of_kind(found: Trouble, kind: Kind, decades: float) -> Tone:
    """The tone of what a kind does: only who is blamed, and only in the direction that is bad."""
    if math.isnan(decades) or decades * found.sign <= 0:
        return "plain"
    return found.most if kind in found.kinds or not found.kinds or math.isinf(decades) else "plain"


def of_lag(exam: Exam, path: str, decades: float) -> Tone:
    """The tone of a gradient `decades` below the last time step: bad only where an alarm says that it is missed."""
    missed = any(f.code == _THROUGH_TIME and f.level == "alarm" and path in f.where for f in exam.findings)
    return of_gap(Trouble(sign=-1, most="bad"), decades) if missed else "plain"


def worst(tones: list[Tone]) -> Tone:
    return max(tones, key=TONES.index, default="plain")
