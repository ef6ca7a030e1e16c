"""The engine `processes`: worker processes on this machine, each with one thread."""

import contextlib
import math
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from fadeout.engines.job import Doer, Work
from fadeout.engines.parcel import packed
from fadeout.engines.worker import READY, receive, send

STARTING = 60.0  # seconds that a new worker has besides its job's, to import torch on a busy machine


@dataclass(slots=True, eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    job: Work | None = None
    since: float = 0.0
    spare: float = STARTING
    held: set[tuple[str, int]] = field(default_factory=set)


class Processes:
    """As many workers as there are cores; one that hangs or dies is replaced, and its arm has failed."""

    def __init__(self, make: Callable[[], Doer], workers: int | None = None) -> None:
        self.first = packed((make, torch.get_default_dtype()), what="the case")
        self.most = workers or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(2))
        self.workers: list[_Worker] = []
        self.answers: queue.Queue[tuple[_Worker, bytes | None]] = queue.Queue()

    def run(self, jobs: Sequence[Work]) -> Iterator[Any]:
        waiting = list(jobs)
        while waiting or any(w.job for w in self.workers):
            yield from self._hand_out(waiting)
            try:
                worker, answer = self.answers.get(timeout=self._patience())
            except queue.Empty:
                yield from self._late()
                continue
            if answer == READY:
                worker.since, worker.spare = time.monotonic(), 0.0
                continue
            job, worker.job = worker.job, None
            if answer is None:
                self._end(worker)
                if job is not None:
                    yield job.failed(f"its process ended by itself ({_code(worker)})")
            elif job is not None:
                piece = pickle.loads(answer)
                if job.goes_on and not piece.failed:
                    worker.held.add((job.arm, job.seed))
                yield piece

    def _hand_out(self, waiting: list[Any]) -> Iterator[Any]:
        """Jobs to the workers that hold their arms, else to any that is free."""
        while waiting and len(self.workers) < min(
            self.most, len(waiting) + sum(w.job is not None for w in self.workers)
        ):
            self.workers.append(self._started())
        for worker in [w for w in self.workers if w.job is None]:
            if not waiting:
                return
            known = {key for w in self.workers for key in w.held if w is not worker}
            job = next((j for j in waiting if (j.arm, j.seed) in worker.held), None)
            job = job or next((j for j in waiting if (j.arm, j.seed) not in known), waiting[0])
            waiting.remove(job)
            worker.job, worker.since = job, time.monotonic()
            worker.held.discard((job.arm, job.seed))
            try:
                parcel = packed(("job", job), what=repr(job.arm))
                assert worker.process.stdin is not None
                send(worker.process.stdin, parcel)  # type: ignore[arg-type]
            except BrokenPipeError:
                pass  # its reader says so
            except Exception as error:  # a treatment of the user's that can't travel
                worker.job = None
                yield job.failed(str(error).removeprefix("trial: "))

    def _started(self) -> _Worker:
        process = subprocess.Popen(
            [sys.executable, "-c", "from fadeout.engines.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the race, which ends its workers
        )
        worker = _Worker(process)
        threading.Thread(target=self._read, args=(worker,), daemon=True).start()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            send(process.stdin, self.first)  # type: ignore[arg-type]
        return worker

    def _read(self, worker: _Worker) -> None:
        stream = worker.process.stdout
        assert stream is not None
        answer: bytes | None = b""
        while answer is not None:
            try:
                answer = receive(stream)  # type: ignore[arg-type]
            except (OSError, ValueError):
                answer = None
            self.answers.put((worker, answer))

    def _ends(self, worker: _Worker) -> float:
        return worker.since + worker.job.limit + worker.spare if worker.job is not None else math.inf

    def _patience(self) -> float:
        soonest = min(self._ends(w) for w in self.workers)
        return max(0.01, min(1.0, soonest - time.monotonic()))

    def _late(self) -> Iterator[Any]:
        for worker in list(self.workers):
            if worker.job is not None and time.monotonic() > self._ends(worker):
                job, worker.job = worker.job, None
                self._end(worker)
                yield job.failed(f"took longer than {job.limit:.0f} s", seconds=time.monotonic() - worker.since)

    def _end(self, worker: _Worker) -> None:
        if worker in self.workers:
            self.workers.remove(worker)
        worker.process.kill()
        worker.process.wait()
        for stream in (worker.process.stdin, worker.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def forget(self, arms: Collection[str]) -> None:
        for worker in self.workers:
            lost = {key for key in worker.held if key[0] in arms}
            if lost:
                worker.held -= lost
                with contextlib.suppress(BrokenPipeError):
                    assert worker.process.stdin is not None
                    send(worker.process.stdin, packed(("forget", sorted(arms)), what="names"))  # type: ignore[arg-type]

    def close(self) -> None:
        for worker in list(self.workers):
            self._end(worker)


def _code(worker: _Worker) -> str:
    code = worker.process.returncode
    return f"signal {-code}; was there enough memory?" if code and code < 0 else f"exit code {code}"
