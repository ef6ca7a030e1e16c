"""The session: one network held still while it is measured, as often as a question asks."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from fadeout.call.alone import undisturbed
from fadeout.call.batch import Closure, closure, tensors
from fadeout.call.guard import Guard
from fadeout.call.question import Question
from fadeout.call.subject import Subject, double_copy, subject
from fadeout.probe.account import ranges
from fadeout.probe.account.gates import Ajar, shut_gates, tolls
from fadeout.probe.account.ledger import read_ledger
from fadeout.probe.account.passes import Attempt, Observer, Pass, Several, take
from fadeout.records import Ledger, Unaccounted

DOUBLE_FLOOR = -153.0  # decades: below it squares leave float64
UNSURE = 12.0  # decades above the floor within which a zero is not known to be a true one
_BENT = (
    "the backward pass is not linear: a larger seed does not come back larger by as much (a hook that clamps, a cast "
    "to half), so what float32 can't hold could not be measured"
)


class Session:
    """Holds a model as it is, from `__enter__` to `__exit__`, and takes passes of it.

    Attributes:
        subject: What is examined.
        closure: How it is called.
        guard: What is kept and put back.
        notes: For the reader of the exam.
    """

    def __init__(self, question: Question) -> None:
        q = self.question = question
        self.subject: Subject = subject(q.model, q.batch, loss=q.loss, step=q.step, within=q.within, verb=q.verb)
        self.closure: Closure = closure(self.subject.model, q.batch, loss=q.loss, step=q.step, verb=q.verb)
        self.notes: list[str] = []
        self._way = Attempt()  # that the model accepted
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(undisturbed((m for _, m in self.subject.modules), verb=self.question.verb))
            self.guard = stack.enter_context(Guard(m for _, m in self.subject.modules))
            self.guard.protect(tensors(self.question.batch))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        slipped = {id(p) for p in self.guard.slipped()}
        if slipped:
            names = [name for name, p in self.subject.model.named_parameters() if id(p) in slipped]
            self.notes.append(
                f"the forward writes into {', '.join(names[:3])}{' and more' if len(names) > 3 else ''} in a way "
                "that can't be seen in time: its values were not put back; examine a copy.deepcopy of the model"
            )
        self._open.close()

    def take(self, *observers: Observer) -> Pass:
        """The pass that observers see, in the first way that the model accepts."""
        done = self._take(Attempt(), Several(*observers))
        self._way = done.attempt
        return done

    def again(self, *observers: Observer, attempt: Attempt | None = None) -> Pass:
        """One more pass from the same state: by default as the first was."""
        self.guard.rewind()
        return self._take(attempt or self._way, Several(*observers))

    def _take(self, attempt: Attempt, observer: Observer) -> Pass:
        return take(
            self.subject,
            self.closure,
            self.guard,
            verb=self.question.verb,
            observer=observer,
            autocast=self.question.autocast,
            attempt=attempt,
        )

    def widen(self, first: Pass, *observers: Observer) -> Pass:
        """The pass that the ledger rests on, with what its gradients leave at nearly shut gates.

        Args:
            observers: Those that change a pass, and not only watch it.
        """
        best = self._widen(first, *observers)
        shut = {} if best.attempt.double else shut_gates(best)
        if shut:
            ajar = Ajar(shut)
            other = self.again(ajar, *observers, attempt=best.attempt)
            if other.graph.names == best.graph.names:
                best.tolls = tolls(best, other, ajar.step)
        return best

    def _widen(self, first: Pass, *observers: Observer) -> Pass:
        """The pass that the ledger rests on: the first, or one with more range where its norms leave float32.

        Args:
            observers: Those that change a pass, and not only watch it.
        """
        if not ranges.needs_more(first):
            return first
        first.tape.parameters = [None] * len(first.tape.parameters)  # several passes' gradients are too many
        best: Pass | None = None
        for scale in ranges.wider_seeds(first):
            best = self.again(*observers, attempt=replace(self._way, scale=scale, exact=True))
            if scale != 1.0 and not self._linear(first, best, *observers):
                return self._exactly(_BENT, *observers)
            if not ranges.needs_more(best):
                return best
        wide = None if first.in_double else self._in_double(first, *observers)
        if isinstance(wide, Pass):
            return wide
        if best is None:
            best = self.again(*observers, attempt=replace(self._way, scale=ranges.largest_seed(first), exact=True))
            if not self._linear(first, best, *observers):
                return self._exactly(_BENT, *observers)
        if wide is not None:
            best.graph.unaccounted.append(Unaccounted(path="", op="range", why=wide))
        return best

    def _linear(self, first: Pass, best: Pass, *observers: Observer) -> bool:
        """Whether two seeds, and where something may bend the gradient a third, say the same."""
        if not ranges.agree(first, best, within=ranges.ALIKE):
            return False
        if not ranges.may_bend(first):
            return True
        third = self.again(*observers, attempt=replace(best.attempt, scale=best.attempt.scale * 2.0**-12))
        return ranges.agree(best, third, within=ranges.ALIKE)

    def _exactly(self, why: str, *observers: Observer) -> Pass:
        """The pass as training has it, with exact norms, and why no wider one was taken."""
        best = self.again(*observers, attempt=replace(self._way, exact=True))
        best.graph.unaccounted.append(Unaccounted(path="", op="range", why=why))
        return best

    def _in_double(self, first: Pass, *observers: Observer) -> Pass | str:
        """The same network in float64; why not, where its own code refuses or it says something else."""
        copied = double_copy(self.subject)
        if copied is None:
            return "the network could not be copied to float64"
        self.guard.rewind()
        try:
            with Guard(m for _, m in copied.modules) as guard:
                attempt = replace(self._way, exact=True, double=True)
                wide = take(
                    copied, self.closure, guard, verb=self.question.verb, observer=Several(*observers), attempt=attempt
                )
        except Exception as error:  # user code in a dtype it was not written for
            return f"a float64 copy of the network failed: {type(error).__name__}"
        if not ranges.agree(first, wide, within=ranges.NEAR):
            return "a float64 copy of the network gives another account, and was not used"
        wide.floor = DOUBLE_FLOOR
        self.notes.append("the account was taken on a float64 copy: the gradient leaves the range of float32")
        return wide

    def ledger(self, best: Pass, influence: Callable[[int, int], float] | None = None) -> Ledger:
        """What a pass says.

        Args:
            influence: Gives blocks their influence, where an observer saw it.
        """
        sure = best.floor + (UNSURE if best.floor < -30 else 4.0)
        unseen = ranges.lost_below(best, 10.0**sure * best.tape.scale)
        if unseen:
            best.graph.unaccounted.append(
                Unaccounted(
                    path="",
                    op="range",
                    why=f"the gradient falls below 1e{best.floor:.0f}, where nothing can be told from zero",
                )
            )
        return read_ledger(
            best.graph,
            best.tape,
            best.front,
            floor=best.floor,
            unseen=unseen,
            influence=influence or (lambda addition, stream: float("nan")),
            tolls=best.tolls,
            outside=tuple(
                name
                for (name, parameter), gradient in zip(best.parameters, best.tape.parameters, strict=True)
                if gradient is not None and id(parameter) not in best.graph.covered
            ),
        )
