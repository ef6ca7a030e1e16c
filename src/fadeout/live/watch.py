"""The watch: sees every optimizer step of a process, probes some, writes it down, and never harms the training."""

import functools
import os
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from fadeout.live.budget import Budget
from fadeout.live.losses import WRAPS
from fadeout.live.options import BUDGET, CREDIT, Options, rank
from fadeout.live.probing import Judged
from fadeout.live.roots import roots_of, unwrapped
from fadeout.live.track import Track
from fadeout.records import Exam, Finding, Noticed
from fadeout.store.runs import Runs, new_store

WRITE = 1.0  # seconds from one write to the next: what a kill may lose
FOLDER = "fadeout-runs"


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
        if not any(id(p) in every for group in one.param_groups for p in group["params"]):
            raise ValueError(f"watch: {type(one).__name__} holds no parameter of the model; pass the model's own")
    where = Path(store) if store is not None else new_store(Path(FOLDER), "watch")
    options = Options(store=str(where), budget=budget, credit=credit, live=live)
    return Watch(options, models=models, optimizers=optimizers, script=" ".join(sys.argv))


def _safely(method: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that raises nothing into the user's training: on an error the watch says so once and ends."""

    @functools.wraps(method)
    def run(self: "Watch", *args: Any, **kwargs: Any) -> Any:
        if self.ended or self._busy or os.getpid() != self._process:
            return None
        self._busy = True
        try:
            with self.budget.counted():
                return method(self, *args, **kwargs)
        except Exception as error:
            self._give_up(error)
            return None
        finally:
            self._busy = False

    return run


class Watch:
    """Sees a process train.

    Attributes:
        path: Of the file that is written.
        tracks: One for each network that is trained now.
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
        self.tracks: list[Track] = []
        self.ended = False
        self._models, self._script = models, script
        self._optimizers = None if optimizers is None else {id(o) for o in optimizers}
        self._chosen = list(optimizers or ())
        self._busy = False
        self._backwards = 0
        self._process = os.getpid()
        self._store: Runs | None = None
        self._numbers: dict[int, int] = {}
        self._by_optimizer: dict[int, Track] = {}
        self._handles: list[Any] = []
        self._written = 0.0
        self._reading = False
        self._words: list[str] = []
        self._parked: dict[int, tuple[Any, int, int]] = {}  # by id: the optimizer, its track's number and steps
        self._in_turn = False  # an optimizer that seemed over steps again: from now on all are kept
        self._moved = False  # a step of some optimizer was seen
        self.exams: list[Exam | None] = []

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(exit_code=None if kind is None else 1)

    def begin(self) -> None:
        """Hook in.

        Raises:
            FadeoutError: If the file can't be written.
        """
        if self._models is not None:
            self._open()
        WRAPS.add(self)
        if self._chosen:
            for optimizer in self._chosen:
                self._handles.append(optimizer.register_step_pre_hook(self._before_step))
                self._handles.append(optimizer.register_step_post_hook(self._after_step))
                self._begin_track(optimizer)
        else:
            self._handles.append(register_optimizer_step_pre_hook(self._before_step))
            self._handles.append(register_optimizer_step_post_hook(self._after_step))

    def made(self, optimizer: Optimizer) -> None:
        """An optimizer was constructed: the first forward after it can be probed already."""
        self._made(optimizer)

    @_safely
    def _made(self, optimizer: Optimizer) -> None:
        self._begin_track(optimizer)

    # told by the wrapped functions

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
        track = self._by_optimizer.get(id(optimizer))
        return track.steps if track is not None else -1

    @_safely
    def skipped(self, optimizer: Any) -> None:
        """A scaler left out a step."""
        track = self._by_optimizer.get(id(optimizer))
        if track is not None:
            track.skip()

    @_safely
    def _tell(self, what: str, *args: Any) -> None:
        for track in self.tracks:
            getattr(track, what)(*args)

    # the optimizer's hooks

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or (self._optimizers is not None and id(optimizer) not in self._optimizers):
            return None
        return self._before(optimizer, args, kwargs)

    @_safely
    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        track = self._by_optimizer.get(id(optimizer))
        if track is None:
            track = self._begin_track(optimizer)
        if track is None:
            return None
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if callable(closure):
            wrapped = track.wrapped(closure)
            if len(args) > 1:
                return (args[0], wrapped, *args[2:]), kwargs
            return args, {**kwargs, "closure": wrapped}
        track.before()
        return None

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not torch.compiler.is_compiling():
            self._after(optimizer)

    @_safely
    def _after(self, optimizer: Optimizer) -> None:
        track = self._by_optimizer.get(id(optimizer))
        if track is None:
            return
        track.after()
        self._moved = True
        for other in self.tracks:
            if other is not track:
                other.forget_loss()
        if track.prober.readings and track.prober.readings[-1].step != track.concluded_at:
            self._conclude(track)
        if time.monotonic() - self._written > WRITE or track.steps == 1:
            self._write()

    # tracks

    def _begin_track(self, optimizer: Optimizer) -> Track | None:
        if id(optimizer) in self._by_optimizer:
            return self._by_optimizer[id(optimizer)]
        parked = self._parked.pop(id(optimizer), None)
        self._in_turn = self._in_turn or (parked is not None and parked[0]() is optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        roots = roots_of(parameters, among=None if self._models is None else _all_modules(self._models))
        if not roots:
            return None
        if not self.tracks:
            self.budget.begun = time.perf_counter()
        root = roots[0]
        self._park_others(root)
        followed = next((t for t in self.tracks if t.steps and t.inner is unwrapped(root)), None)
        if followed is not None:  # the script has made a new optimizer for the same network
            self._by_optimizer.pop(id(followed.optimizer), None)
            followed.adopt(optimizer)
            self._by_optimizer[id(optimizer)] = followed
            return followed
        track = Track(optimizer, root, self.budget, probes=rank() == 0 and not _syncs(root))
        if parked is not None and parked[0]() is optimizer:
            self._numbers[id(track)], track.steps = parked[1], parked[2]
        if len(roots) > 1:
            others = ", ".join(type(r).__name__ for r in roots[1:])
            track.words.append(f"{type(optimizer).__name__} also trains {others}, whose way back is not measured")
        self.tracks.append(track)
        self._by_optimizer[id(optimizer)] = track
        alone = len(self.tracks) == 1
        for one in self.tracks:
            one.alone = alone
        return track

    def _park_others(self, root: nn.Module) -> None:
        """Let go of networks whose training seems over: a script that trains many one after another keeps none."""
        if self._models is not None or self._in_turn:
            return
        for track in [t for t in self.tracks if t.steps and t.inner is not unwrapped(root)]:
            self._bring(track, last=True)
            if track.prober.readings:
                self._conclude(track)
            self.exams.append(track.exam)
            track.close()
            self._words += track.words
            number = self._numbers.pop(id(track), None)
            if number is not None:
                self._parked[id(track.optimizer)] = (weakref.ref(track.optimizer), number, track.steps)
            self._by_optimizer.pop(id(track.optimizer), None)
            self.tracks.remove(track)

    def _conclude(self, track: Track) -> None:
        with self.budget.probe():
            self._bring(track)
            exam = track.conclude()
        track.concluded_at = track.prober.readings[-1].step
        if exam is None:
            return
        self._open_for(track).probed(self._numbers[id(track)], track.concluded_at, exam)
        for finding in exam.findings:
            if finding.level in ("alarm", "warning") and finding.code not in track.said:
                track.said.add(finding.code)
                self._say(track, finding)

    def _say(self, track: Track, finding: Finding) -> None:
        noticed = Noticed(step=track.steps, code=finding.code, level=finding.level, text=finding.claim)
        self._open_for(track).notice(self._numbers[id(track)], noticed)
        if self.options.live and rank() == 0:
            which = f" ({type(track.inner).__name__})" if len(self.tracks) > 1 else ""
            print(
                f"fadeout: step {track.steps:,}{which}: {finding.level} {finding.code}, {finding.claim}",
                file=sys.stderr, flush=True,
            )  # fmt: skip

    # the file

    def _open(self) -> Runs:
        if self._store is None:
            self._store = Runs(self.path)
            self._store.tell("started", time.strftime("%Y-%m-%d %H:%M:%S"))
            if self._script:
                self._store.tell("script", self._script)
        return self._store

    def _open_for(self, track: Track) -> Runs:
        store = self._open()
        if id(track) not in self._numbers:
            number = store.track(
                f"{rank()}:{os.getpid()}", type(track.inner).__name__, _words(track.optimizer), track.names,
                sharded=track.sharded,
            )  # fmt: skip
            self._numbers[id(track)] = number
            track.fresh_names = False
        elif track.fresh_names:
            store.rename(self._numbers[id(track)], track.names)
            track.fresh_names = False
        return store

    def _bring(self, track: Track, *, last: bool = False) -> None:
        bins = track.take(last=last)
        if (rank() == 0 or track.sharded) and track.steps:
            store, done = self._open_for(track), track.steps - track.left_out
            store.add(self._numbers[id(track)], bins, steps=done, skipped=track.skipped)

    def _write(self, *, last: bool = False) -> None:
        self._written = time.monotonic()
        for track in self.tracks:
            self._bring(track, last=last)
        if self._store is not None:
            seconds = max(self.budget.passed(), self.budget.spent)
            self._store.spend(f"{rank()}:{os.getpid()}", seconds, self.budget.spent)

    def _give_up(self, error: Exception) -> None:
        """Say once what went wrong, and watch no more."""
        self.ended = True
        first = (str(error).splitlines() or [""])[0]
        word = f"the watch has switched itself off at an error of its own ({type(error).__name__}: {first[:200]})"
        print(f"fadeout: {word}; the training goes on untouched", file=sys.stderr, flush=True)
        try:
            self._unhook()
            if self._store is not None:
                self._store.tell("words", [word])
        except Exception:  # the file itself may be what failed
            return

    def _unhook(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        WRAPS.remove(self)
        for track in self.tracks:
            track.close()

    def end(self, *, exit_code: int | None = 0) -> None:
        """Hook out, write the rest, and say the verdict where the watch is not one of a launched script."""
        if os.getpid() != self._process:
            return
        if not self.ended:
            self._busy = True
            try:
                self._finish(exit_code)
            except Exception as error:
                self._give_up(error)
            finally:
                self._busy, self.ended = False, True
        if self._store is not None:
            self._store.close()
            self._store = None

    def _finish(self, exit_code: int | None) -> None:
        self._unhook()
        self._write(last=True)
        for track in self.tracks:
            if track.prober.readings:
                exam = track.conclude()
                self._open_for(track).probed(self._numbers[id(track)], track.prober.readings[-1].step, exam)
        unmoved = self._backwards > 0 and not self._moved
        if unmoved:
            self._open()
        if self._store is not None:
            words = self._words + [word for track in self.tracks for word in track.words]
            if unmoved:
                words.append(f"{self._backwards:,} backward passes were seen, but no step of a torch.optim optimizer")
            self._store.tell("words", list(dict.fromkeys(words)))
            if exit_code is not None:
                self._store.tell("exit_code", exit_code)
        if self._models is not None and self.options.live:
            from fadeout.live.ending import say

            if self._store is not None:
                say(self._store.read(), self.path)

    @property
    def exam(self) -> Exam | None:
        """Of the track with most steps; None where nothing was probed yet."""
        found = [exam for exam in (*self.exams, *(t.exam for t in self.tracks)) if exam is not None]
        return found[0] if found else None


def _called(function: Callable[..., Tensor], rest: dict[str, Any], output: Any, target: Any) -> Tensor:
    return function(output, target, **rest)


def _all_modules(models: Sequence[nn.Module]) -> list[nn.Module]:
    return list({id(m): m for model in models for m in model.modules()}.values())


def _syncs(root: nn.Module) -> bool:
    """Whether a forward of one process alone would wait for the others."""
    return any(type(m).__name__ == "SyncBatchNorm" for m in root.modules()) and torch.distributed.is_initialized()


def _words(optimizer: Optimizer) -> str:
    rates = sorted({float(g["lr"]) for g in optimizer.param_groups if "lr" in g and not isinstance(g["lr"], Tensor)})
    return type(optimizer).__name__ + (f" lr {rates[0]:g}" if rates else "")
