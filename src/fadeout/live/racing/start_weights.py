"""Start weights of a treated network, kept for the proof of its patch."""

from pathlib import Path

import torch
from torch import nn

from fadeout.errors import FadeoutError


def keep(model: nn.Module, path: Path) -> None:
    """Write them."""
    with open(path, "wb") as stream:
        torch.save([p.detach().clone() for p in model.parameters()], stream)


@torch.no_grad()
def begin_from(model: nn.Module, path: Path) -> None:
    """Begin with those that an arm began with.

    Raises:
        FadeoutError: If this network has others.
    """
    with open(path, "rb") as stream:
        values = torch.load(stream)
    own = list(model.parameters())
    if [p.shape for p in own] != [v.shape for v in values]:
        raise FadeoutError("the patched network has other weights than the arm's")
    for parameter, value in zip(own, values, strict=True):
        parameter.copy_(value)
