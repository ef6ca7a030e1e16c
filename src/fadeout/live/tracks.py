"""Tracks: which optimizer of a process trains which network, and which of them still train."""

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.live.budget import Budget
from fadeout.live.file import RunFile
from fadeout.live.members import held
from fadeout.live.options import rank
from fadeout.live.roots import narrowed, roots_of, unwrapped
from fadeout.live.track import Track


class Tracks:
    """The networks that are trained now, one track each.

    A network whose optimizers step after different backward passes (a generator and its judge in one module, an
    actor and its critic) has a track for each of these parts.

    Attributes:
        open: The tracks.
    """

    def __init__(
        self,
        file: RunFile,
        budget: Budget,
        models: Sequence[nn.Module] | None,
        over: Callable[[Track], None],
    ) -> None:
        self.open: list[Track] = []
        self.file, self.budget = file, budget
        self._models = models
        self._over = over
        self._by_optimizer: dict[int, Track] = {}
        self._parked: dict[int, tuple[Any, int, int]] = {}  # by id: the optimizer, its track's number and steps
        self._in_turn = False  # an optimizer that seemed over steps again: from now on all are kept

    def known(self, optimizer: Optimizer) -> Track | None:
        """The track that it is a member of."""
        track = self._by_optimizer.get(id(optimizer))
        return track if track is not None and optimizer in track.members else None

    def made(self, optimizer: Optimizer) -> None:
        """An optimizer was made: the first forward after it can be probed already."""
        if self.known(optimizer) is None:
            self._welcome(optimizer)

    def of(self, optimizer: Optimizer) -> Track | None:
        """The track of an optimizer that is about to step; None where it holds no module's parameters."""
        self._part()
        track = self.known(optimizer)
        if track is not None:
            return track
        host = next((t for t in self.open if t.members.invited(optimizer)), None) or self._welcome(optimizer)
        if host is None:
            return None
        family = [t for t in self.open if t.family is host.family]
        if any(t.members.nested and t.members.shares(optimizer) for t in family):
            return None  # inside the step of another one
        taker = next((t for t in family if t.takes(optimizer)), None)
        if taker is None:
            taker = self._branch(host, [optimizer])
        else:
            self._enter(taker, optimizer)
        return taker

    def _enter(self, track: Track, optimizer: Optimizer) -> None:
        for one in track.enter(optimizer):
            self._by_optimizer[id(one)] = track

    def _welcome(self, optimizer: Optimizer) -> Track | None:
        """A guest of the track of its network, which is made where there is none."""
        parked = self._parked.pop(id(optimizer), None)
        again = parked is not None and parked[0]() is optimizer
        self._in_turn = self._in_turn or again
        among = (
            None if self._models is None else list({id(m): m for one in self._models for m in one.modules()}.values())
        )
        roots = roots_of(held(optimizer), among=among)
        if not roots:
            return None
        if not self.open:
            self.budget.begun = time.perf_counter()
        root = roots[0]
        self._park_others(root)
        track = next((t for t in self.open if t.family is unwrapped(root)), None)
        if track is None:
            track = self._begin(root)
            if again and parked is not None:
                self.file.numbers[id(track)], track.steps = parked[1], parked[2]
            if len(roots) > 1:
                others = ", ".join(type(r).__name__ for r in roots[1:])
                track.words.append(f"{type(optimizer).__name__} also trains {others}, whose way back is not measured")
        track.members.invite(optimizer)
        return track

    def _begin(self, root: nn.Module, family: nn.Module | None = None) -> Track:
        track = Track(root, self.budget, probes=rank() == 0 and not _syncs(root), family=family)
        track.elsewhere = lambda: self._held_elsewhere(track)
        self.open.append(track)
        for one in self.open:
            one.alone = len(self.open) == 1
        return track

    def _held_elsewhere(self, track: Track) -> set[int]:
        others = [
            one for t in self.open for one in (*t.members.waiting(), *(t.members.inside if t is not track else ()))
        ]
        return {id(p) for one in others for p in held(one)}

    # a network whose parts are trained in turn

    def _part(self) -> None:
        """Give a track of their own to optimizers that turn out to step after other backward passes."""
        for track in list(self.open):
            apart = track.members.apart()
            if apart:
                steps = track.release(apart)
                self._branch(track, apart).steps = steps

    def _branch(self, host: Track, optimizers: Sequence[Optimizer]) -> Track:
        parameters: list[Tensor] = [p for one in optimizers for p in held(one)]
        track = self._begin(narrowed(host.root, parameters), host.family)
        for one in optimizers:
            for other in self.open:
                other.members.guests.pop(id(one), None)
            self._enter(track, one)
        return track

    # networks that are trained no more

    def _park_others(self, root: nn.Module) -> None:
        """Let go of networks whose training seems over: a script that trains many one after another keeps none."""
        if self._models is not None or self._in_turn:
            return
        others = {t.ident for t in threading.enumerate()} - {threading.get_ident()}
        for track in [t for t in self.open if t.steps and t.family is not unwrapped(root) and t.thread not in others]:
            self._over(track)
            track.shut()
            number = self.file.numbers.pop(id(track), None)
            for one in track.members.inside:
                if number is not None:
                    self._parked[id(one)] = (weakref.ref(one), number, track.steps)
                self._by_optimizer.pop(id(one), None)
            self.open.remove(track)


def _syncs(root: nn.Module) -> bool:
    """Whether a forward of one process alone would wait for the others."""
    return any(type(m).__name__ == "SyncBatchNorm" for m in root.modules()) and torch.distributed.is_initialized()
