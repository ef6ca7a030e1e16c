"""FO204: gates that by their parameters alone forget within a token, before any data is seen."""

import math

from fadeout.records import Evidence, Finding, Reading, TimeProfile, WontHelp
from fadeout.rules.build import advise, listed, named, remark
from fadeout.rules.limits import Limits
from fadeout.rules.persistence import learning

_TORCH = ("LSTM", "GRU")


def hasty_gates(reading: Reading, limits: Limits) -> Finding | None:
    """Recurrences whose median head loses a decade within a token.  Source: trials."""
    rows = [row for row in reading.time if row.gate_horizon is not None and _median(row) < limits.token]
    if not rows:
        return None
    worst = min(rows, key=_median)
    span = worst.gate_horizon
    assert span is not None
    return remark(
        reading,
        code="FO204",
        label="vanishing",
        claim=f"{listed([row.path for row in rows])} forget{'s' if len(rows) == 1 else ''} a decade in "
        f"{span.median:.2g} tokens as initialised (slowest head {span.slowest:.2g})",
        where=[row.path for row in rows],
        evidence=(
            Evidence(name="tokens to a decade, median head", value=span.median, bound=limits.token, unit="tokens"),
            Evidence(name="tokens to a decade, slowest head", value=span.slowest, bound=math.nan, unit="tokens"),
        ),
        helps=(
            (advise("a forget bias of 1 or more, or chrono initialisation", "forget_bias", "chrono"),)
            if span.family.startswith(_TORCH)
            else (advise("drawing dt log-uniformly from 0.001 to 0.1, as the originals do", "dt_bias"),)
        ),
        wont=(WontHelp(what="a longer sequence", why="what is forgotten within a token is not there later"),),
    )


def _median(row: TimeProfile) -> float:
    return row.gate_horizon.median if row.gate_horizon is not None else math.inf


def truncated(reading: Reading, limits: Limits) -> Finding | None:
    """FO207: the graph of a recurrence ends before its sequence does."""
    row = next((row for row in reading.time if row.cut is not None), None)
    if row is None or row.cut is None:
        return None
    cut = row.cut
    how = f"{cut.op}()" if cut.op else "no_grad, .data or a copy"
    place = f" at {cut.line}" if cut.line else ""
    before = f"step {cut.step:,} of {row.steps:,}" if cut.step else "the first step"
    return remark(
        reading,
        code="FO207",
        label="severed",
        level="warning" if learning(reading, limits) in ("not", "little") else "note",
        claim=f"backpropagation through time in {named(row.path)} is cut before {before} by {how}{place}",
        where=(row.path,),
        line=cut.line,
        evidence=(
            Evidence(
                name="steps that receive a gradient", value=float(row.steps - cut.step), bound=math.nan, unit="steps"
            ),
        ),
        helps=(advise("longer chunks between detach() calls, where the task needs a longer memory", "keep_graph"),),
    )
