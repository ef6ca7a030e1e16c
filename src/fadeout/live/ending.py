"""The ending: what a person is told when a watched run is over."""

import shlex
import sys
from pathlib import Path

from rich.console import Console

from fadeout.records import Run, Track
from fadeout.render.run.facts import labels, past, took
from fadeout.render.terminal import report
from fadeout.render.words import count

FINE = ("flows", "undetermined")
NO_STEP = (
    "fadeout: NO OPTIMIZER STEP WAS SEEN, so nothing can be said. fadeout sees the steps of torch.optim "
    "optimizers in this process and in Python processes that it starts."
)


def say(run: Run, path: Path) -> None:
    """The whole of it on the error stream: a sentence where all is well, the account and the advice where it is not."""
    console = Console(stderr=True)
    sick = [track for track in run.tracks if track.exam is not None and track.exam.verdict not in FINE]
    for track, name in zip(run.tracks, labels(run), strict=True):
        if track.exam is None or track not in sick:
            continue
        if len(run.tracks) > 1:
            print(f"fadeout: {name}", file=sys.stderr)
        console.print(report(track.exam, findings=1, next_steps=next_steps(run, path)))
    for line in lines(run, path, told=sick):
        print(line, file=sys.stderr, flush=True)


def next_steps(run: Run, path: Path) -> tuple[str, ...]:
    """What to type next."""
    race = [f"fadeout race {run.script}"] if run.script and not run.script.startswith("-c") else []
    return (*race, f"fadeout report {shlex.quote(str(path))} page.html")


def lines(run: Run, path: Path, told: list[Track] | None = None) -> list[str]:
    """The verdict of every network that was not told yet, what was seen, and where the report lies."""
    found = []
    for track, label in zip(run.tracks, labels(run), strict=True):
        name = f"{label}: " if len(run.tracks) > 1 else ""
        if track.exam is not None and track not in (told or []):
            found.append(f"fadeout: {name}{track.exam.sentence}")
        elif track.exam is None and track.steps:
            found.append(f"fadeout: {name}{count(track.steps, 'step')}, of which no probe could be taken: no verdict.")
        found += [
            f"fadeout: {name}{one.level} {one.code} was told at step {one.told:,} and is gone since step {one.gone:,}."
            for one in past(track)
        ]
    stepped = any(track.steps for track in run.tracks)
    if not stepped and not run.gave_up and not run.exit_code:  # a script that fails has its own message
        found.append(NO_STEP)
    found += [f"fadeout: {word}." for word in run.words]
    if stepped:
        where = "" if told else f"the report: fadeout report {shlex.quote(str(path))} page.html"
        last = "; ".join(part for part in (took(run), where) if part)
        found += [f"fadeout: {last}"] if last else []
    return found
