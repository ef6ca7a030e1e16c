"""FO202: several residual streams whose composite gain over depth leaves 1, or that become one."""

import math

from fadeout.records import Evidence, Finding, Reading
from fadeout.rules.build import remark
from fadeout.rules.limits import Limits


def streams(reading: Reading, limits: Limits) -> Finding | None:
    """The product of all mixings, forward and backward.  Source: arXiv:2512.24880 and trials."""
    found = reading.streams
    if found is None:
        return None
    widest = max(abs(math.log10(v)) if v > 0 else math.inf for v in (found.forward, found.backward))
    gains = max(widest, found.columns)
    collapsed = found.distinct < limits.distinct
    inside = found.path.rpartition(".")[0]
    starved = [name for name in reading.zero_gradients if inside and name.startswith(f"{inside}.")]
    if gains < limits.composite and not collapsed and not starved:
        return None
    claim = f"{found.width} residual streams through {found.layers} mixings: "
    if gains >= limits.composite:
        claim += f"composite gain {found.forward:.3g} forward, {found.backward:.3g} backward"
    elif not collapsed:
        claim += f"{starved[0]} receives exactly no gradient: its routing never moves"
    else:
        claim += f"{found.distinct:.1g} of their differences is left, one stream in practice"
    return remark(
        reading,
        code="FO202",
        label="exploding" if max(found.forward, found.backward) > 10 else "vanishing",
        level="warning" if gains >= limits.composite else "note",
        claim=claim,
        where=(found.path,) if found.path else (),
        evidence=(
            Evidence(name="composite gain forward", value=found.forward, bound=10**limits.composite, unit="ratio"),
            Evidence(name="composite gain backward", value=found.backward, bound=10**limits.composite, unit="ratio"),
            Evidence(name="differences left", value=found.distinct, bound=limits.distinct, unit="share"),
        ),
        helps=("a mixture of permutations, or doubly stochastic mixings in float32", "off-diagonal logits above -4"),
    )
