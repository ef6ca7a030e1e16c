"""Random states: kept and put back, of torch on every device that is in use, of Python and of numpy."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

TorchState = tuple[Tensor, list[Tensor] | None]


def torch_state() -> TorchState:
    """Of torch: on the CPU, and on every GPU.

    A GPU that the process has not used has no state yet, and asking for one would start it.
    """
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if _on_gpus() else None


def set_torch_state(state: TorchState) -> None:
    """What `torch_state` gave; GPUs that were first used since then begin anew with their seed."""
    cpu, gpus = state
    torch.set_rng_state(cpu)
    if gpus is not None:
        torch.cuda.set_rng_state_all(gpus)
    elif _on_gpus():
        for generator in torch.cuda.default_generators:
            generator.manual_seed(generator.initial_seed())


def random_state() -> tuple[Any, ...]:
    """Of torch, Python and numpy."""
    numpy = sys.modules.get("numpy")
    return torch_state(), random.getstate(), numpy.random.get_state() if numpy is not None else None


def set_random_state(state: tuple[Any, ...]) -> None:
    """What `random_state` gave."""
    of_torch, of_python, of_numpy = state
    set_torch_state(of_torch)
    random.setstate(of_python)
    if of_numpy is not None:
        sys.modules["numpy"].random.set_state(of_numpy)


@contextmanager
def kept_torch_state() -> Iterator[None]:
    """What is drawn from torch inside leaves its random states where they were."""
    before = torch_state()
    try:
        yield
    finally:
        set_torch_state(before)


def _on_gpus() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
