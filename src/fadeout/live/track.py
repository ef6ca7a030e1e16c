"""A track: one network and the optimizers that train it, watched step by step."""

import math
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.call.privates import in_backward
from fadeout.live.budget import Budget
from fadeout.live.calls import Calls
from fadeout.live.claims import fair
from fadeout.live.heard import Heard
from fadeout.live.listed import Listed
from fadeout.live.members import Members, held, words
from fadeout.live.pace import Pace
from fadeout.live.probing import Facts, Judged, Prober
from fadeout.live.roots import unwrapped
from fadeout.live.round import Round
from fadeout.live.said import AT_ONCE, COMPILED, IN_PARTS, INSIDE, SHARDED, reason
from fadeout.live.seen import FIRST, Seen
from fadeout.live.still import ImpureError
from fadeout.probe.instruments.several import several
from fadeout.records import Exam
from fadeout.store.runs import Bin

WEIGHTS = 16  # samples of gradients for one of weights
FAILURES = 3  # probes in a row that may fail
GROWTH = 1.5  # a probe's step over that of the one before, at least


class Track:
    """Measures at the optimizers' steps; writes nothing itself.

    Attributes:
        members: The optimizers; a step of the track is a round of them.
        family: The whole network, of which `inner` may be a part.
        steps: Whole steps so far.
        skipped: Steps left out by a scaler.
        said: Codes of findings that were told, each with whether it stands.
        words: For the reader of the run, each once.
        alone: No other network is trained in this process, so that losses do not alternate.
        concluded_at: Step of the newest reading that was judged.
        thread: That trains it; 0 until known.
        elsewhere: Ids of parameters that other optimizers of the script hold.
    """

    def __init__(self, root: nn.Module, budget: Budget, *, probes: bool, family: nn.Module | None = None) -> None:
        self.root, self.budget = root, budget
        self.inner = unwrapped(root)
        self.family = unwrapped(family) if family is not None else self.inner
        self.members = Members()
        self.steps = self.skipped = 0
        self.said: dict[str, bool] = {}
        self.words: list[str] = []
        self.exam: Exam | None = None
        self.alone = True
        self.thread = 0
        self.elsewhere: Callable[[], Collection[int]] = set
        self.seen = Seen()
        self.pace = Pace(budget)
        self.calls = Calls(root)
        self.prober = Prober(self.inner)
        self.listed = Listed(self.inner)
        self.heard = Heard()
        self.probes = probes
        self._heed_shards()
        self._failures = 0
        self._next = 0  # step before which a probe is due
        self._round = Round()
        self._followed = False  # no backward pass has begun since the last step
        self.concluded_at = -1
        if self.probes:
            self.calls.arm()

    # who steps

    def takes(self, optimizer: Optimizer) -> bool:
        """Whether an optimizer that is about to step belongs here.

        It does where it takes over parameters, or steps after the same backward pass as the members.
        """
        return not self.members.inside or self.members.shares(optimizer) or self._followed

    def enter(self, optimizer: Optimizer) -> list[Optimizer]:
        """It trains this network from now on; at the first step, so do others whose parameters hold gradients then.

        Returns:
            All that are new.
        """
        first = not self.members.inside
        late = bool(self.prober.readings) and not self.members.shares(optimizer)
        self.members.add(optimizer)
        found = [optimizer]
        if first:
            for guest in self.members.waiting():
                if not self.members.shares(guest) and any(p.grad is not None for p in held(guest)):
                    self.members.add(guest)
                    found.append(guest)
        self._list()
        if late and self.steps <= 1:  # the first reading took it for none of this network's
            self._begin_again()
        elif late:
            new = {id(p) for one in found for p in held(one)}
            self.prober.amend(lambda reading: fair(reading, self.inner, new), every=True)
        return found

    def release(self, optimizers: Sequence[Optimizer]) -> int:
        """They train another part, at other times; how often they have stepped."""
        done = max(self.members.calls_of(one) for one in optimizers)
        for one in optimizers:
            self.members.leave(one)
        self.steps = max(self.members.calls_of(one) for one in self.members.inside)
        self.seen.forget()
        self._list(anew=True)
        self._begin_again()
        return done

    def _begin_again(self) -> None:
        self.prober = Prober(self.inner)
        self._next, self.concluded_at = self.steps, -1

    def _list(self, *, anew: bool = False) -> None:
        """The parameters as the optimizers hold them now."""
        self.listed.update(self.members.inside, anew=anew)
        self._heed_shards()

    def _heed_shards(self) -> None:
        if self.listed.sharded and SHARDED not in self.words:
            self.probes = False
            self.words.append(SHARDED)

    @property
    def optimizers(self) -> str:
        """In words."""
        return words(self.members.inside)

    # what the step tells

    def backward(self, loss: Tensor | None) -> None:
        """A backward pass begins: what has stepped since the last one was a whole step."""
        if (self.members.stepped or self.members.skipped) and not self.members.nested:
            self.close()
        self._followed = False
        self.heard.backward(loss)

    def forget_loss(self) -> None:
        """What was sent backward so far belonged to another network's step."""
        self.heard.total = None

    def arrived(self) -> None:
        """A backward pass is over."""
        self.calls.backwards += 1
        if self._round.inside and self.members.stepped:
            self._after_inside()

    def judged(self, one: Judged) -> None:
        """A loss function was called; it is kept only while a probe is due."""
        if self.due:
            self.heard.keep(one)

    def scaling(self, scaler: Any) -> None:
        """A loss scaler is in use."""
        self.heard.scaler = scaler

    def clipped(self, total: Tensor, most: float) -> None:
        """Gradients were clipped."""
        self.heard.clips.append((total.float(), most))

    def skip(self, optimizer: Optimizer) -> None:
        """A scaler left out a step of this one."""
        self.members.skipped.add(id(optimizer))
        self._followed = True
        if self.members.done():
            self.close()

    @property
    def due(self) -> bool:
        """Whether the coming step is to be probed."""
        return self.probes and self.steps + bool(self.members.stepped) >= self._next

    # the two sides of a step

    def before(self, optimizer: Optimizer) -> None:
        """An optimizer is about to use the gradients."""
        if not self.members.begin(optimizer):
            return
        self._notice_thread()
        if id(optimizer) in self.members.stepped:
            self.close()
        if len(held(optimizer)) != len(self.listed.places(optimizer)):
            self._list()
        begins = not self.members.stepped
        probing = begins and self.due
        if begins:
            sampled = self.steps % self.pace.every == 0 or probing or self.steps < FIRST
            self._round = Round(sampled=sampled, inside=in_backward())
        if self._round.sampled:
            weights = self.steps % (self.pace.every * WEIGHTS) == 0 or self.steps < FIRST
            with self._round.counted():
                self._round.note_gradients(optimizer, self.listed.places(optimizer), weights=weights)
        if probing and not self._round.inside:
            with self.budget.probe():
                self._probe()
        if self.steps < FIRST or probing:
            self._round.keep(optimizer)
        flag = getattr(optimizer, "found_inf", None)
        if isinstance(flag, Tensor):
            self.seen.note("left out", self.steps + 1, flag.detach().clone())

    def _notice_thread(self) -> None:
        if in_backward():
            return  # which may run in a thread of torch's own
        here = threading.get_ident()
        if self.thread not in (0, here) and self.probes:
            self.probes = False
            self.words.append(AT_ONCE)
            self.shut()
        self.thread = here

    def after(self, optimizer: Optimizer) -> None:
        """Its step was taken."""
        if not self.members.end(optimizer):
            return
        self._followed = True
        self._round.note_updates(optimizer, self.listed.places(optimizer))
        if self._round.inside:
            return  # the round ends with the backward pass
        if self.members.done():
            self.close()
        self._let_go()

    def _after_inside(self) -> None:
        """The backward pass is over, in which the optimizers have stepped."""
        if INSIDE not in self.words:
            self.words.append(INSIDE)
        if self.probes and self.steps >= self._next:
            with self.budget.probe():
                self._probe()
        self._round.inside = False
        self.close()
        self._let_go()

    def _let_go(self) -> None:
        """Of inputs and outputs of this step; those of the next are kept where a probe is due."""
        self.heard.judged = []
        self.calls.disarm()
        self.calls.forget()
        if self.due and self.budget.allows_probe():
            self.calls.arm()
        elif self.due:
            coming = self.steps + bool(self.members.stepped)
            self._next = coming + max(1, self.pace.every)  # asked again once there is room in the budget

    def close(self) -> None:
        """A round is over: one step of the network, or one that a scaler left out."""
        taken = bool(self.members.stepped)
        self.members.close()
        if not taken:
            self.skipped += 1
            self.heard.judged = []
            self.calls.forget()
        else:
            self.steps += 1
            self._note_step()
            if self._round.sampled:
                self.pace.sampled(self._round.cost)
            self._note_time()
        self._round.parts = {}
        self.heard.forget()

    def _note_step(self) -> None:
        seen, step = self.seen, self.steps
        for metric, parts in self._round.parts.items():
            seen.note_parts(metric, step, parts, len(self.listed.names))
        if self.heard.loss is not None:
            seen.note("loss", step, self.heard.loss)
        groups = self.members.inside[0].param_groups[:1] if self.members.inside else []
        rates = [float(g["lr"]) for g in groups if "lr" in g and not _on_device(g["lr"])]
        if rates and (step % self.pace.every == 0 or step <= FIRST):
            seen.add("rate", step, rates[0])
        for total, most in self.heard.clips:
            seen.note("total", step, total)
            seen.note("bite", step, (total > most).float())

    def _note_time(self) -> None:
        sampled = self.steps % self.pace.every == 0
        took = self.pace.stepped()
        if took is not None and sampled:
            self.seen.add("step_ms", self.steps, 1000 * took[0])
            self.seen.add("watch_ms", self.steps, 1000 * took[1])

    # probes

    def _probe(self) -> None:
        """A reading of this step; what fails costs the run nothing but this reading."""
        if self.calls.unseen and not self.calls.look_inside():
            self.calls.stay()
            self.probes = False
            self.words.append(COMPILED)
            return
        self.calls.disarm()
        step = self.steps
        self._next = max(step + 1, math.ceil(GROWTH * step))
        if self._leaves_out():  # the loss scale was too large: no step will be taken
            self._next = step + 1
            self.calls.forget()
            return
        if self.calls.in_parts and IN_PARTS not in self.words:
            self.words.append(IN_PARTS)
        try:
            loss = float(self.heard.total) if self.heard.total is not None else None
            optimizer = several(self.members.inside)
            self.prober.take(step, self.calls.last(), self.heard.scale(), optimizer, loss, tuple(self.heard.judged))
            self.prober.amend(lambda reading: fair(reading, self.inner, self.elsewhere()))
            self._failures = 0
        except Exception as error:  # the script's own code ran once more in there, and may not like it
            self._failures += FAILURES if isinstance(error, ImpureError) else 1
            word = reason(error)
            if word not in self.words and self._failures >= FAILURES:
                self.words.append(word)
                self.probes = False
        finally:
            self.calls.forget()
            self.heard.judged = []

    def _leaves_out(self) -> bool:
        flags = [getattr(one, "found_inf", None) for one in self.members.inside]
        return any(isinstance(flag, Tensor) and float(flag) > 0 for flag in flags)

    # what is handed on

    def take(self, *, last: bool = False) -> list[Bin]:
        """Samples that have arrived on this machine; from another device they come one call later, or at the last."""
        if last and self.members.stepped and not self.members.nested:
            self.close()
        known = len(self.seen.left_out)
        bins = self.seen.take(self.listed.names, self.listed.matrices, last=last)
        self.skipped += len(self.seen.left_out) - known
        return bins

    def facts(self) -> Facts:
        """What is known of the steps so far."""
        seen = self.seen
        return Facts(
            steps=self.steps,
            losses=tuple(seen.losses),
            updates=tuple(sorted(seen.updates.items(), key=lambda item: -item[1])),
            growth=seen.growth,
            broken=seen.broken,
            clipped=seen.clipped,
            backwards=1 if self.alone else 2,
            unmoved=self.steps > 0 and bool(seen.updates) and not seen.moved,
        )

    def conclude(self) -> Exam | None:
        """The exam of what was seen so far; None where nothing could be probed."""
        if not self.prober.readings:
            return None
        self.exam = self.prober.exam(self.facts(), self.optimizers)
        return self.exam

    def shut(self) -> None:
        """Take every hook off."""
        self.calls.end()

    def wrapped(self, closure: Callable[..., Any], before: Callable[[], Any]) -> Callable[..., Any]:
        """A closure of LBFGS and its like, whose first evaluation is the step's gradient.

        Args:
            before: Told after it.
        """
        first = True

        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal first
            out = closure(*args, **kwargs)
            if first:
                first = False
                before()
                self.heard.first = self.heard.total
            return out

        return run


def _on_device(rate: Any) -> bool:
    return isinstance(rate, Tensor) and rate.device.type != "cpu"
