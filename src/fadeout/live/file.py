"""The file of a watch: opened when there is something to write, and written about once a second."""

import os
import time
from pathlib import Path
from typing import Any

from fadeout.live.budget import Budget
from fadeout.live.options import rank
from fadeout.live.track import Track
from fadeout.records import Noticed
from fadeout.store.runs import Runs

WRITE = 1.0  # seconds from one write to the next: what a kill may lose


class RunFile:
    """Of one process.

    Attributes:
        path: Where it lies.
        numbers: Of the tracks in it, by their ids.
    """

    def __init__(self, path: Path, script: str) -> None:
        self.path = path
        self.numbers: dict[int, int] = {}
        self._script = script
        self._runs: Runs | None = None
        self._written = 0.0

    @property
    def opened(self) -> bool:
        """Whether anything was written."""
        return self._runs is not None

    def open(self) -> Runs:
        """The file.

        Raises:
            FadeoutError: If it can't be written.
        """
        if self._runs is None:
            self._runs = Runs(self.path)
            self._runs.tell("started", time.strftime("%Y-%m-%d %H:%M:%S"))
            if self._script:
                self._runs.tell("script", self._script)
        return self._runs

    def tell(self, key: str, value: Any) -> None:
        """A fact of the run, where there is a file."""
        if self._runs is not None:
            self._runs.tell(key, value)

    def open_for(self, track: Track) -> tuple[Runs, int]:
        """The file, and the track's number in it."""
        runs = self.open()
        if id(track) not in self.numbers:
            self.numbers[id(track)] = runs.track(
                f"{rank()}:{os.getpid()}", type(track.inner).__name__, track.optimizers, track.listed.names,
                sharded=track.listed.sharded,
            )  # fmt: skip
        elif track.listed.fresh:
            runs.rename(self.numbers[id(track)], track.listed.names, track.optimizers)
        track.listed.fresh = False
        return runs, self.numbers[id(track)]

    def bring(self, track: Track, *, last: bool = False) -> None:
        """Write what has arrived of a track's samples."""
        bins = track.take(last=last)
        if (rank() == 0 or track.listed.sharded) and track.steps:
            runs, number = self.open_for(track)
            runs.add(number, bins, steps=track.steps - len(track.seen.left_out), skipped=track.skipped)

    def probed(self, track: Track) -> None:
        """Write the exam of a track's last probe."""
        runs, number = self.open_for(track)
        runs.probed(number, track.prober.readings[-1].step, track.exam)

    def notice(self, track: Track, noticed: Noticed) -> None:
        """Write that something was said."""
        runs, number = self.open_for(track)
        runs.notice(number, noticed)

    def is_time(self) -> bool:
        """Whether the last write was long ago."""
        return time.monotonic() - self._written > WRITE

    def write(self, tracks: list[Track], budget: Budget, *, last: bool = False) -> None:
        """Write all of it."""
        self._written = time.monotonic()
        for track in tracks:
            self.bring(track, last=last)
        if self._runs is not None:
            self._runs.spend(f"{rank()}:{os.getpid()}", max(budget.passed(), budget.spent), budget.spent)

    def close(self) -> None:
        """Close it."""
        if self._runs is not None:
            self._runs.close()
            self._runs = None
