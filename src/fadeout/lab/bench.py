"""The bench: does the lab's tasks in one process."""

import time
from collections.abc import Collection

from fadeout.call.case import seeded
from fadeout.call.failures import first_line
from fadeout.engines.keeper import one_thread
from fadeout.engines.limit import OutOfTime, within
from fadeout.lab import named
from fadeout.lab.experiment import Result, Task


class Bench:
    """Keeps nothing between tasks, so that each gives the same rows wherever it runs."""

    def do(self, job: Task, *, limited: bool) -> Result:
        begun = time.process_time()
        try:
            with within(job.limit if limited else 0.0), one_thread(), seeded(job.seed):
                rows = tuple(named(job.experiment).measure(job))
        except OutOfTime:
            return job.failed(f"took longer than {job.limit:.0f} s", seconds=time.process_time() - begun)
        except Exception as error:  # a network of ours, or what it was asked: told with its experiment
            return job.failed(f"{type(error).__name__}: {first_line(error)}", seconds=time.process_time() - begun)
        return Result(task=job, rows=rows, seconds=time.process_time() - begun)

    def forget(self, arms: Collection[str]) -> None:
        """Nothing is kept."""
