"""The schedule: after which steps a probe is taken, and how many rows it looks at."""

from typing import Any

from fadeout.call.batch import tensors

FIRST = (0, 3, 6, 11, 21)  # steps after which probes are taken; from there on GROWTH times further
GROWTH = 1.9
ROWS = 512  # of a probe up to step FIRST[-1]: several batches, so that one odd batch decides nothing
FEWEST = 48  # rows of a later one, however short the course
LATER = 0.05  # of the rows that all steps read, for all later probes together: they cost two steps a row


def schedule(steps: int) -> tuple[int, ...]:
    """Steps after which probes are taken: 0, 3, 6, 11, 21, 40, ... and the last."""
    found = [n for n in FIRST if n < steps]
    while found[-1] >= FIRST[-1] and found[-1] * GROWTH * 1.3 < steps:
        found.append(round(found[-1] * GROWTH))
    return (*found, steps)


def late_rows(batch: Any, steps: int) -> int:
    """Rows of a probe after FIRST[-1]: all of these together read LATER of what the steps read."""
    size = max((len(t) for t in tensors(batch) if t.dim()), default=1)
    late = [n for n in schedule(steps) if n > FIRST[-1]]
    return max(FEWEST, min(ROWS, int(LATER * steps * size / len(late)))) if late else ROWS
