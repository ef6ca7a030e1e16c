"""Bad starts: a fresh model with all weights alike, all zero, units shut, or one part far too large."""

import torch
from torch import nn


def alike(model: nn.Module) -> nn.Module:
    """All parameters the same number, "to be deterministic"."""
    for p in model.parameters():
        nn.init.constant_(p, 0.05)
    return model


def zeroed(model: nn.Module, *parts: str) -> nn.Module:
    """Every parameter 0, or those of the parts named."""
    for name, p in model.named_parameters():
        if not parts or name.split(".")[0] in parts:
            nn.init.zeros_(p)
    return model


def shut(model: nn.Module, bias: float, *parts: str) -> nn.Module:
    """The biases of the parts named, far below 0."""
    for name, p in model.named_parameters():
        if name.endswith("bias") and any(name.startswith(part) for part in parts):
            nn.init.constant_(p, bias)
    return model


def scaled(model: nn.Module, factor: float, *parts: str) -> nn.Module:
    """The parameters of the parts named, times a factor."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if any(name.startswith(part) for part in parts):
                p.mul_(factor)
    return model
