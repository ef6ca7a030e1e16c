"""Origin: where the first value that is not finite was made, hunted for in one more pass."""

import math
from typing import Any

from fadeout.call.question import Question
from fadeout.probe.account.passes import Pass
from fadeout.probe.graph.paths import readable_path
from fadeout.probe.instruments.instrument import Held, How, Instrument, Observed
from fadeout.probe.instruments.precision import Hunt
from fadeout.probe.instruments.weights import Parameters
from fadeout.records import Origin


class Origins(Instrument):
    """Hunts only where the pass, or a gradient of it, is not finite."""

    def __init__(self, question: Question, how: How) -> None:
        super().__init__(question, how)
        self.hunt: Hunt | None = None

    def measure(self, held: Held) -> None:
        broken = held.of(Parameters).read.broken
        if not (_not_finite(held.first) or broken):
            return
        self.hunt = Hunt(held.first.parameters)
        held.again(self.hunt)
        if self.hunt.origin is None:  # nothing on the way is: the way to one parameter is
            self.hunt.origin = _broken_at(held.first, broken)

    def fields(self, seen: Observed) -> dict[str, Any]:
        return {"origin": self.hunt.origin if self.hunt is not None else None}


def _broken_at(first: Pass, broken: set[int]) -> Origin | None:
    name = next((name for name, p in first.parameters if id(p) in broken), "")
    path, _, own = name.rpartition(".")
    return Origin(path=readable_path(path), op=f"gradient of {own}", line="", where="backward") if name else None


def _not_finite(done: Pass) -> bool:
    return (
        not math.isfinite(done.loss)
        or any(not math.isfinite(v) for v in done.tape.arrived.values())
        or any(not math.isfinite(v) for v in done.tape.returned.values())
    )
