"""engines: where the arms of a race are trained.  Gives `ENGINES` and `engine_of`.

The lab runs on the same engines.
"""

from collections.abc import Callable

from fadeout.call.case import Case
from fadeout.engines.cluster import Cluster
from fadeout.engines.here import Here
from fadeout.engines.job import Engine, Job
from fadeout.engines.processes import Processes
from fadeout.engines.together import Together
from fadeout.errors import FadeoutError

ENGINES: dict[str, Callable[[Case], Engine]] = {
    "here": Here,
    "processes": Processes,
    "ray": Cluster,
    "together": Together,
}

__all__ = ["ENGINES", "Engine", "Job", "engine_of"]


def engine_of(name: str, case: Case) -> Engine:
    """The engine of this name, for one case.

    Raises:
        FadeoutError: If there is none, or what it needs is missing.
    """
    if name not in ENGINES:
        raise FadeoutError(f"trial: there is no engine {name!r}; it is one of {', '.join(ENGINES)}")
    return ENGINES[name](case)
