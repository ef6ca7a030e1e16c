"""The JSON contract of a run: the keys of the last probe's exam, and what was seen over the steps."""

import math
from typing import Any

from fadeout.records import Run, Samples, Track
from fadeout.store.contract import to_dict

SCHEMA = "fadeout.run/1"


def run_dict(run: Run) -> dict[str, Any]:
    """The run as dicts, lists, strings and numbers; the exam is that of a network with an alarm, if one has any."""
    judged = [t for t in run.tracks if t.exam is not None]
    sick = [t for t in judged if t.exam is not None and any(f.level == "alarm" for f in t.exam.findings)]
    main = next(iter([*sick, *judged, *run.tracks]), None)
    exam = to_dict(main.exam) if main is not None and main.exam is not None else {}
    return exam | {
        "schema": SCHEMA,
        "script": run.script,
        "started": run.started,
        "exit_code": run.exit_code,
        "steps": main.steps if main is not None else 0,
        "skipped": main.skipped if main is not None else 0,
        "samples": [_samples(s) for s in main.samples] if main is not None else [],
        "since": since(main),
        "watch": {"seconds": run.watching, "share": run.share},
        "words": list(run.words),
        "tracks": [_track(track) for track in run.tracks],
    }


def since(track: Track | None) -> dict[str, int]:
    """The step at which each finding was told first."""
    found: dict[str, int] = {}
    for noticed in track.noticed if track is not None else ():
        if noticed.code and noticed.level != "gone":
            found.setdefault(noticed.code, noticed.step)
    return found


def _samples(samples: Samples) -> dict[str, Any]:
    return {
        "metric": samples.metric,
        "names": list(samples.names),
        "first": list(samples.first),
        "last": list(samples.last),
        "low": [list(map(_plain, row)) for row in samples.low],
        "high": [list(map(_plain, row)) for row in samples.high],
    }


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _track(track: Track) -> dict[str, Any]:
    exam = track.exam
    return {
        "name": track.name,
        "optimizer": track.optimizer,
        "steps": track.steps,
        "skipped": track.skipped,
        "probes": list(track.probes),
        "ranks": track.ranks,
        "verdict": exam.verdict if exam is not None else None,
        "sentence": exam.sentence if exam is not None else "",
        "since": since(track),
    }
