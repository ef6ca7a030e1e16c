"""Along time: recurrent layers and hand-written loops, watched in one pass and walked back step by step."""

import math
from dataclasses import replace
from typing import Any

from fadeout.call.question import Question
from fadeout.probe.account.passes import Several
from fadeout.probe.account.tape import Watcher
from fadeout.probe.graph.graph import Graph
from fadeout.probe.graph.names import Names
from fadeout.probe.instruments.instrument import Held, How, Instrument, Observed
from fadeout.probe.instruments.origin import Origins
from fadeout.probe.recurrent.causes import cause_of
from fadeout.probe.recurrent.loops import Loops, loop_profiles
from fadeout.probe.recurrent.watch import Recurrence
from fadeout.records import Ledger, TimeProfile

LEAST_USES = 8  # of a weight in one pass from which they are steps in time


class AlongTime(Instrument):
    """Time profiles of everything that runs step by step."""

    def __init__(self, question: Question, how: How) -> None:
        super().__init__(question, how)
        self.recurrence = Recurrence(brief=how == "brief")
        self.loops = Loops()
        self.notes = self.recurrence.notes
        self._both = Several(self.recurrence, self.loops)
        self._found: tuple[TimeProfile, ...] = ()

    def forward(self, names: Names) -> None:
        self._both.forward(names)

    def graph(self, graph: Graph) -> dict[int, Watcher]:
        return self._both.graph(graph)

    def measure(self, held: Held) -> None:
        if held.of(Origins).hunt is not None:
            self.recurrence.profiles([])  # which notes the step that is not finite
            return
        self.notes += self.loops.notes
        arrived = held.first.tape.arrived
        found = [traced.with_early(arrived) for traced in self.loops.traced]
        if self.loops.found:
            held.guard.rewind()
            autocast = held.question.autocast
            found += loop_profiles(self.loops, held.subject, held.closure, held.guard, autocast=autocast)
        self._found = self.recurrence.profiles(found)

    def fields(self, seen: Observed) -> dict[str, Any]:
        ledger = seen.ledger
        return {
            "time": tuple(replace(row, cause=cause_of(row, ledger), early=_early(row, ledger)) for row in self._found)
        }


def _early(row: TimeProfile, ledger: Ledger) -> float:
    """`early` of a loop: from the uses of its weights, the first ones first."""
    if not math.isnan(row.early) or not row.steps:
        return row.early
    uses: dict[str, list[float]] = {}
    for w in ledger.weights:
        if w.path == row.path or w.path.startswith(f"{row.path}.") or not row.path:
            uses.setdefault(w.path, []).append(w.norm)
    known = [levels for levels in uses.values() if len(levels) >= LEAST_USES and max(levels) > -math.inf]
    return max((max(levels[: max(1, len(levels) // 10)]) - max(levels) for levels in known), default=math.nan)
