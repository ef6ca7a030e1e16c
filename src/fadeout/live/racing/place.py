"""A place: which of a script's processes this one is."""

import multiprocessing

import torch

from fadeout.live.options import rank


def place() -> int:
    """Its rank in a distributed run; else its number among the processes that were started together; 0 alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    numbers = getattr(multiprocessing.current_process(), "_identity", ())
    return rank() or (numbers[-1] - 1 if numbers else 0)
