"""Origin: where the first value that is not finite was made, hunted for in one more pass."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.batch import is_pair, tensors
from fadeout.call.guard import Guard
from fadeout.call.question import Question
from fadeout.probe.account.passes import Pass
from fadeout.probe.graph.paths import readable_path
from fadeout.probe.instruments.instrument import Held, How, Instrument, Observed
from fadeout.probe.instruments.precision import ROWS, Hunt
from fadeout.probe.instruments.units import Units
from fadeout.probe.instruments.weights import Parameters
from fadeout.records import Origin

FEW = 256  # rows of a batch that a loss is asked for one by one


class Origins(Instrument):
    """Hunts only where the pass, or a gradient of it, is not finite."""

    def __init__(self, question: Question, how: How) -> None:
        super().__init__(question, how)
        self.hunt: Hunt | None = None

    def measure(self, held: Held) -> None:
        broken = held.of(Parameters).read.broken
        if not (_not_finite(held.first) or broken):
            return
        batch = [t for t in tensors(held.question.batch) if t.is_floating_point() and t.layout == torch.strided]
        sound = bool(batch) and all(bool(torch.isfinite(t).all()) for t in batch)
        self.hunt = Hunt(held.first.parameters, sound_batch=sound)
        held.again(self.hunt)
        if self.hunt.origin is None:  # nothing on the way is: the way to one parameter is
            self.hunt.origin = _broken_at(held.first, broken)
        if self.hunt.origin is not None and self.hunt.origin.where == "loss" and not self.hunt.origin.of:
            self.hunt.origin = replace(self.hunt.origin, **_rows_of_loss(held))

    def fields(self, seen: Observed) -> dict[str, Any]:
        return {"origin": self.hunt.origin if self.hunt is not None else None}


@torch.no_grad()
def _rows_of_loss(held: Held) -> dict[str, Any]:
    """Rows whose loss alone is not finite, where the loss can be asked row by row."""
    question, output = held.question, held.of(Units).returned
    if question.loss is None or output is None or not is_pair(question.batch) or not 1 < len(output) <= FEW:
        return {}
    answers = question.batch[1]
    if any(not t.dim() or len(t) != len(output) for t in tensors(answers)):
        return {}
    bad = []
    try:
        with Guard(question.loss.modules() if isinstance(question.loss, nn.Module) else ()):
            for n in range(len(output)):
                value = question.loss(output[n : n + 1], _row(answers, n))
                bad += [n] if not bool(torch.isfinite(value).all()) else []
    except Exception:  # a loss that wants its whole batch
        return {}
    return {"rows": tuple(bad[:ROWS]), "of": len(output)} if bad else {}


def _row(value: Any, n: int) -> Any:
    if isinstance(value, Tensor):
        return value[n : n + 1]
    if isinstance(value, (tuple, list)):
        return type(value)(_row(item, n) for item in value)
    if isinstance(value, dict):
        return {key: _row(item, n) for key, item in value.items()}
    return value


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
