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
            along_time.forgets(row.gate_horizon, unit="steps", of="unit") if row.gate_horizon else "",
        )
        for row in rows
    ]
    body += [(gate.path, "", "", along_time.forgets(gate.span)) for gate in gates]
    return _without_empty(["recurrent layer", "along time", "gates, mean", "by its parameters alone"], body)


def attentions(rows: Sequence[across_tokens.Attention]) -> str:
    """Every attention with its live rows, distance between tokens and entropy."""
    body = [
        (
            row.path,
            words.share(row.live_rows),
            words.UNKNOWN if math.isnan(row.apart) else words.number(row.apart),
            words.share(row.entropy),
        )
        for row in rows
    ]
    return tags.table(["attention", "live rows", "tokens apart", "entropy"], body, paths=(0,))


def _without_empty(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    kept = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    return tags.table([heads[i] for i in kept], [[row[i] for i in kept] for row in rows], left=len(kept), paths=(0,))
