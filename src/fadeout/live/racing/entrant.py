"""An entrant: one process of a raced script.  Notes its losses, treats its network, and ends it after enough steps."""

import atexit
import functools
import gc
import math
import os
import sys
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from fadeout.errors import FadeoutError, ModelError
from fadeout.live.calls import Calls
from fadeout.live.losses import WRAPS
from fadeout.live.norms import is_sharded
from fadeout.live.racing.chance import Chance
from fadeout.live.racing.digest import Digest
from fadeout.live.racing.dose import give
from fadeout.live.racing.first_call import FirstCalls, Meeting
from fadeout.live.racing.loaded import Loaded
from fadeout.live.racing.order import End, Order, Report, handed, report_text
from fadeout.live.racing.place import place
from fadeout.live.racing.rounds import alone, fewest
from fadeout.live.racing.scouting import scout
from fadeout.live.racing.seeds import sow
from fadeout.live.racing.spelling import read
from fadeout.live.racing.standard import Answers
from fadeout.live.racing.start_weights import begin_from, keep
from fadeout.live.racing.trackers import Trackers
from fadeout.live.racing.untouched import Untouched
from fadeout.store.contract import plain

BY_HAND = 20  # backward passes without a step of torch.optim, after which a scout gives up
_HERE: list["Entrant"] = []  # hooks hold an entrant weakly


def install() -> None:
    """Take part, from now until the process ends."""
    order = handed()
    if order is None:
        return
    entrant = Entrant(order)
    _HERE.append(entrant)
    entrant.begin()


