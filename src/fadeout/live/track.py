"""A track: one optimizer and the module that holds its parameters, watched step by step."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.errors import FadeoutError
from fadeout.live.budget import Budget
from fadeout.live.calls import Calls
from fadeout.live.carrier import Carrier, Sample
from fadeout.live.norms import is_sharded, norms
from fadeout.live.probing import Facts, Judged, Prober
from fadeout.live.roots import names_of, unwrapped
from fadeout.live.still import ImpureError
from fadeout.probe.account.norms import stride
from fadeout.probe.graph.paths import readable_path
from fadeout.records import Exam
from fadeout.store.runs import Bin, blob

FIRST = 3  # steps whose updates are measured
SAMPLE = 1 << 14  # elements of a parameter on which its update is measured
WEIGHTS = 16  # samples of gradients for one of weights
FAILURES = 3  # probes in a row that may fail
GROWTH = 1.5  # a probe's step over that of the one before, at least
KEPT = 4096  # losses that are kept for the diagnosis
IN_PARTS = (
    "the script calls parts of the network one by one, so the way back is measured in each part by itself; "
    "what lies between them is not in the account"
)


class Track:
    """Measures at the optimizer's steps; writes nothing itself.

    Attributes:
        steps: Calls of the optimizer so far.
        skipped: Left out by a scaler.
        left_out: Those among the calls, by an optimizer that finds out itself.
        said: Codes of findings that were told.
        words: For the reader of the run, each once.
        alone: No other optimizer steps in this process, so that losses do not alternate.
        concluded_at: Step of the newest reading that was judged.
        broken: Step whose loss was not finite; None if never.
    """

    def __init__(self, optimizer: Optimizer, root: nn.Module, budget: Budget, *, probes: bool) -> None:
        self.optimizer, self.root, self.budget = optimizer, root, budget
        self.inner = unwrapped(root)
        self.steps = self.skipped = self.left_out = 0
        self.losses: list[float] = []
        self.said: set[str] = set()
        self.words: list[str] = []
        self.exam: Exam | None = None
        self.fresh_names = True
        self.alone = True
        self.calls = Calls(root)
        self.prober = Prober(self.inner)
        self._list()
        self.probes = probes and not self.sharded
        if self.sharded:
            self.words.append(
                "parameters are sharded: norms are those of all shards together; the way back through the layers "
                "is not measured, because that would need every process at once"
            )
        self._failures = 0
        self._next = 0  # step before which a probe is due
        self._every = 1
        self._pending: list[Sample] = []
        self._carrier = Carrier()
        self._ready: list[Bin] = []
        self._loss: Tensor | None = None
        self._first_loss: Tensor | None = None  # of a step that asks its closure several times
        self._clips: list[tuple[Tensor, float]] = []
        self._bites: list[bool] = []
        self._judged: list[Judged] = []
        self._before: list[Tensor] | None = None
        self._scaler: Any = None
        self._ended = 0.0
        self._spent_before = 0.0
        self._norm_cost = math.inf
        self._step_cost = 0.0
        self._updates: dict[str, float] = {}
        self._moved = False
        self._start_size = math.nan
        self._size = math.nan
        self.broken: int | None = None
        self.concluded_at = -1
        if self.probes:
            self.calls.arm()

    def _list(self) -> None:
        """The parameters as the optimizer holds them now."""
        self.parameters: list[Tensor] = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.names = names_of(self.inner, self.parameters)
        self.sharded = any(is_sharded(p) for p in self.parameters)
        self.fresh_names = True

    def adopt(self, optimizer: Optimizer) -> None:
        """Go on with another optimizer of the same network."""
        self.optimizer = optimizer
        self._list()
        if self.due:
            self.calls.arm()

    def _held(self) -> int:
        return sum(len(group["params"]) for group in self.optimizer.param_groups)

    # what the step tells

    def backward(self, loss: Tensor | None) -> None:
        """A backward pass begins."""
        self.calls.going_back = True
        if loss is not None:
            value = loss.detach().float().clone()
            self._loss = value if self._loss is None else self._loss + value

    def forget_loss(self) -> None:
        """What was sent backward so far belonged to another optimizer's step."""
        self._loss = None

    def arrived(self) -> None:
        """A backward pass is over."""
        self.calls.backwards += 1
        self.calls.going_back = False

    def judged(self, one: Judged) -> None:
        """A loss function was called; it is kept only while a probe is due."""
        if self.due and len(self._judged) < 8:
            self._judged.append(one)

    def scaling(self, scaler: Any) -> None:
        """A loss scaler is in use."""
        self._scaler = scaler

    def clipped(self, total: Tensor, most: float) -> None:
        """Gradients were clipped."""
        self._clips.append((total.float(), most))

    def skip(self) -> None:
        """A scaler left out a step."""
        self.skipped += 1
        self._loss, self._clips, self._judged = None, [], []
        self.calls.forget()

    @property
    def due(self) -> bool:
        """Whether the coming step is to be probed."""
        return self.probes and self.steps >= self._next

    # the two sides of a step

    def before(self) -> None:
        """The optimizer is about to use the gradients."""
        begun = time.perf_counter()
        if self._held() != len(self.parameters):
            self._list()
        probing = self.due
        if self.steps % self._every == 0 or probing or self.steps < FIRST:
            self._note_gradients()
            self._norm_cost = min(1.05 * self._norm_cost, time.perf_counter() - begun)
        if probing:
            with self.budget.probe():
                self._probe()
        if self.steps < FIRST or probing:
            self._before = [_sampled(p).clone() for p in self.parameters]
        flag = getattr(self.optimizer, "found_inf", None)
        if isinstance(flag, Tensor):
            self._pending.append(("left out", self.steps + 1, flag.detach().clone().reshape(1)))

    def _note_gradients(self) -> None:
        found = norms([p.grad for p in self.parameters])
        scale = getattr(self.optimizer, "grad_scale", None)
        if isinstance(scale, Tensor):  # a fused step divides by it only inside
            found = found / scale.to(found.device)
        self._pending.append(("gradient", self.steps + 1, found))
        if self.steps % (self._every * WEIGHTS) == 0 or self.steps < FIRST:
            self._pending.append(("weight", self.steps + 1, norms([p.detach() for p in self.parameters])))

    def after(self) -> None:
        """The step was taken."""
        self.steps += 1
        if self._before is not None:
            self._note_updates(self._before)
            self._before = None
        loss = self._first_loss if self._first_loss is not None else self._loss
        if loss is not None:
            self._pending.append(("loss", self.steps, loss.reshape(1)))
        rates = [float(g["lr"]) for g in self.optimizer.param_groups[:1] if "lr" in g and not _on_device(g["lr"])]
        if rates and (self.steps % self._every == 0 or self.steps <= FIRST):
            self._ready.append(("rate", self.steps, self.steps, blob(rates), None))
        for total, most in self._clips:
            self._pending.append(("total", self.steps, total.reshape(1)))
            self._pending.append(("bite", self.steps, (total > most).float().reshape(1)))
        self._loss = self._first_loss = None
        self._clips, self._judged = [], []
        self._timed()
        self.calls.disarm()
        self.calls.forget()
        if self.due and self.budget.allows_probe():
            self.calls.arm()
        elif self.due:
            self._next = self.steps + max(1, self._every)  # asked again once there is room in the budget

    def _timed(self) -> None:
        now = time.perf_counter()
        if self._ended:
            whole = now - self._ended
            own = self.budget.spent - self._spent_before
            self._step_cost = 0.9 * self._step_cost + 0.1 * max(0.0, whole - own) if self._step_cost else whole - own
            if self.steps % self._every == 0:
                self._ready.append(("step_ms", self.steps, self.steps, blob([1000 * whole]), None))
                self._ready.append(("watch_ms", self.steps, self.steps, blob([1000 * own]), None))
            self._every = self.budget.every(self._step_cost, self._norm_cost if self._norm_cost < math.inf else 0.0)
        self._ended, self._spent_before = now, self.budget.spent

    @torch.no_grad()
    def _note_updates(self, before: Sequence[Tensor]) -> None:
        now = [_sampled(p) for p in self.parameters]
        if [t.shape for t in now] != [t.shape for t in before]:
            return
        change, size = norms([a - b for a, b in zip(now, before, strict=True)]), norms(list(before))
        self._pending.append(("update", self.steps, change / size))

    # probes

    def _probe(self) -> None:
        """A reading of this step; what fails costs the run nothing but this reading."""
        self.calls.disarm()
        step = self.steps
        self._next = max(step + 1, math.ceil(GROWTH * step))
        flag = getattr(self.optimizer, "found_inf", None)
        if isinstance(flag, Tensor) and float(flag) > 0:  # the loss scale was too large: no step will be taken
            self._next = step + 1
            self.calls.forget()
            return
        if self.calls.in_parts and IN_PARTS not in self.words:
            self.words.append(IN_PARTS)
        try:
            loss = float(self._loss) if self._loss is not None else math.nan
            self.prober.take(step, self.calls.last(), self._scale(), self.optimizer, loss, tuple(self._judged))
            self._failures = 0
        except FadeoutError as error:
            self._failures += FAILURES if isinstance(error, ImpureError) else 1
            word = str(error).removeprefix("run: ")
            if word not in self.words and self._failures >= FAILURES:
                self.words.append(word)
                self.probes = False
        finally:
            self.calls.forget()
            self._judged = []

    def _scale(self) -> float:
        """The loss scale in the gradients that came back through the network."""
        if self._scaler is None or not self._scaler.is_enabled():
            return 1.0
        return float(self._scaler.get_scale())

    # what is handed on

    def take(self, *, last: bool = False) -> list[Bin]:
        """Samples that have arrived on this machine; from another device they come one call later, or at the last."""
        bins, self._ready = self._ready, []
        for metric, step, values in self._carrier.exchange(self._pending, last=last):
            if metric == "bite":
                self._bites.append(values[0] > 0)
                continue
            if metric == "left out":
                self.skipped += values[0] > 0
                self.left_out += values[0] > 0
                continue
            self._noted(metric, step, values)
            bins.append((metric, step, step, blob(values), None))
        self._pending = []
        return bins

    def _noted(self, metric: str, step: int, values: list[float]) -> None:
        """What the diagnosis needs of the samples."""
        if metric == "loss":
            self.losses.append(values[0])
            if len(self.losses) > KEPT:
                del self.losses[KEPT // 2 : KEPT // 2 + 256]
            known = any(math.isfinite(v) for v in self.losses[:-1])
            if self.broken is None and (math.isinf(values[0]) or (math.isnan(values[0]) and known)):
                self.broken = step
        elif metric == "weight":
            self._size = math.hypot(*(v for v in values if math.isfinite(v)))
            if math.isnan(self._start_size):
                self._start_size = self._size
        elif metric == "update":
            self._moved = self._moved or any(v > 0 for v in values)
            if step <= FIRST:
                for name, p, value in zip(self.names, self.parameters, values, strict=False):
                    if p.dim() >= 2 and math.isfinite(value):
                        path = readable_path(name.rpartition(".")[0])
                        self._updates[path] = max(self._updates.get(path, 0.0), value)

    def facts(self) -> Facts:
        """What is known of the steps so far."""
        measured = self.steps > 0 and bool(self._updates)
        return Facts(
            steps=self.steps,
            losses=tuple(self.losses),
            updates=tuple(sorted(self._updates.items(), key=lambda item: -item[1])),
            growth=self._size / self._start_size if self._start_size > 0 else math.nan,
            broken=self.broken,
            clipped=sum(self._bites) / len(self._bites) if self._bites else math.nan,
            backwards=1 if self.alone else 2,
            unmoved=measured and not self._moved,
        )

    def conclude(self) -> Exam | None:
        """The exam of what was seen so far; None where nothing could be probed."""
        if not self.prober.readings:
            return None
        self.exam = self.prober.exam(self.facts(), self.optimizer)
        return self.exam

    def close(self) -> None:
        """Take every hook off."""
        self.calls.disarm()
        self.calls.forget()

    def wrapped(self, closure: Callable[..., Any]) -> Callable[..., Any]:
        """A closure of LBFGS and its like, whose first evaluation is the step's gradient."""
        first = True

        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal first
            out = closure(*args, **kwargs)
            if first:
                first = False
                self.before()
                self._first_loss = self._loss
            return out

        return run


def _sampled(parameter: Tensor) -> Tensor:
    """At most SAMPLE elements of a parameter, spread evenly, as this process holds them."""
    flat = parameter.detach()
    part = getattr(flat, "to_local", None)
    flat = (part() if part is not None else flat).reshape(-1)
    return flat[:: max(1, stride(flat.numel(), SAMPLE))]


def _on_device(rate: Any) -> bool:
    return isinstance(rate, Tensor) and rate.device.type != "cpu"
