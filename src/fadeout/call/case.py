"""A case: how to make a training set-up anew, as often as somebody asks for it."""

import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.chance import random_state, set_random_state
from fadeout.errors import FadeoutError, ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One fresh training set-up.

    Attributes:
        batches: By number: step n trains on batches[n % len(batches)].
        held_out: What skill is measured on; never trained on.
    """

    model: nn.Module
    batches: Sequence[Any]
    held_out: Sequence[Any]
    loss: Callable[..., Tensor] | None
    optimizer: Any
    train_step: Callable[..., Any] | None


@dataclass(frozen=True, slots=True, repr=False)
class Case:
    """A training program as makers, so that every arm of a race and every seed begins afresh.

    Attributes:
        make_model: () -> the network; the same kind every time, its weights by torch's random state.
        batches: An iterable of batches in any form that `examine` takes, or () -> one.
        loss: loss(output, y), or loss(output); None where the output carries its own.
        make_optimizer: (parameters) -> optimizer, e.g. functools.partial(torch.optim.Adam, lr=1e-3).
        held_out: Batches to score on; None: the last fifth of the batches, which are then not trained on.
        train_step: (model, batch, optimizer) -> loss: what the loop does once, where it is more than
            zero_grad, loss, backward, step.
        skill: (model) -> 0 for the best constant output .. 1 for nothing left to learn; None: measured on `held_out`
            by loss, explained variance or accuracy.
        steps: The horizon: optimizer steps of a whole run.
        name: For reports.
    """

    make_model: Callable[[], nn.Module]
    batches: Iterable[Any] | Callable[[], Iterable[Any]]
    loss: Callable[..., Tensor] | None = None
    make_optimizer: Callable[[Any], Any] | None = None
    held_out: Iterable[Any] | None = None
    train_step: Callable[..., Any] | None = None
    skill: Callable[[nn.Module], float] | None = None
    steps: int = 300
    name: str = ""

    def __repr__(self) -> str:
        maker = getattr(self.make_model, "__name__", type(self.make_model).__name__)
        return f"Case({self.name or maker!r}, {self.steps} steps)"

    def build(self, seed: int = 0) -> Setup:
        """The set-up for one seed; the caller's random state is left as it was.

        Raises:
            FadeoutError: If a maker gives something else than it should.
            ModelError: If a maker raises.
        """
        for name, maker in (("make_model", self.make_model), ("make_optimizer", self.make_optimizer)):
            if isinstance(maker, nn.Module) or (maker is not None and not callable(maker)):
                raise TypeError(
                    f"Case: {name} must be a function that makes one, got the {type(maker).__name__} itself; "
                    f"write lambda{'' if name == 'make_model' else ' parameters'}: ..., so that every arm begins afresh"
                )
        with seeded(seed):
            model = _made(self.make_model, "make_model")
            if not isinstance(model, nn.Module):
                raise FadeoutError(f"Case: make_model returned {type(model).__name__}, not a torch.nn.Module")
            given = self.batches() if callable(self.batches) else self.batches
            batches = list(given)
            if not batches:
                raise FadeoutError("Case: batches is empty; pass at least one batch")
            held_out = list(self.held_out) if self.held_out is not None else []
            if self.held_out is None and self.skill is None:
                kept = max(1, len(batches) // 5)
                batches, held_out = (batches[:-kept], batches[-kept:]) if len(batches) > 1 else (batches, batches)
            optimizer = None
            if self.make_optimizer is not None:
                make = self.make_optimizer
                trained = [p for p in model.parameters() if p.requires_grad]
                optimizer = _made(lambda: make(trained), "make_optimizer")
        return Setup(
            model=model,
            batches=batches,
            held_out=held_out,
            loss=self.loss,
            optimizer=optimizer,
            train_step=self.train_step,
        )


def _made(make: Callable[[], Any], name: str) -> Any:
    try:
        return make()
    except FadeoutError:
        raise
    except Exception as error:
        raise ModelError(f"Case: {name} failed: {type(error).__name__}: {error}") from error


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random states of torch, random and numpy set to a seed, and put back."""
    kept = random_state()
    torch.manual_seed(seed)
    random.seed(seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed % (1 << 32))
    try:
        yield
    finally:
        set_random_state(kept)
