"""The watch: sees every optimizer step of a process, probes some, writes it down, and never harms the training."""

import functools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from fadeout.live.budget import Budget
from fadeout.live.file import RunFile
from fadeout.live.losses import WRAPS
from fadeout.live.members import held
from fadeout.live.options import BUDGET, CREDIT, Options, rank
from fadeout.live.probing import Judged
from fadeout.live.telling import Telling
from fadeout.live.track import Track
from fadeout.live.tracks import Tracks
from fadeout.records import Exam
from fadeout.store.runs import new_store

PATIENCE = 5.0  # seconds that one thread of the script waits for the watch in another one; what it did then goes unseen
FOLDER = "fadeout-runs"
OFF = "the watch has switched itself off at an error of its own"


def watch(
    model: nn.Module | Sequence[nn.Module],
    optimizer: Optimizer | Sequence[Optimizer],
    *,
    store: str | os.PathLike[str] | None = None,
    budget: float = BUDGET,
    credit: float = CREDIT,
    live: bool = True,
) -> "Watch":
    """Watch a training loop from inside: `with fadeout.watch(model, optimizer) as seen: ...`.

    At every optimizer step the norms of all gradients are noted, at some steps the way back through
    the network is measured as `examine` does. Your training is not touched: weights and random state stay
    the same to the bit. `fadeout run train.py` does the same for a script that you don't want to edit.

    Args:
        model: The network, or several; DDP and compiled wrappers are seen through.
        optimizer: Its optimizer, or several.
        store: The file that is written; by default a new one in the folder fadeout-runs.
        budget: Share of the training's time that the watch may take.
        credit: Seconds that the first probes may take, whatever the budget.
        live: Print a line when a finding appears, and the verdict at the end.

    Raises:
        TypeError: If the model is no module, or the optimizer none of torch's.
        ValueError: If the optimizer holds no parameter of the model.
        FadeoutError: If the file can't be written.
    """
    models: list[Any] = list(model) if isinstance(model, (list, tuple)) else [model]
    optimizers: list[Any] = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]
    if not models or not all(isinstance(m, nn.Module) for m in models):
        raise TypeError("watch: the model must be a torch.nn.Module, or several; watch(model, optimizer)")
    if not optimizers or not all(isinstance(o, Optimizer) for o in optimizers):
        raise TypeError("watch: the optimizer must be a torch.optim.Optimizer, or several; watch(model, optimizer)")
    if not 0 <= budget <= 1:
        raise ValueError(f"watch: budget= is a share of the time, from 0 to 1; got {budget}")
    every = {id(p) for m in models for p in m.parameters()}
    for one in optimizers:
        if not any(id(p) in every for p in held(one)):
            raise ValueError(f"watch: {type(one).__name__} holds no parameter of the model; pass the model's own")
    where = Path(store) if store is not None else new_store(Path(FOLDER), "watch")
    options = Options(store=str(where), budget=budget, credit=credit, live=live)
    return Watch(options, models=models, optimizers=optimizers, script=" ".join(sys.argv))


