"""FO201: residual blocks of which most carry next to nothing."""

import math

from fadeout.records import Evidence, Finding, Reading, WontHelp
from fadeout.rules.build import advise, remark
from fadeout.rules.limits import Limits
from fadeout.rules.persistence import probes


def diluted(reading: Reading, limits: Limits) -> Finding | None:
    """Effective blocks below a third and a last quarter without a share, both worse than at step 0.

    Every pre-LN transformer starts uneven, so one step says nothing.  Source: arXiv:2502.05795 and trials.
    """
    rows = [probe.ledger.blocks for probe in probes(reading)]
    first, last = rows[0], rows[-1]
    if reading.course is None or first is None or last is None or len(last.blocks) < limits.deep:
        return None
    count = len(last.blocks)
    if not (math.isfinite(last.n) and math.isfinite(first.n)) or last.branch_total < limits.branches:
        return None
    late = [_late(blocks.blocks) for blocks in (first, last)]
    if not (last.n <= count / 3 and last.n < first.n and late[1] < 1 / (4 * count) and late[1] < late[0]):
        return None
    where = [block.path for block in last.blocks[-(count // 4) :]]
    return remark(
        reading,
        code="FO201",
        label="vanishing",
        claim=f"{count} residual blocks carry like {last.n:.0f}, and like {first.n:.0f} at the start: "
        f"the last quarter's branches have a share of {late[1]:.2g} each",
        where=where,
        evidence=(
            Evidence(name="effective blocks", value=last.n, bound=count / 3, unit="blocks"),
            Evidence(name="mean share of the last quarter", value=late[1], bound=1 / (4 * count), unit="share"),
        ),
        helps=(
            advise("a fixed branch multiplier of 1/sqrt(2 L)", "branch_scale"),
            "fewer blocks: skip a quarter of them and compare the loss",
        ),
        wont=(WontHelp(what="scaled initialisation", why="training undoes it within some hundred steps"),),
        since=reading.course.probes[-1].step,
    )


def _late(blocks: tuple[object, ...]) -> float:
    part = blocks[-max(1, len(blocks) // 4) :]
    return math.fsum(block.share for block in part) / len(part)  # type: ignore[attr-defined]
