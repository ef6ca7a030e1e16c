"""A writer: in a process of its own, a treatment given to a script's network and written into the script's source.

`python -m fadeout.live.racing.writer`, with what to write as JSON in FADEOUT_RACE_PATCH. Prints nothing of its own; the
patch goes as JSON into the folder that it is given.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fadeout.call.case import seeded
from fadeout.call.isolate import Isolation
from fadeout.errors import FadeoutError
from fadeout.exams import examine
from fadeout.live.racing import program
from fadeout.live.racing.dose import Opening
from fadeout.live.racing.spelling import read
from fadeout.live.racing.trackers import Trackers
from fadeout.live.racing.untouched import Untouched
from fadeout.treatments import Patient

VARIABLE = "FADEOUT_RACE_PATCH"
ANSWER = "patch.json"
FACTORY = "fadeout.live.racing.program:fadeout_script"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be written.

    Attributes:
        treatment: As `spelling` writes it.
    """

    script: str
    argv: tuple[str, ...]
    treatment: dict[str, Any]
    seed: int
    folder: str


def main() -> None:
    """Write it."""
    wanted = Wanted(**json.loads(os.environ.pop(VARIABLE)))
    Untouched(wanted.folder, time.time()).begin()
    Trackers(wanted.folder).begin()
    try:
        answer = _written(wanted)
    except FadeoutError as error:
        answer = {"why": str(error)}
    (Path(wanted.folder) / ANSWER).write_text(json.dumps(answer), encoding="utf-8")


def _written(wanted: Wanted) -> dict[str, Any]:
    try:
        from fadeout.patches import patch_of
    except FadeoutError as error:  # libcst is an extra
        return {"why": str(error)}
    program.ask(wanted.script, tuple(wanted.argv))
    with seeded(wanted.seed):
        model, *rest = program.fadeout_script()
    met = program.ASKED.met[0]
    opening = Opening(met)
    optimizer = rest[0] if rest else list(met.optimizers)
    receipt = read(wanted.treatment).apply(Patient(model=model, optimizer=optimizer, step=opening, seed=wanted.seed))

    def look(network: nn.Module) -> tuple[str, float]:
        twin = Isolation(verb="race").copied(network)
        with seeded(wanted.seed):
            seen = examine(twin, step=opening)
        return seen.verdict, seen.decades

    made = receipt.optimizer if receipt.optimizer is not None else optimizer
    patch = patch_of(
        FACTORY, receipt, treated=model, optimizer=made if rest else None, examine=look if met.whole else None,
        seed=wanted.seed,
    )  # fmt: skip
    found = asdict(patch)
    return {key: dict(value) if hasattr(value, "items") else value for key, value in found.items()}


if __name__ == "__main__":
    main()
