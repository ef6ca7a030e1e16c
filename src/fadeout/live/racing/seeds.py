"""Seeds: the same start for every arm, and other starts for further seeds of the race."""

import functools
import importlib.util
import random
from collections.abc import Callable
from typing import Any

import torch

OFFSET = 1000  # from one seed to the next, so that a script's own seed + 1 is not met


def sow(seed: int) -> None:
    """Seed random, numpy and torch; what the script seeds itself is moved by the same offset from now on."""
    offset = OFFSET * seed
    homes: list[tuple[Any, str]] = [(random, "seed"), (torch, "manual_seed"), (torch.random, "manual_seed")]
    homes += [(torch.cuda, "manual_seed"), (torch.cuda, "manual_seed_all")]
    if importlib.util.find_spec("numpy") is not None:
        import numpy

        homes.append((numpy.random, "seed"))
    for home, name in homes:
        own = getattr(home, name)
        own(offset)
        if offset:
            setattr(home, name, _later(own, offset))


def _later(own: Callable[..., Any], offset: int) -> Callable[..., Any]:
    """A function that sets a seed, which sets another one."""

    @functools.wraps(own)
    def seed(a: Any = None, *args: Any, **kwargs: Any) -> Any:
        return own(a + offset if isinstance(a, int) else a, *args, **kwargs)

    return seed
