"""The ending: what a person is told when a watched run is over."""

from pathlib import Path

from fadeout.records import Run
from fadeout.render.words import count


def ending(run: Run, path: Path) -> str:
    """The verdict of every track, what was seen, and where the report lies."""
    lines = []
    for track in run.tracks:
        name = f"{track.name}: " if len(run.tracks) > 1 else ""
        if track.exam is not None:
            lines.append(f"fadeout: {name}{track.exam.sentence}")
        elif track.steps:
            lines.append(f"fadeout: {name}{count(track.steps, 'step')}, of which no probe could be taken: no verdict.")
    if not any(track.steps for track in run.tracks):
        lines.append(
            "fadeout: NO OPTIMIZER STEP WAS SEEN, so nothing can be said. fadeout sees the steps of torch.optim "
            "optimizers in this process and in Python processes that it starts."
        )
    lines += [f"fadeout: {word}." for word in run.words]
    if any(track.steps for track in run.tracks):
        took = f", the watch took {100 * run.share:.1f} % of {run.seconds:.0f} s" if run.seconds > 0 else ""
        lines.append(f"fadeout: the report: fadeout report {path} page.html{took}")
    return "\n".join(lines)
