"""measure: the account of one forward and backward, and nothing else."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.probe.account import read_ledger
from fadeout.probe.batch import Closure, closure, tensors
from fadeout.probe.guard import Guard
from fadeout.probe.passes import Observer, Pass, lost_below, needs_more_range, range_scale, take
from fadeout.probe.subject import Subject, double_copy, subject
from fadeout.records import Ledger, Unaccounted

DOUBLE_FLOOR = -153.0  # decades: below it squares leave float64
UNSURE = 12.0  # decades above the floor within which a zero is not known to be a true one


def measure(
    model: nn.Module,
    batch: Any = None,
    *,
    loss: Callable[..., Tensor] | None = None,
    step: Callable[[nn.Module], Tensor] | None = None,
    within: str | None = None,
    autocast: torch.dtype | bool | None = None,
) -> Ledger:
    """The exact account of the gradient's way from the loss to the first layer, in decades.

    One instrumented forward and backward of the model itself, which is left exactly as it
    was: parameters, buffers, gradients, hooks, modes, `__dict__` and random state.

    Args:
        model: Any module; DDP and compiled wrappers are taken off.
        batch: (x, y), a mapping of keyword arguments, or x alone.
        loss: loss(output, y), or loss(output) without a y; None: the output's own `.loss`,
            else its inner product with fixed Gaussian noise.
        step: Any closure model -> scalar, instead of batch and loss.
        within: Dotted path of a module: the account of the part under it.
        autocast: A dtype, or True for the device's default, to run the forward under.

    Returns:
        The ledger; log gains are -inf where exactly nothing arrives.

    Raises:
        ValueError: If the call mixes forms.
        FadeoutError: If there is nothing to account for.
        ModelError: If the model raises; the original stands in `__cause__`.
    """
    return observe(model, batch, loss=loss, step=step, within=within, autocast=autocast, verb="measure").ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A finished measurement.

    Attributes:
        ledger: The account.
        first: The first pass, which observers saw.
        best: The pass that the ledger rests on; the first, or one with more range.
    """

    ledger: Ledger
    first: Pass
    best: Pass
    subject: Subject
    closure: Closure


def observe(
    model: nn.Module,
    batch: Any,
    *,
    loss: Callable[..., Tensor] | None,
    step: Callable[[nn.Module], Tensor] | None,
    within: str | None,
    autocast: torch.dtype | bool | None,
    verb: str,
    observer: Observer | None = None,
    influence: Callable[[int, int], float] | None = None,
    finish: Callable[[Pass, Guard, Subject, Closure], None] | None = None,
) -> Observed:
    """Measure, with an observer on the first pass and more passes where norms leave float32.

    Args:
        influence: Gives blocks their influence, where the observer saw it.
        finish: Called with the first pass while the guard still holds the model.
    """
    about = subject(model, batch, loss=loss, step=step, within=within, verb=verb)
    call = closure(about.model, batch, loss=loss, step=step, verb=verb)
    with _uncollected(), Guard(m for _, m in about.modules) as guard:
        guard.protect(tensors(batch))
        first = take(about, call, guard, verb=verb, observer=observer, autocast=autocast)
        if finish is not None:
            finish(first, guard, about, call)
        best = first
        if needs_more_range(first):
            first.tape.parameters = [None] * len(first.tape.parameters)
            guard.rewind()
            best = take(about, call, guard, verb=verb, autocast=autocast, scale=range_scale(first), exact=True)
            if needs_more_range(best) and not best.in_double and (wide := double_copy(about)) is not None:
                guard.rewind()
                best = _in_double(wide, call, best, verb)
        ledger = _ledger(best, influence)
    return Observed(ledger=ledger, first=first, best=best, subject=about, closure=call)


def _ledger(best: Pass, influence: Callable[[int, int], float] | None) -> Ledger:
    sure = best.floor + (UNSURE if best.floor < -30 else 4.0)
    unseen = lost_below(best, 10.0**sure * best.tape.scale)
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
    )


def _in_double(about: Subject, call: Closure, narrow: Pass, verb: str) -> Pass:
    """The same network in float64; where its own code refuses, the narrow pass with a word about it."""
    try:
        with Guard(m for _, m in about.modules) as guard:
            wide = take(about, call, guard, verb=verb, exact=True, double=True, scale=1.0)
    except Exception as error:  # user code in a dtype it was not written for
        narrow.graph.unaccounted.append(
            Unaccounted(path="", op="range", why=f"a float64 copy of the network failed: {type(error).__name__}")
        )
        return narrow
    wide.floor = DOUBLE_FLOOR
    return wide


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection amid thousands of small new objects: it doubles the time of a measurement."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
