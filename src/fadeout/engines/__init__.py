"""engines: where the arms of a race are trained, and where the lab works.  Gives `ENGINES` and `engine_of`."""

from collections.abc import Callable
from typing import Any

from fadeout.engines.cluster import Cluster
from fadeout.engines.here import Here
from fadeout.engines.job import Answer, Doer, Engine, Job, Work
from fadeout.engines.processes import Processes
from fadeout.engines.together import Together
from fadeout.errors import FadeoutError

ENGINES: dict[str, Callable[[Any], Engine]] = {
    "here": Here,
    "processes": Processes,
    "ray": Cluster,
    "together": Together,
}

__all__ = ["ENGINES", "Answer", "Doer", "Engine", "Job", "Work", "engine_of"]


def engine_of(name: str, make: Callable[[], Doer], *, verb: str = "trial") -> Engine:
    """The engine of this name.

    Args:
        make: Makes who does the work, in every process that needs one.

    Raises:
        FadeoutError: If there is none, or what it needs is missing.
    """
    if name not in ENGINES:
        raise FadeoutError(f"{verb}: there is no engine {name!r}; it is one of {', '.join(ENGINES)}")
    return ENGINES[name](make)
