"""FO102: the gradient grows by orders of magnitude on its way from the last layer to the first."""

import math

from fadeout.records import Evidence, Finding, Kind, Reading
from fadeout.rules.causes import causes_by_account
from fadeout.rules.limits import Limits

_HELPS: dict[Kind, tuple[str, ...]] = {
    "weight": (
        "smaller initial weights (He or Glorot)",
        "scaling residual branches by 1/sqrt(L)",
        "pre-norm blocks",
    ),
    "norm": ("fewer normalisations in a plain stack, or residual connections around them", "a larger batch"),
    "slope": ("an activation with bounded slope", "smaller initial weights"),
    "mix": ("scaling the mixing by its fan-in",),
    "skip": ("scaling residual branches by 1/sqrt(L)", "zero-initialised branches"),
}


def exploding(reading: Reading, limits: Limits) -> Finding | None:
    """A gradient that arrives at the first layers many decades larger than at the last."""
    decades = reading.ledger.decades
    if not (math.isfinite(decades) and decades >= limits.exploding):
        return None
    causes = causes_by_account(reading, sign=1, without=("loss",))
    main = causes[0].kind if causes else "weight"
    trunk = [w for w in reading.ledger.weights if w.trunk] or list(reading.ledger.weights)
    largest = max(trunk, key=lambda w: w.norm)
    return Finding(
        code="FO102",
        label="exploding",
        level="alarm",
        claim=f"the gradient grows by {decades:.1f} decades between the last weight layer and the first",
        where=(largest.path,),
        line=largest.line,
        decades=decades,
        expected=math.nan,
        since=reading.step,
        confidence=0.9 if decades >= limits.exploding + 1 else 0.7,
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
        helps=_HELPS.get(main, _HELPS["weight"]),
    )
