"""Facts of a run that the terminal and the page both tell: names, what the watch took, what has gone."""

import math
from dataclasses import dataclass

from fadeout.records import Run, Track
from fadeout.render import words

LONG = 10.0  # seconds of a run from which a share of them means something
SMALL = 0.03  # of a run, up to which the share alone is told


def labels(run: Run) -> list[str]:
    """A name for each network, no two alike: "Net", "Net (2)", "Net, process 4711"."""
    processes = {track.process for track in run.tracks}
    found: list[str] = []
    seen: dict[str, int] = {}
    for track in run.tracks:
        name = track.name
        if len(processes) > 1:
            name = f"{name}, process {track.process.rpartition(':')[2]}"
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def took(run: Run) -> str:
    """What the watch took; "" where the run was too short for a share to say anything."""
    if math.isnan(run.share) or run.seconds < LONG:
        return ""
    if run.share <= SMALL:
        return f"the watch took {100 * run.share:.1f} % of {words.seconds(run.seconds)}"
    return (
        f"the watch took {words.seconds(run.watching)} of {words.seconds(run.seconds)}; the first seconds of probing "
        "are on credit, so its share falls as the run goes on"
    )


def judged(run: Run) -> bool:
    """Whether the run was judged at all: to the end, and on a probe."""
    return not run.gave_up and any(track.exam is not None for track in run.tracks)


def unjudged(run: Run) -> str:
    """Why nothing was judged, in a sentence."""
    if run.gave_up:
        return "the watch did not last to the end of the run, so nothing was judged"
    if not any(track.steps for track in run.tracks):
        return "no optimizer step was seen, so nothing was judged"
    return "no probe could be taken, so nothing was judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A finding that was told while the script ran and that no longer stands at the end.

    Attributes:
        gone: Step from which it was not found any more.
    """

    code: str
    level: str
    told: int
    gone: int


def past(track: Track) -> list[Past]:
    """Those of a track, in the order in which they were told."""
    stands = {finding.code for finding in track.exam.findings} if track.exam is not None else set()
    told: dict[str, tuple[int, str]] = {}
    gone: dict[str, int] = {}
    for one in track.noticed:
        if one.level == "gone":
            gone[one.code] = one.step
        elif one.code:
            told.setdefault(one.code, (one.step, one.level))
    return [
        Past(code=code, level=level, told=step, gone=gone[code])
        for code, (step, level) in told.items()
        if code in gone and code not in stands
    ]
