"""Few values: what batch norms that see a few values a channel make of the gradient, on this batch only."""

import math

from fadeout.records import FewValues, Reading
from fadeout.rules.build import named


def few_values(probe: Reading) -> tuple[FewValues, ...]:
    """Batch norms on the trunk that see a few values only."""
    trunk = {entry.path for entry in probe.ledger.trunk.entries if entry.kind == "norm"}
    return tuple(norm for norm in probe.few_values if norm.path in trunk)


def gained(probe: Reading) -> float:
    """Decades that chance adds at them: channels whose values happen to lie close together."""
    return math.fsum(norm.excess for norm in few_values(probe))


def of_pairs(probe: Reading) -> bool:
    """Whether one normalises two values, to +1 and -1 whatever they are: what passes it is rounding and `eps`."""
    return any(norm.values == 2 for norm in few_values(probe))


def on_this_batch(probe: Reading) -> str:
    """' on this batch: batch norm takes its statistics from 4 values at bn and 2 more'."""
    few = few_values(probe)
    least = min(few, key=lambda norm: norm.values)
    more = f" and {len(few) - 1} more" if len(few) > 1 else ""
    return f" on this batch: batch norm takes its statistics from {least.values} values at {named(least.path)}{more}"
