"""Options of a watch, and how they travel to the processes of a script: as JSON in one environment variable."""

import json
import os
from dataclasses import asdict, dataclass

VARIABLE = "FADEOUT_WATCH"
BUDGET = 0.02  # of the time of the run
CREDIT = 3.0  # seconds that probes may take before the budget has grown: a user doesn't notice them


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to watch.

    Attributes:
        store: The file that is written.
        budget: Share of the run's time that the watch may take, probes included.
        credit: Seconds that the first probes may take, whatever the budget.
        live: Print a line when a finding appears.
    """

    store: str
    budget: float = BUDGET
    credit: float = CREDIT
    live: bool = True

    def environment(self) -> dict[str, str]:
        """For a child process."""
        return {VARIABLE: json.dumps(asdict(self))}


def handed() -> Options | None:
    """The options that this process was given; None where it was given none, or none that can be read."""
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    try:
        return Options(**json.loads(text))
    except (ValueError, TypeError):
        return None


def rank() -> int:
    """Of this process among those of one distributed run; 0 alone."""
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
        value = os.environ.get(name, "")
        if value.isdigit():
            return int(value)
    return 0
