"""Causes along time: what takes the decade that ends a recurrent layer's reach."""

import math

from fadeout.records import Ledger, TimeProfile
from fadeout.records.decades import log10

CLOSED, HALF_OPEN = "forget gates closed", "forget gates half open"
AJAR = 0.25  # kept a step, on average, from which a gate is no longer closed


def _gates(kept: float) -> str:
    return HALF_OPEN if kept >= AJAR else CLOSED


def cause_of(profile: TimeProfile, ledger: Ledger) -> str:
    """ "recurrent weight", "slope", "forget gates closed" or "half open", "decay", "truncation"; "" where none is told.

    A graph that ends before the decade is lost is truncation.  A gated layer whose gates alone
    account for half of the loss is told by them.  Elsewhere the loss a step is split into the
    activation's mean slope, as measured, and the rest, which is the weight's.
    """
    if not math.isfinite(profile.horizon):
        return "truncation" if profile.cut is not None and profile.horizon == math.inf else ""
    lag = max(1, min(len(profile.log_gain) - 1, math.ceil(profile.horizon)))
    lost = profile.log_gain[lag]
    if profile.cut is not None and lost == -math.inf:
        return "truncation"
    gates = {name: (is_open, slope) for name, is_open, slope in profile.gates}
    if profile.cause:  # a loop whose state passes nothing but these factors
        return _gates(gates.get("keep", (0.0, 0.0))[0]) if profile.cause == CLOSED else profile.cause
    rate = lost / lag
    for name in ("forget", "keep"):
        if name in gates:
            kept = gates[name][0]
            closed = log10(kept)
            return _gates(kept) if closed <= rate / 2 else "recurrent weight"
    if "state" in gates:
        slope = gates["state"][1]
        own = log10(slope)
        return "slope" if own < rate - own else "recurrent weight"
    kinds = dict(ledger.trunk.by_kind)  # other code: the way through most weights runs along time
    if kinds["slope"] == kinds["weight"] or min(kinds["slope"], kinds["weight"]) >= 0:
        return ""
    return "slope" if kinds["slope"] < kinds["weight"] else "recurrent weight"
