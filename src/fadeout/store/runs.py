"""Runs: what a watch has seen of a training script, in one SQLite file that readers may open at any time.

Values are float32 blobs, one row a bin and quantity.  A bin covers the steps from `first` to `last` and holds
the smallest and the largest value over them; when there are too many, the older half is joined in pairs, so
that a run of any length stays small and no extreme is lost.
"""

import json
import math
import os
import time
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fadeout.errors import FadeoutError
from fadeout.records import Exam, Noticed, Run, Samples, Track
from fadeout.store.contract import from_dict, json_text, to_dict
from fadeout.store.database import Database, Layout

BINS = 2048  # of each quantity; the older half is joined in pairs when there are more
LAYOUT = Layout(
    verb="run",
    holds="runs",
    application=0x0FADE01B,
    version=1,
    tables="""
CREATE TABLE told (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE track (id INTEGER PRIMARY KEY, process TEXT NOT NULL, name TEXT NOT NULL, optimizer TEXT NOT NULL,
    names TEXT NOT NULL, steps INTEGER NOT NULL DEFAULT 0, skipped INTEGER NOT NULL DEFAULT 0,
    sharded INTEGER NOT NULL DEFAULT 0);
CREATE TABLE bin (track INTEGER NOT NULL, metric TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    low BLOB NOT NULL, high BLOB, PRIMARY KEY (track, metric, first)) WITHOUT ROWID;
CREATE TABLE probe (track INTEGER NOT NULL, step INTEGER NOT NULL, PRIMARY KEY (track, step)) WITHOUT ROWID;
CREATE TABLE exam (track INTEGER PRIMARY KEY, step INTEGER NOT NULL, exam BLOB NOT NULL);
CREATE TABLE noticed (track INTEGER NOT NULL, step INTEGER NOT NULL, code TEXT NOT NULL, level TEXT NOT NULL,
    text TEXT NOT NULL);
CREATE TABLE spent (process TEXT PRIMARY KEY, seconds REAL NOT NULL, watching REAL NOT NULL) WITHOUT ROWID;
""",
    instead="name another file",
)
Bin = tuple[str, int, int, bytes, bytes | None]  # metric, first, last, low, high


def blob(values: Sequence[float]) -> bytes:
    """Values as float32."""
    return array("f", values).tobytes()


def values_of(data: bytes) -> tuple[float, ...]:
    """What a blob holds."""
    found = array("f")
    found.frombytes(data)
    return tuple(found)


