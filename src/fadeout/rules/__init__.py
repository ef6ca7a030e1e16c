"""rules: one file a finding.  Gives `diagnose`.  No torch."""

from collections.abc import Callable, Sequence

from fadeout.records import Finding, Reading
from fadeout.rules.exploding import exploding
from fadeout.rules.limits import LIMITS, Limits
from fadeout.rules.not_finite import not_finite
from fadeout.rules.severed import severed
from fadeout.rules.vanishing import vanishing
from fadeout.rules.verdict import sentence, verdict

Rule = Callable[[Reading, Limits], Finding | None]
RULES: tuple[Rule, ...] = (not_finite, severed, exploding, vanishing)  # in order of precedence


def diagnose(reading: Reading, *, rules: Sequence[Rule] = RULES, limits: Limits = LIMITS) -> tuple[Finding, ...]:
    """Every finding that the rules make of one reading, most important first.

    Args:
        reading: One step, measured.
        rules: Extend with `RULES + (mine,)`.
        limits: The bounds they hold numbers against.
    """
    return tuple(found for rule in rules if (found := rule(reading, limits)) is not None)


__all__ = ["LIMITS", "RULES", "Limits", "Rule", "diagnose", "sentence", "verdict"]
