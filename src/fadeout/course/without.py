"""Modes that a probe runs under: no dropout, the user's autocast."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from fadeout.probe.passes import autocast_of


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Dropout modules in eval mode, and back; what else draws, draws from the probe's own random state."""
    dropped = [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.training]
    for module in dropped:
        module.training = False
    try:
        yield
    finally:
        for module in dropped:
            module.training = True


@contextmanager
def under_autocast(model: nn.Module, autocast: torch.dtype | bool | None) -> Iterator[None]:
    """The autocast of the exam, if it has one."""
    if not autocast:
        yield
        return
    with autocast_of(model, autocast):
        yield