class Runs:
    """One file, one run.  Several processes may write into it; each commits whole batches.

    Raises:
        FadeoutError: If the file is none of ours, is damaged or can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._base = Database(path, LAYOUT)
        self._counts: dict[tuple[int, str], int] = {}

    def tell(self, key: str, value: Any) -> None:
        """Write a fact of the run: script, exit code, ..."""
        self._base.write("INSERT OR REPLACE INTO told VALUES (?, ?)", (key, json_text(value, indent=None)))

    def track(self, process: str, name: str, optimizer: str, names: Sequence[str], *, sharded: bool) -> int:
        """Open a track; its number."""
        rows = self._base.rows(
            "INSERT INTO track (process, name, optimizer, names, sharded) VALUES (?, ?, ?, ?, ?) RETURNING id",
            (process, name, optimizer, json.dumps(list(names)), int(sharded)),
        )
        return int(rows[0][0])

    def rename(self, track: int, names: Sequence[str], optimizer: str) -> None:
        """The parameters of a track have changed, or the optimizers that train it."""
        self._base.write(
            "UPDATE track SET names = ?, optimizer = ? WHERE id = ?", (json.dumps(list(names)), optimizer, track)
        )

    def add(self, track: int, bins: Sequence[Bin], *, steps: int, skipped: int) -> None:
        """Write a batch of samples, all or nothing."""
        with self._base.together():
            for metric, first, last, low, high in bins:
                self._base.write(
                    "INSERT OR REPLACE INTO bin VALUES (?, ?, ?, ?, ?, ?)", (track, metric, first, last, low, high)
                )
                key = track, metric
                self._counts[key] = self._counts.get(key, 0) + 1
            self._base.write("UPDATE track SET steps = ?, skipped = ? WHERE id = ?", (steps, skipped, track))
        for key in [key for key, count in self._counts.items() if count > BINS]:
            while self._counts[key] > BINS:
                self._thin(*key)

    def _thin(self, track: int, metric: str) -> None:
        """Join the older half of a quantity's bins in pairs."""
        rows = self._base.rows(
            "SELECT first, last, low, high FROM bin WHERE track = ? AND metric = ? ORDER BY first LIMIT ?",
            (track, metric, BINS // 2),
        )
        with self._base.together():
            for a, b in zip(rows[::2], rows[1::2], strict=False):
                low, high = joined(a, b)
                self._base.write(
                    "DELETE FROM bin WHERE track = ? AND metric = ? AND first IN (?, ?)", (track, metric, a[0], b[0])
                )
                self._base.write("INSERT INTO bin VALUES (?, ?, ?, ?, ?, ?)", (track, metric, a[0], b[1], low, high))
        self._counts[track, metric] -= len(rows) // 2

    def probed(self, track: int, step: int, exam: Exam | None) -> None:
        """A probe was taken; the exam of it takes the place of the one before."""
        with self._base.together():
            self._base.write("INSERT OR REPLACE INTO probe VALUES (?, ?)", (track, step))
            if exam is not None:
                packed = zlib.compress(json_text(to_dict(exam), indent=None).encode(), 1)
                self._base.write("INSERT OR REPLACE INTO exam VALUES (?, ?, ?)", (track, step, packed))

    def notice(self, track: int, noticed: Noticed) -> None:
        """Something was said."""
        self._base.write(
            "INSERT INTO noticed VALUES (?, ?, ?, ?, ?)",
            (track, noticed.step, noticed.code, noticed.level, noticed.text),
        )

    def spend(self, process: str, seconds: float, watching: float) -> None:
        """How long a process has trained, and how much of it the watch took."""
        self._base.write("INSERT OR REPLACE INTO spent VALUES (?, ?, ?)", (process, seconds, watching))

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def read(self) -> Run:
        """The run as it stands.

        Raises:
            FadeoutError: If the file is damaged.
        """
        base = self._base
        with base.told():
            told = {key: json.loads(value) for key, value in base.rows("SELECT key, value FROM told")}
            spent = base.rows("SELECT seconds, watching FROM spent")
            tracks = tuple(self._tracks())
        seconds, watching = max(spent, default=(0.0, 0.0))
        words = tuple(told.get("words", ()))
        return Run(
            script=told.get("script", ""),
            started=told.get("started", ""),
            exit_code=told.get("exit_code"),
            seconds=seconds,
            watching=watching,
            tracks=tracks,
            words=words,
            environment=told.get("environment", {}),
            gave_up=bool(told.get("gave_up", False)),
        )

    def _tracks(self) -> list[Track]:
        rows = self._base.rows(
            "SELECT id, name, optimizer, names, steps, skipped, sharded, process FROM track ORDER BY id"
        )
        whole = [row for row in rows if not row[6]]
        shards: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        for row in rows:
            if row[6]:
                shards.setdefault((row[1], row[3]), []).append(row)
        found = [self._one([row]) for row in whole] + [self._one(group) for group in shards.values()]
        return sorted(found, key=lambda track: -track.steps)

    def _one(self, rows: list[tuple[Any, ...]]) -> Track:
        """A track; of shards, the root of the sum of their squares."""
        number, name, optimizer, names, steps, skipped, _, process = rows[0]
        samples = [self._samples(row[0], tuple(json.loads(names))) for row in rows]
        exam = self._base.rows("SELECT exam FROM exam WHERE track = ?", (number,))
        noticed = self._base.rows("SELECT step, code, level, text FROM noticed WHERE track = ?", (number,))
        probes = self._base.rows("SELECT step FROM probe WHERE track = ? ORDER BY step", (number,))
        return Track(
            name=name,
            optimizer=optimizer,
            steps=steps,
            skipped=skipped,
            probes=tuple(step for (step,) in probes),
            exam=from_dict(json.loads(zlib.decompress(exam[0][0]))) if exam else None,
            samples=samples[0] if len(samples) == 1 else summed(samples),
            noticed=tuple(Noticed(step=s, code=c, level=level, text=t) for s, c, level, t in noticed),
            ranks=len(rows),
            process=process,
        )

    def _samples(self, track: int, names: tuple[str, ...]) -> tuple[Samples, ...]:
        question = "SELECT metric, first, last, low, high FROM bin WHERE track = ? ORDER BY metric, first"
        by_metric: dict[str, list[tuple[int, int, tuple[float, ...], tuple[float, ...]]]] = {}
        for metric, first, last, low, high in self._base.rows(question, (track,)):
            lowest = values_of(low)
            by_metric.setdefault(metric, []).append((first, last, lowest, values_of(high) if high else lowest))
        return tuple(
            Samples(
                metric=metric,
                names=names if metric in ("gradient", "weight", "update") else (),
                first=tuple(r[0] for r in rows),
                last=tuple(r[1] for r in rows),
                low=tuple(r[2] for r in rows),
                high=tuple(r[3] for r in rows),
            )
            for metric, rows in by_metric.items()
        )


def joined(a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[bytes, bytes]:
    """Lowest and highest of two bins (first, last, low, high); what is not a number stays one, and is kept."""
    lows, highs = [values_of(r[2]) for r in (a, b)], [values_of(r[3] or r[2]) for r in (a, b)]
    long = max(len(lows[0]), len(lows[1]))
    padded = [[*row, *[math.nan] * (long - len(row))] for row in (*lows, *highs)]
    low = [_least(x, y) for x, y in zip(padded[0], padded[1], strict=True)]
    high = [_most(x, y) for x, y in zip(padded[2], padded[3], strict=True)]
    return blob(low), blob(high)


def _least(a: float, b: float) -> float:
    return b if math.isnan(a) else a if math.isnan(b) else min(a, b)


def _most(a: float, b: float) -> float:
    return b if math.isnan(a) else a if math.isnan(b) else max(a, b)


def summed(parts: Sequence[tuple[Samples, ...]]) -> tuple[Samples, ...]:
    """Norms of shards as norms of the whole: the root of the sum of squares, of the bins that every process has."""
    found = []
    for first in parts[0]:
        others = [next((s for s in part if s.metric == first.metric), None) for part in parts[1:]]
        known = [s for s in others if s is not None]
        if first.metric not in ("gradient", "weight") or len(known) < len(others):
            found.append(first)
            continue
        every = [first, *known]
        places = [{bin_: i for i, bin_ in enumerate(zip(s.first, s.last, strict=True))} for s in every]
        shared = [bin_ for bin_ in places[0] if all(bin_ in place for place in places[1:])]
        rows = [[(s.low[at[b]], s.high[at[b]]) for b in shared] for s, at in zip(every, places, strict=True)]
        low, high = (_hypot([tuple(row[side] for row in part) for part in rows]) for side in (0, 1))
        starts, ends = tuple(a for a, _ in shared), tuple(b for _, b in shared)
        found.append(replace(first, first=starts, last=ends, low=low, high=high))
    return tuple(found)


def _hypot(parts: Sequence[tuple[tuple[float, ...], ...]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(math.hypot(*values) for values in zip(*rows, strict=True)) for rows in zip(*parts, strict=True))


def stamp() -> str:
    """Now, for a file's name: 20261127-184412."""
    return time.strftime("%Y%m%d-%H%M%S")


def new_store(folder: Path, name: str) -> Path:
    """A file of a name that is not taken.

    Raises:
        FadeoutError: If the folder can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FadeoutError(f"run: can't make the folder {folder} ({error.strerror}); pass another one") from error
    base = f"{name}-{stamp()}"
    for n in range(1000):
        path = folder / (f"{base}.db" if n == 0 else f"{base}-{n + 1}.db")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        except OSError as error:
            raise FadeoutError(f"run: can't write into {folder} ({error.strerror}); pass another folder") from error
        return path
    raise FadeoutError(f"run: {folder} is full of runs of this second; pass another folder")
