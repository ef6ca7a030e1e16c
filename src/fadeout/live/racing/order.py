"""An order: what a process of a raced script is told, as JSON in one environment variable, and what it reports back."""

import json
import os
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from fadeout.live.racing.rounds import fewest

VARIABLE = "FADEOUT_RACE"
QUIET = {  # trackers write into accounts and folders that are not the race's
    "WANDB_MODE": "disabled",
    "COMET_MODE": "disabled",
    "NEPTUNE_MODE": "debug",
    "DISABLE_MLFLOW_INTEGRATION": "TRUE",
    "CLEARML_OFFLINE_MODE": "1",
    "SWANLAB_MODE": "disabled",
}

Role = Literal["scout", "control", "treated", "proof"]
End = Literal["stopped", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one run of the script is for.

    Attributes:
        folder: Where this run may write.
        seed: 0 leaves the seeds that the script sets; others are added to them.
        steps: Optimizer steps after which the script is ended.
        backwards: Backward passes after which it is ended instead, so that a skipped step shifts nothing; 0: by steps.
        treatment: As `spelling` writes it; None: no treatment.
        begun: When it was given, in seconds since the epoch: older files are the user's.
        start: A file with start weights that the first forward begins with; "" for the script's own.
    """

    role: Role
    folder: str
    seed: int = 0
    steps: int = 2
    backwards: int = 0
    treatment: dict[str, Any] | None = None
    start: str = ""
    begun: float = field(default_factory=time.time)

    def environment(self) -> dict[str, str]:
        """For a child process."""
        own = {VARIABLE: json.dumps(asdict(self)), "MLFLOW_TRACKING_URI": f"file:{self.folder}/tracked/mlruns"}
        return {**own, "PYTHONHASHSEED": "0", **QUIET}


def handed() -> Order | None:
    """The order that this process was given; None where there is none, or none that can be read."""
    try:
        return Order(**json.loads(os.environ.get(VARIABLE, "")))
    except (ValueError, TypeError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one process of a run saw.

    Attributes:
        end: "stopped": by us, after the steps that were asked for; "ended": the script came to its own end.
        steps: Of every optimizer, in the order of their first steps.
        losses: Of every backward pass; nan where it was no scalar.
        marks: (optimizer, backward passes so far) at every optimizer step, and where a loss scaler left one out.
        random, inputs: Digests of the random state and of what the network was given, one a step.
        constant: What would be sent backward for the best constant output; nan where not known.
        started: The script's own process started this one, with multiprocessing.
        sampled: The script drew from what its network computed, and may learn from what came of it.
        treated: Modules that were treated, by path, with what was done.
        expected: Networks that should have been treated.
        written, saved: Files that the script wrote, and those that went to the run's folder instead.
        logged: (name, value) that the script gave to a tracker.
        trackers: Names of the trackers that it used.
        scouted: What the scout found; {} in other runs.
        notes: For the reader of the race.
    """

    end: End
    rank: int
    script: str
    argv: tuple[str, ...]
    steps: tuple[int, ...]
    losses: tuple[float, ...]
    marks: tuple[tuple[int, int], ...]
    random: tuple[int, ...]
    inputs: tuple[int, ...]
    constant: float = float("nan")
    started: bool = False
    sampled: bool = False
    treated: tuple[str, ...] = ()
    expected: int = 0
    failed: str = ""
    written: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()
    logged: tuple[tuple[str, float], ...] = ()
    trackers: tuple[str, ...] = ()
    scouted: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def reached(self) -> int:
        """Steps of the network that made fewest, with those that a loss scaler left out."""
        return fewest(self.marks) if self.steps else 0


def report_from(text: str) -> Report:
    """A report that was written as JSON.

    Raises:
        ValueError, TypeError, KeyError: If it is none.
    """
    data = json.loads(text)
    data["marks"] = tuple((int(a), int(b)) for a, b in data["marks"])
    data["logged"] = tuple((str(name), float(value)) for name, value in data.get("logged", ()))
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Report(**fields)


def report_text(report: Report) -> str:
    """As JSON."""
    return json.dumps(asdict(report))
