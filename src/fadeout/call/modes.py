"""Modes that a model runs under while it is measured: no dropout, the user's autocast."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from fadeout.call import privates


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Dropout modules in eval mode, and back; what else draws, draws from the probe's own random state."""
    dropped = [m for m in model.modules() if isinstance(m, privates.Dropout) and m.training]
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


def autocast_dtype(model: nn.Module, autocast: torch.dtype | bool | None) -> torch.dtype | None:
    """The format that an exam's forward runs in; None without autocast."""
    if isinstance(autocast, torch.dtype) or not autocast:
        return autocast or None
    return torch.get_autocast_dtype(next(model.parameters()).device.type)


def autocast_of(model: nn.Module, autocast: torch.dtype | bool) -> AbstractContextManager[Any]:
    """The context to run a forward under."""
    device = next(model.parameters()).device.type
    dtype = autocast if isinstance(autocast, torch.dtype) else None
    return torch.autocast(device, dtype=dtype)
