"""The ending: what a person is told when a watched run is over."""

import shlex
import sys
from pathlib import Path

from rich.console import Console

from fadeout.records import Run, Track
from fadeout.render.terminal import report
from fadeout.render.words import count

FINE = ("flows", "undetermined")


def say(run: Run, path: Path) -> None:
    """The whole of it on the error stream: a sentence where all is well, the account and the advice where it is not."""
    console = Console(stderr=True)
    sick = [track for track in run.tracks if track.exam is not None and track.exam.verdict not in FINE]
    for track in sick:
        assert track.exam is not None
        if len(run.tracks) > 1:
            print(f"fadeout: {track.name}", file=sys.stderr)
        console.print(report(track.exam, findings=1, next_steps=next_steps(run, path)))
    print("\n".join(lines(run, path, told=sick)), file=sys.stderr, flush=True)


def next_steps(run: Run, path: Path) -> tuple[str, ...]:
    """What to type next."""
    race = [f"fadeout race {run.script}"] if run.script and not run.script.startswith("-c") else []
    return (*race, f"fadeout report {shlex.quote(str(path))} page.html")


def lines(run: Run, path: Path, told: list[Track] | None = None) -> list[str]:
    """The verdict of every track that was not told yet, what was seen, and where the report lies."""
    found = []
    for track in run.tracks:
        name = f"{track.name}: " if len(run.tracks) > 1 else ""
        if track.exam is not None and track not in (told or []):
            found.append(f"fadeout: {name}{track.exam.sentence}")
        elif track.exam is None and track.steps:
            found.append(f"fadeout: {name}{count(track.steps, 'step')}, of which no probe could be taken: no verdict.")
    stepped = any(track.steps for track in run.tracks)
    if not stepped:
        found.append(
            "fadeout: NO OPTIMIZER STEP WAS SEEN, so nothing can be said. fadeout sees the steps of torch.optim "
            "optimizers in this process and in Python processes that it starts."
        )
    found += [f"fadeout: {word}." for word in run.words]
    if stepped:
        took = f"the watch took {100 * run.share:.1f} % of {run.seconds:.0f} s" if run.seconds > 0 else ""
        where = "" if told else f"; the report: fadeout report {shlex.quote(str(path))} page.html"
        found.append(f"fadeout: {took}{where}")
    return found