class Entrant:
    """Sees one process of a raced script."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.process = os.getpid()
        self.digest = Digest()
        self.files = Untouched(order.folder, order.begun)
        self.trackers = Trackers(order.folder)
        self.answers = Answers()
        self.chance = Chance()
        self.first = FirstCalls(self._met)
        self.losses: list[Tensor | None] = []
        self.marks: list[tuple[int, int]] = []
        self.steps: dict[int, int] = {}
        self.treated: list[str] = []
        self.notes: list[str] = []
        self.failed = ""
        self.loaded = Loaded()
        self.scouted: dict[str, Any] = {}
        self.expected = 0
        self._quiet = False  # what we do ourselves is not the script's
        self._calls: Calls | None = None
        self._meeting: Meeting | None = None
        self._scale: Any = None
        self._written = False
        self._stepping = self._asking = False
        self._before = 0  # backward passes before the step that is being made

    # the process

    def begin(self) -> None:
        """Hook in."""
        sow(self.order.seed)
        WRAPS.add(self)
        register_optimizer_step_pre_hook(self._before_step)
        register_optimizer_step_post_hook(self._after_step)
        made = Optimizer.__init__

        @functools.wraps(made)
        def told(optimizer: Any, *args: Any, **kwargs: Any) -> None:
            made(optimizer, *args, **kwargs)
            if not self._quiet and self.here:
                self.first.made(optimizer)

        Optimizer.__init__ = told  # type: ignore[assignment,method-assign]
        if self.order.role == "scout":
            self.loaded.begin()
        self.files.begin()
        self.trackers.begin()
        self.chance.begin()
        atexit.register(self._write, "ended")
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        """A fork of a process that has not trained may be the one that does."""
        if not self.marks and not self.losses and not self._written:
            self.process = os.getpid()
            Finalize(None, self._write, args=("ended",), exitpriority=0)  # such a process skips what atexit holds

    @property
    def here(self) -> bool:
        """Whether this process takes part, and is no fork of one that trains."""
        return os.getpid() == self.process

    # told by the wrapped functions

    def backward(self, loss: Tensor | None) -> None:
        """A backward pass begins."""
        if self._quiet or not self.here:
            return
        if self._over() and not self._stepping:
            self._stop()
        self.losses.append(None if loss is None else loss.detach().float().clone().reshape(()))

    def arrived(self) -> None:
        """A backward pass is over."""
        if self._quiet or not self.here:
            return
        if self._calls is not None:
            self._calls.backwards += 1
        if self.order.role == "scout" and not self.marks and len(self.losses) > BY_HAND:
            self.failed = (
                f"{len(self.losses)} backward passes and no step of a torch.optim optimizer: the script updates its "
                "weights by hand, or with an optimizer that is not torch's"
            )
            self._stop()

    def judged(self, function: Callable[..., Tensor], output: Any, target: Any, rest: dict[str, Any]) -> None:
        """A loss function was called."""
        if self.order.role == "control" and not self._quiet and self.here and torch.is_grad_enabled():
            self.answers.see(function, output, target, rest)

    def steps_of(self, optimizer: Any) -> int:
        """Steps of this optimizer so far."""
        return self.steps.get(self._number(optimizer), 0)

    def skipped(self, optimizer: Any) -> None:
        """A scaler left out a step."""
        number = self._number(optimizer)
        if not self._quiet and self.here and number >= 0:
            self._round(number)

    def scaling(self, scaler: Any) -> None:
        """A loss scaler is in use."""
        self._scale = scaler

    def clipped(self, total: Tensor, most: float) -> None:
        """Gradients were clipped."""

    # the network

    def _met(self, meeting: Meeting) -> None:
        """A network is about to run its first training forward."""
        if not self.here:
            self.first.close()
            return
        self.expected += 1
        self._watch_inputs(meeting)
        if _in_shards(meeting.called):
            self.failed = (
                "the network's weights are sharded: no process holds all of a weight, so no treatment can be given; "
                "race the script without sharding, with a smaller network if it must be"
            )
            self._stop()
        if self.order.role == "scout":
            if self._meeting is None or _size(meeting.model) > _size(self._meeting.model):
                self._meeting = meeting
                self._calls = Calls(meeting.called if meeting.whole else meeting.model)
                self._calls.arm()
            return
        self._quiet = True
        try:
            if self.order.start:
                begin_from(meeting.model, self._start_file(self.order.start))
            if self.order.treatment is not None:
                given = give(read(self.order.treatment), meeting, self.order.seed)
                self.treated += given.lines
                self.notes += given.notes
                keep(meeting.model, self._start_file(self.order.folder))
        except (FadeoutError, RuntimeError, ValueError, TypeError, AssertionError) as error:
            text = str(error).strip().splitlines()
            self.failed = f"it can't be given: {text[0] if text else type(error).__name__}"
        finally:
            self._quiet = False
            torch.clear_autocast_cache()  # it may hold the weights as they were before
        if self.failed:
            self._stop()

    def _watch_inputs(self, meeting: Meeting) -> None:
        if getattr(meeting.called, "_compiled_call_impl", None) is not None:
            self.notes.append("the network is compiled in place, so it was not checked that all arms saw the same data")
            return

        def see(module: nn.Module, args: Any, kwargs: Any) -> None:
            again = self._asking and len(self.losses) > self._before
            if not (self._quiet or again or torch.compiler.is_compiling()) and module.training and self.here:
                self.digest.see((args, kwargs))

        meeting.called.register_forward_pre_hook(see, with_kwargs=True, prepend=True)
        self.digest.see((meeting.args, meeting.kwargs))  # the walk over hooks of this call has not begun

    def _start_file(self, folder: str) -> Path:
        return Path(folder) / f"start-{place()}-{self.expected}.pt"

    # the optimizer's hooks

    def _number(self, optimizer: Any) -> int:
        return next((n for n, o in enumerate(self.first.all) if o is optimizer), -1)

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        number = self._number(optimizer)
        if self._quiet or not self.here or number < 0 or torch.compiler.is_compiling():
            return None
        self._stepping, self._asking, self._before = True, _asks_again(optimizer), len(self.losses)
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if self._meeting is None or self.scouted or all(optimizer is not o for o in self._meeting.optimizers):
            return None
        if not callable(closure):
            self._scout()
            return None

        def after(*a: Any, **k: Any) -> Any:
            out = closure(*a, **k)
            self._scout()
            return out

        if len(args) > 1:
            return (args[0], after, *args[2:]), kwargs
        return args, {**kwargs, "closure": after}

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        number = self._number(optimizer)
        if self._quiet or not self.here or number < 0 or torch.compiler.is_compiling():
            return
        self._stepping = self._asking = False
        self.steps[number] = self.steps.get(number, 0) + 1
        if _asks_again(optimizer):
            del self.losses[self._before + 1 :]  # the first answer is the step's
        self._round(number)

    def _round(self, number: int) -> None:
        """A step was made, or left out by a loss scaler."""
        self.marks.append((number, len(self.losses)))
        self.digest.step()
        if self._over():
            self._stop()

    def _over(self) -> bool:
        """Whether the run has come to where it was told to end."""
        if self.order.backwards:
            return len(self.losses) >= self.order.backwards
        return max(self.steps.values(), default=0) >= self.order.steps and fewest(self.marks) >= self.order.steps

    def _scout(self) -> None:
        if self._calls is None or self._meeting is None or self.scouted:
            return
        self._calls.disarm()
        scale = float(self._scale.get_scale()) if self._scale is not None and self._scale.is_enabled() else 1.0
        self._quiet = True
        try:
            loaded = self.loaded.why(self._meeting, self.files.read_weights)
            found = scout(self._meeting, self._calls.last(), scale, loaded=loaded)
            self.scouted = {**plain(found), "model": _said(self._meeting), "compiled": _compiled()}
        except (FadeoutError, ModelError) as error:
            self.failed = f"the network can't be examined: {str(error).partition(': ')[2] or error}"
        finally:
            self._quiet = False
            self._calls.forget()
        if self.failed:
            self._stop()

    # the end

    def _stop(self) -> None:
        self._write("stopped")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    def _write(self, end: End) -> None:
        if self._written or not self.here:
            return
        self._written = self._quiet = True
        gc.collect()
        main = sys.modules.get("__main__")
        losses = [math.nan if v is None else float(v) for v in self.losses]
        report = Report(
            end=end,
            rank=place(),
            script=os.path.abspath(getattr(main, "__file__", None) or ""),
            argv=tuple(sys.argv[1:]),
            steps=tuple(self.steps.values()),
            losses=tuple(losses),
            marks=tuple(self.marks),
            random=tuple(self.digest.random),
            inputs=self.digest.inputs(made=not alone(self.marks)),
            constant=self.answers.constant(losses),
            started=parent_process() is not None,
            sampled=self.chance.sampled,
            treated=tuple(self.treated),
            expected=self.expected,
            failed=self.failed,
            written=tuple(self.files.written),
            saved=tuple(self.files.saved),
            logged=tuple(self.trackers.logged),
            trackers=tuple(self.trackers.used),
            scouted=self.scouted,
            notes=tuple(dict.fromkeys(self.notes)),
        )
        path = Path(self.order.folder) / f"report-{os.getpid()}.json"
        with open(f"{path}.part", "w", encoding="utf-8") as stream:
            stream.write(report_text(report))
        os.replace(f"{path}.part", path)


def _in_shards(model: nn.Module) -> bool:
    """FSDP and its like: each process holds a part of the weights."""
    named = any(type(m).__name__ == "FullyShardedDataParallel" for m in model.modules())
    return named or any(is_sharded(p) for p in model.parameters())


def _asks_again(optimizer: Optimizer) -> bool:
    """Whether a step asks its closure more than once, and not always as often."""
    return "LBFGS" in type(optimizer).__name__


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _said(meeting: Meeting) -> str:
    return f"{type(meeting.model).__name__}, {_size(meeting.model):,} weights"


def _compiled() -> bool:
    dynamo = sys.modules.get("torch._dynamo.utils")
    return bool(dynamo is not None and dynamo.counters["stats"])
