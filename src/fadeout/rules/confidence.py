"""Confidence: how often an alarm was right on programs that the rules were not made on.  No torch.

The counts are those of docs/truth.md, the sealed half (`python -m benchmarks.truth.score --half all`): alarms on a
sick program under an accepted label, over all alarms.  A code with few alarms there takes the figure of all codes.
tests/test_truth.py holds the table against the page.
"""

import math
from dataclasses import replace

from fadeout.records import Finding, Reading

ENOUGH = 20  # alarms of one code, from which its own figure is used
ALL = "any"
Counts = dict[str, tuple[int, int]]  # code -> (right, alarms)

ONE_STEP: Counts = {
    "any": (65, 73),
    "FO101": (7, 9),
    "FO102": (7, 8),
    "FO103": (15, 15),
    "FO104": (11, 13),
    "FO105": (11, 11),
    "FO106": (9, 11),
    "FO107": (5, 6),
}
COURSE: Counts = {
    "any": (78, 79),
    "FO101": (7, 7),
    "FO102": (15, 15),
    "FO103": (15, 15),
    "FO104": (12, 12),
    "FO105": (10, 10),
    "FO106": (11, 12),
    "FO107": (5, 5),
    "FO108": (3, 3),
}


def lower_end(right: int, alarms: int) -> float:
    """Lower end of Wilson's 95 % interval (Wilson 1927); nan without a case."""
    if not alarms:
        return math.nan
    z = 1.959964
    share = right / alarms
    spread = z * math.sqrt(share * (1 - share) / alarms + z * z / (4 * alarms * alarms))
    return (share + z * z / (2 * alarms) - spread) / (1 + z * z / alarms)


def confidence(code: str, counts: Counts) -> float:
    """The figure for one code."""
    own = counts.get(code, (0, 0))
    return lower_end(*(own if own[1] >= ENOUGH else counts[ALL]))


def with_confidence(finding: Finding, reading: Reading) -> Finding:
    """The finding with the measured figure; nan for warnings and notes, which nothing was held against."""
    if finding.level != "alarm":
        return replace(finding, confidence=math.nan)
    return replace(finding, confidence=confidence(finding.code, ONE_STEP if reading.course is None else COURSE))