def _safely(method: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that raises nothing into the user's training: on an error the watch says so once and ends.

    Threads of the script come in one after the other; what we ourselves set off inside is not watched.
    """

    @functools.wraps(method)
    def run(self: "Watch", *args: Any, **kwargs: Any) -> Any:
        with self._alone() as entered:
            if not entered or self.ended:
                return None
            try:
                with self.budget.counted():
                    return method(self, *args, **kwargs)
            except Exception as error:
                self._give_up(error)
                return None

    return run


class Watch:
    """Sees a process train.

    Attributes:
        path: Of the file that is written.
        exams: Of networks whose training was over before.
        ended: Nothing is watched any more.
    """

    def __init__(
        self,
        options: Options,
        *,
        models: Sequence[nn.Module] | None = None,
        optimizers: Sequence[Optimizer] | None = None,
        script: str = "",
    ) -> None:
        self.options = options
        self.path = Path(options.store)
        self.budget = Budget(options.budget, options.credit)
        self.file = RunFile(self.path, script)
        self.exams: list[Exam | None] = []
        self.ended = False
        self._tracks = Tracks(self.file, self.budget, models, self._is_over)
        self._telling = Telling(self.file, live=options.live and rank() == 0)
        self._models = models
        self._optimizers = None if optimizers is None else {id(o) for o in optimizers}
        self._chosen = list(optimizers or ())
        self._lock = threading.Lock()
        self._inside = 0  # the thread that is in here
        self._process = os.getpid()
        self._handles: list[Any] = []
        self._hooked: weakref.WeakKeyDictionary[Optimizer, tuple[Any, Any]] = weakref.WeakKeyDictionary()
        self._words: list[str] = []
        self._backwards = 0
        self._moved = False  # a step of some optimizer was seen

    def __repr__(self) -> str:
        seen = [f"{type(t.inner).__name__}, {t.steps:,} steps, {len(t.prober.readings)} probes" for t in self.tracks]
        exam = self.exam
        parts = [str(self.path), *seen, *([exam.verdict] if exam is not None else [])]
        return f"<Watch {'; '.join(parts)}>"

    @property
    def tracks(self) -> list[Track]:
        """One for each network that is trained now."""
        return self._tracks.open

    @property
    def exam(self) -> Exam | None:
        """Of the first network with a probe; None where nothing was probed yet."""
        found = [exam for exam in (*self.exams, *(t.exam for t in self.tracks)) if exam is not None]
        return found[0] if found else None

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(exit_code=None if kind is None else 1)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """One thread of this process at a time; False for what it sets off itself, and where another takes too long."""
        here = threading.get_ident()
        if self.ended or self._inside == here or os.getpid() != self._process:
            yield False
            return
        if not self._lock.acquire(timeout=PATIENCE):
            yield False
            return
        self._inside = here
        try:
            yield True
        finally:
            self._inside = 0
            self._lock.release()

    def begin(self) -> None:
        """Hook in.

        Raises:
            FadeoutError: If the file can't be written.
        """
        if self._models is not None:
            self.file.open()
        WRAPS.add(self)
        if self._chosen:
            for optimizer in self._chosen:
                self._hook(optimizer)
                self._tracks.made(optimizer)
        else:
            self._handles.append(register_optimizer_step_pre_hook(self._meet))

    def _meet(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """An optimizer steps that may be new: hooks of its own see it, where a thread may wait for another one.

        Inside of a hook for all optimizers it may not: torch goes through their table meanwhile, which another thread
        may change.
        """
        if torch.compiler.is_compiling() or self.ended or self._inside == threading.get_ident():
            return
        self._hook(optimizer)

    def _hook(self, optimizer: Optimizer) -> None:
        if optimizer not in self._hooked:
            before = optimizer.register_step_pre_hook(self._before_step)
            self._hooked[optimizer] = before, optimizer.register_step_post_hook(self._after_step)

    # told by the wrapped functions

    @_safely
    def made(self, optimizer: Optimizer) -> None:
        """An optimizer was constructed: the first forward after it can be probed already."""
        self._tracks.made(optimizer)

    def backward(self, loss: Tensor | None) -> None:
        """A backward pass begins."""
        self._backwards += 1
        self._tell("backward", loss)

    def arrived(self) -> None:
        """A backward pass is over."""
        self._tell("arrived")

    def judged(self, function: Callable[..., Tensor], output: Any, target: Any, rest: dict[str, Any]) -> None:
        """A loss function was called."""
        if any(track.due for track in self.tracks) and isinstance(output, Tensor) and output.requires_grad:
            one = Judged(output=output.detach(), target=target, function=functools.partial(_called, function, rest))
            self._tell("judged", one)

    def scaling(self, scaler: Any) -> None:
        """A loss scaler is in use."""
        self._tell("scaling", scaler)

    def clipped(self, total: Tensor, most: float) -> None:
        """Gradients were clipped."""
        self._tell("clipped", total, most)

    def steps_of(self, optimizer: Any) -> int:
        """Steps that this optimizer has done."""
        track = self._tracks.known(optimizer)
        return track.members.calls_of(optimizer) if track is not None else -1

    @_safely
    def skipped(self, optimizer: Any) -> None:
        """A scaler left out a step."""
        track = self._tracks.of(optimizer) if self._watches(optimizer) else None
        if track is not None:
            track.skip(optimizer)

    @_safely
    def _tell(self, what: str, *args: Any) -> None:
        for track in self._near():
            getattr(track, what)(*args)

    def _near(self) -> list[Track]:
        """The tracks that this thread trains, as far as that is known."""
        here = threading.get_ident()
        return [track for track in self.tracks if track.thread in (0, here)]

    # the optimizer's hooks

    def _watches(self, optimizer: Optimizer) -> bool:
        return not torch.compiler.is_compiling() and (self._optimizers is None or id(optimizer) in self._optimizers)

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        return self._before(optimizer, args, kwargs) if self._watches(optimizer) else None

    @_safely
    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        track = self._tracks.of(optimizer)
        if track is None:
            return None
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if callable(closure):
            wrapped = track.wrapped(closure, functools.partial(self._at_gradients, track, optimizer))
            if len(args) > 1:
                return (args[0], wrapped, *args[2:]), kwargs
            return args, {**kwargs, "closure": wrapped}
        track.before(optimizer)
        return None

    @_safely
    def _at_gradients(self, track: Track, optimizer: Optimizer) -> None:
        track.before(optimizer)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not torch.compiler.is_compiling():
            self._after(optimizer)

    @_safely
    def _after(self, optimizer: Optimizer) -> None:
        track = self._tracks.known(optimizer)
        if track is None:
            return
        track.after(optimizer)
        self._moved = True
        for other in self._near():
            if other is not track:
                other.forget_loss()
        readings = track.prober.readings
        if readings and readings[-1].step != track.concluded_at:
            self._conclude(track)
        if self.file.is_time() or track.steps == 1:
            self.file.write(self.tracks, self.budget)

    # what is said and written

    def _conclude(self, track: Track) -> None:
        with self.budget.probe():
            self.file.bring(track)
            exam = track.conclude()
        track.concluded_at = track.prober.readings[-1].step
        if exam is not None:
            self.file.probed(track)
            self._telling.say(track, exam, several=len(self.tracks) > 1)

    def _is_over(self, track: Track) -> None:
        """A network is trained no more."""
        self.file.bring(track, last=True)
        if track.prober.readings:
            self._conclude(track)
        self.exams.append(track.exam)
        self._words += track.words

    def _give_up(self, error: Exception) -> None:
        """Say once what went wrong, and watch no more."""
        self.ended = True
        self._unhook()
        first = (str(error).splitlines() or [""])[0]
        word = f"{OFF} ({type(error).__name__}: {first[:200]})"
        print(f"fadeout: {word}; the training goes on untouched", file=sys.stderr, flush=True)
        with suppress(Exception):  # the file itself may be what failed
            if self._moved:
                self.file.write(self.tracks, self.budget, last=True)
        with suppress(Exception):
            self.file.tell("words", [word])
            self.file.tell("gave_up", True)

    def _unhook(self) -> None:
        """Every hook off, whatever the others do."""
        WRAPS.remove(self)
        handles = [*self._handles, *(handle for pair in self._hooked.values() for handle in pair)]
        for take_off in [handle.remove for handle in handles] + [track.shut for track in self.tracks]:
            with suppress(Exception):
                take_off()
        self._handles = []
        self._hooked.clear()

    def end(self, *, exit_code: int | None = 0) -> None:
        """Hook out, write the rest, and say the verdict where the watch is not one of a launched script."""
        if os.getpid() != self._process:
            return
        with self._alone() as entered:
            if entered and not self.ended:
                try:
                    self._finish(exit_code)
                except Exception as error:
                    self._give_up(error)
            elif not self.ended:  # another thread is in the middle of a step
                self._unhook()
            self.ended = True
        self.file.close()

    def _finish(self, exit_code: int | None) -> None:
        self._unhook()
        self.file.write(self.tracks, self.budget, last=True)
        for track in self.tracks:
            exam = track.conclude()
            if exam is not None:
                self.file.probed(track)
                self._telling.settle(track, exam)
        if self._backwards > 0 and not self._moved:
            self.file.open()
            self._words.append(f"{self._backwards:,} backward passes were seen, but no step of a torch.optim optimizer")
        self.file.tell("words", list(dict.fromkeys([*self._words, *(w for track in self.tracks for w in track.words)])))
        if exit_code is not None:
            self.file.tell("exit_code", exit_code)
        if self._models is not None and self.options.live and self.file.opened:
            from fadeout.live.ending import say

            say(self.file.open().read(), self.path)


def _called(function: Callable[..., Tensor], rest: dict[str, Any], output: Any, target: Any) -> Tensor:
    return function(output, target, **rest)
