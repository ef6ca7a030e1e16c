"""FO103: no gradient at all reaches the first layers."""

import math

from fadeout.records import Evidence, Finding, Reading
from fadeout.rules.limits import Limits


def severed(reading: Reading, limits: Limits) -> Finding | None:
    """Exactly zero, or no path at all, between the loss and the first trained layers.

    A zero behind an all-zero parameter that itself receives a gradient is a zero-initialised
    head or gate and says nothing in one step: then the rule is silent.
    """
    return _no_path(reading) or _killed(reading)


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
    return _finding(
        reading,
        claim=f"no gradient path leads to the first {len(first)} of {len(trained)} trained layers",
        where=tuple(first),
        line="",
        helps=("removing the detach(), no_grad() or .data between them and the loss",),
    )


def _killed(reading: Reading) -> Finding | None:
    ledger = reading.ledger
    if ledger.decades != -math.inf or reading.zero_weights:
        return None
    killer = next((entry for entry in ledger.trunk.entries if entry.log_gain == -math.inf), None)
    where = tuple(dict.fromkeys(w.path for w in ledger.weights if w.norm == -math.inf))
    at = f" at {killer.path or killer.op} ({killer.op})" if killer else ""
    return _finding(
        reading,
        claim=f"the gradient ends{at}: exactly zero from there to the first layer",
        where=where,
        line=killer.line if killer else "",
        helps=(f"looking at what {killer.op} returns there: every slope is zero",) if killer else (),
    )


def _finding(reading: Reading, *, claim: str, where: tuple[str, ...], line: str, helps: tuple[str, ...]) -> Finding:
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
        confidence=0.9,
        cause=(),
        status="account",
        evidence=(Evidence(name="layers that receive nothing", value=float(len(where)), bound=0.0, unit="layers"),),
        helps=helps,
    )
