"""Time and tokens as HTML tables."""

import math
from collections.abc import Sequence

from fadeout.render import across_tokens, along_time, tags, words


def recurrent(rows: Sequence[along_time.TimeRow], gates: Sequence[along_time.GateRow]) -> str:
    """Every recurrent layer with its horizon, gates, and what its parameters alone say."""
    body = [
        (
            row.path,
            row.remembers + (" (read with noise: the loss leaves out its end)" if row.by_noise else ""),
            " · ".join(along_time.openness(row)),
            row.one_step,
            along_time.forgets(row.gate_horizon, unit="steps", of="unit") if row.gate_horizon else "",
        )
        for row in rows
    ]
    body += [(gate.path, "", "", "", along_time.forgets(gate.span)) for gate in gates]
    heads = ["recurrent layer", "along time", "gates, mean", "one step's Jacobian", "by its parameters alone"]
    return _without_empty(heads, body)


def attentions(rows: Sequence[across_tokens.Attention]) -> str:
    """Every attention with its live rows, distance between tokens and entropy."""
    body = [
        (
            row.path,
            words.share(row.live_rows),
            words.UNKNOWN if math.isnan(row.apart) else words.number(row.apart),
            words.share(row.entropy),
            "" if math.isnan(row.branch_share) else words.share(row.branch_share),
            "" if math.isnan(row.influence) else words.number(row.influence),
        )
        for row in rows
    ]
    heads = ["attention", "live rows", "tokens apart", "entropy", "branch carries", "influence"]
    kept = [i for i in range(len(heads)) if any(row[i] for row in body)]
    return tags.table([heads[i] for i in kept], [[row[i] for i in kept] for row in body], paths=(0,))


def _without_empty(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    kept = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    return tags.table([heads[i] for i in kept], [[row[i] for i in kept] for row in rows], left=len(kept), paths=(0,))
