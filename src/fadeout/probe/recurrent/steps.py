"""Steps: the gradient at every step of a loop, from the last step's alone."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from fadeout.probe.account.norms import norm, read
from fadeout.probe.recurrent.through_time import one_decade
from fadeout.records import TimeProfile

SEED = 2.0**40  # exact, and taken off again: a fade of 50 decades stays inside float32


def own(gradients: Sequence[Tensor | None], results: Sequence[GradientEdge]) -> list[Tensor | None]:
    """What the loss sends to each part of the last state itself: to an LSTM's cell without what comes through h.

    h = o tanh(c) is made from c, so autograd's gradient of c has h's in it.  Of more than two
    parts the one made last comes first.
    """
    found = list(gradients)
    n = len(results)
    for one, other in ((0, 1), (1, 0)) if n == 2 else ((j, i) for i in range(n) for j in range(i)):
        g = (gradients if n == 2 else found)[one]
        if g is None or found[other] is None:
            continue
        (through,) = torch.autograd.grad(results[one], [results[other]], g, retain_graph=True, allow_unused=True)
        if through is not None:
            found[other] = found[other] - through  # type: ignore[operator]
    return found


def back_from(
    steps: Sequence[Sequence[GradientEdge]], seeds: Sequence[Tensor | None], *, half: bool
) -> tuple[tuple[float, ...], list[bool]]:
    """Decades from lag 0 to each lag, and which steps the graph reaches.

    Args:
        steps: The parts of the state at every step, the first step first.
        seeds: The gradient of each part at the last step.
        half: Some gradient passes through float16, which can't hold a large seed.
    """
    given_at = [(s, g) for s, g in zip(steps[-1], seeds, strict=True) if g is not None]
    scale = 1.0 if half else SEED
    given = torch.autograd.grad(
        [s for s, _ in given_at],
        [s for step in steps for s in step],
        [g * scale for _, g in given_at],
        retain_graph=True,
        allow_unused=True,
    )
    nothing = torch.zeros((), dtype=torch.float64, device="cpu")
    lengths = iter(read([norm(g, exact=True) if g is not None else nothing for g in given]))
    *joint, start = [math.hypot(*(next(lengths) for _ in step)) for step in steps]
    arrived = iter(given)
    reached = [sum(next(arrived) is not None for _ in step) > 0 for step in steps]  # any() would stop early
    gains = (0.0, *(math.log10(v / start) if v > 0 and start > 0 else -math.inf for v in reversed(joint)))
    return gains, reached


def profile(path: str, gains: tuple[float, ...], *, by_noise: bool = False) -> TimeProfile:
    """A record of a loop."""
    horizon = one_decade(gains)
    return TimeProfile(
        path=path,
        horizon=math.inf if horizon is None else horizon,
        steps=len(gains),
        log_gain=gains,
        paths=(),
        gates=(),
        source="noise" if by_noise else "loss",
        gate_horizon=None,
    )
