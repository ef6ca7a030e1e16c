"""The engine `ray`: tasks on a Ray cluster, here or on many machines."""

import contextlib
import math
import pickle
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from fadeout.engines.job import Doer, Work
from fadeout.engines.parcel import packed, unpacked
from fadeout.errors import FadeoutError


class Cluster:
    """Ray's own tasks, one core each.  A task keeps nothing: an arm that goes on begins again at step 0.

    A Ray that runs already is used as it is (`ray.init(address=...)` before); else a local one is started and ended.
    Every machine needs fadeout.
    """

    def __init__(self, make: Callable[[], Doer]) -> None:
        try:
            import ray
        except ImportError as error:
            raise FadeoutError(
                "trial: engine='ray' needs Ray; pip install 'fadeout[ray]', or engine='processes'"
            ) from error
        self.ray: Any = ray
        self.parcel = packed(make, what="the case")
        self.started = not ray.is_initialized()
        if self.started:
            ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False, logging_level="ERROR")
        self.make = ray.put(self.parcel)
        self.task = ray.remote(num_cpus=1, max_retries=0)(_task)
        self.running: dict[Any, tuple[Work, float]] = {}

    def run(self, jobs: Sequence[Work]) -> Iterator[Any]:
        waiting = list(jobs)
        while waiting or self.running:
            room = max(1, int(self.ray.cluster_resources().get("CPU", 1)))
            while waiting and len(self.running) < room:
                job = waiting.pop(0)
                try:
                    handle = self.task.remote(self.make, packed(job, what=repr(job.arm)))
                except FadeoutError as error:
                    yield job.failed(str(error).removeprefix("trial: "))
                    continue
                self.running[handle] = (job, time.monotonic())
            if not self.running:
                continue
            ready, _ = self.ray.wait(list(self.running), num_returns=1, timeout=1.0)
            for handle in ready:
                job, _since = self.running.pop(handle)
                yield self._answer(handle, job)
            yield from self._late()

    def _answer(self, handle: Any, job: Work) -> Any:
        try:
            return pickle.loads(self.ray.get(handle))
        except Exception as error:  # Ray's own kinds: a worker or a machine was lost
            return job.failed(f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}")

    def _late(self) -> Iterator[Any]:
        for handle, (job, since) in list(self.running.items()):
            if math.isfinite(job.limit) and time.monotonic() - since > job.limit + STARTING:
                self.ray.cancel(handle, force=True)
                del self.running[handle]
                yield job.failed(f"took longer than {job.limit:.0f} s", seconds=time.monotonic() - since)

    def forget(self, arms: Collection[str]) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        for handle in self.running:
            with contextlib.suppress(Exception):
                self.ray.cancel(handle, force=True)
        self.running.clear()
        if self.started:
            self.ray.shutdown()


STARTING = 60.0  # seconds that a task has besides its own, to wait for a worker and import torch


def _task(make: bytes, job: bytes) -> bytes:
    return pickle.dumps(unpacked(make)().do(unpacked(job), limited=False))
