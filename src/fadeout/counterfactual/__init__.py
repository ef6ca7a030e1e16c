"""counterfactual: would the far end recover, if one thing were different?  Measured, not argued.

The change is made on the weights and the rows of the probe that shows the finding, the finding's own
quantity is measured, and the untreated network stands beside it as the control.
"""

import math
from dataclasses import replace

from fadeout.counterfactual.bench import Bench, measured
from fadeout.counterfactual.entry import Counterfactual
from fadeout.counterfactual.rectified import rectified
from fadeout.counterfactual.redrawn import redrawn
from fadeout.counterfactual.replayed import replayed
from fadeout.records import Cause, Evidence, Finding

COUNTERFACTUALS: tuple[Counterfactual, ...] = (  # in the order in which they are tried
    redrawn,
    rectified,
    replayed("slope"),
    replayed("weight"),
    replayed("norm"),
)
CONFIRMED = 2 / 3  # of the decades lost that a change brings back
REFUTED = 1 / 3
SHOWN = 1 / 2  # of the finding's decades that the untreated control must lose
BLOWN_UP = 3.0  # decades: a copy that explodes proves nothing


def can_confirm(finding: Finding) -> bool:
    """Whether there is a cause that a counterfactual can test: that of an alarm of vanishing."""
    tested = finding.code == "FO101" and finding.level == "alarm"
    return tested and bool(finding.cause) and math.isfinite(finding.decades)


def confirm(finding: Finding, bench: Bench) -> Finding:
    """The finding with its cause confirmed, refuted, or tested without an answer.

    A change that takes away another cause and brings the gradient back says that this other one it was:
    new weights with the same activation, where slopes were blamed.
    """
    cause = finding.cause[0].kind
    tests = [test for test in COUNTERFACTUALS if test.applies(cause, bench)]
    if not tests:
        return finding
    control = measured(bench) if math.isnan(bench.control) else bench.control
    found = _with(finding, "decades, untreated", control)
    if not control <= SHOWN * finding.decades:
        return replace(found, status="inconclusive")
    if any(test.confirms for test in tests):
        tests = [test for test in tests if test.confirms]
    for test in tests:
        left = test.left(bench)
        back = _recovered(control, left)
        if test.takes != cause:
            if back >= CONFIRMED:
                others = tuple(c for c in found.cause if c.kind not in (test.takes, cause))
                found = replace(found, cause=(Cause(kind=test.takes, share=min(1.0, back)), *others))
                return replace(_with(found, f"decades of {test.title}", left), status="confirmed")
            continue
        found = _with(found, f"decades of {test.title}", left)
        if math.isnan(back):
            return replace(found, status="inconclusive")
        if back < REFUTED:
            return replace(found, status="refuted")
        if not test.confirms:
            return found  # which repeats the account
        return replace(found, status="confirmed" if back >= CONFIRMED else "inconclusive")
    return found


def _recovered(control: float, left: float) -> float:
    """Part of the control's lost decades that came back, up to 1; nan where the copy proves nothing."""
    if math.isnan(left) or left > BLOWN_UP:
        return math.nan
    return 1.0 - left / control if left < 0 else 1.0


def _with(finding: Finding, name: str, value: float) -> Finding:
    if math.isnan(value):
        return finding
    return replace(
        finding,
        evidence=(*finding.evidence, Evidence(name=name, value=value, bound=math.nan, unit="decades")),
    )


__all__ = ["COUNTERFACTUALS", "Bench", "Counterfactual", "can_confirm", "confirm", "measured"]
