"""Confidence: how often an alarm was right on the scoreboard, the lower end of Wilson's 95 % interval.  No torch.

python -m benchmarks.truth.score --half all prints the counts: alarms on a sick program with an
accepted label, over all alarms, both halves.
"""

from dataclasses import replace

from fadeout.records import Finding, Reading

ONE_STEP = 0.87  # 128 of 138
COURSE = 0.94  # 156 of 160


def with_confidence(finding: Finding, reading: Reading) -> Finding:
    """The finding with the measured figure; nan for warnings and notes, which nothing was held against."""
    if finding.level != "alarm":
        return replace(finding, confidence=float("nan"))
    return replace(finding, confidence=ONE_STEP if reading.course is None else COURSE)
