"""Telling: a line when a finding appears while a script trains, and one when it is gone."""

import sys

from fadeout.live.file import RunFile
from fadeout.live.track import Track
from fadeout.records import Exam, Finding, Noticed

TOLD = ("alarm", "warning")
GONE = "gone"


class Telling:
    """Says each change once, and writes it down."""

    def __init__(self, file: RunFile, *, live: bool) -> None:
        self.file, self.live = file, live

    def say(self, track: Track, exam: Exam, *, several: bool) -> None:
        """What has changed since the exam before."""
        which = f" ({type(track.inner).__name__})" if several else ""
        for one in self._changes(track, exam):
            what = f"{one.code} is gone" if one.level == GONE else f"{one.level} {one.code}, {one.text}"
            if self.live:
                print(f"fadeout: step {one.step:,}{which}: {what}", file=sys.stderr, flush=True)

    def settle(self, track: Track, exam: Exam) -> None:
        """At the end: only write down what is gone; the rest stands in the verdict."""
        self._changes(track, exam)

    def _changes(self, track: Track, exam: Exam) -> list[Noticed]:
        now = {finding.code: finding for finding in exam.findings if finding.level in TOLD}
        found = [_noticed(track, finding) for code, finding in now.items() if not track.said.get(code)]
        gone = [code for code, stands in track.said.items() if stands and code not in now]
        found += [Noticed(step=track.steps, code=code, level=GONE, text="") for code in gone]
        track.said |= dict.fromkeys(now, True) | dict.fromkeys(gone, False)
        for one in found:
            self.file.notice(track, one)
        return found


def _noticed(track: Track, finding: Finding) -> Noticed:
    return Noticed(step=track.steps, code=finding.code, level=finding.level, text=finding.claim)
