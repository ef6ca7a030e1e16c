"""Alike: how far the rows of a batch are alike, in size and in the direction of their gradients."""

import torch
from torch import Tensor

_ROWS, _WIDTH = 256, 512  # looked at


@torch.no_grad()
def alike(gradient: Tensor) -> Tensor:
    """Two numbers on the gradient's device, from rows g_b with shares p_b = |g_b|^2 / sum |g|^2.

    Args:
        gradient: (N, D), (N, T, D) or (N, C, H, W); rows are all but the axis of units.

    Returns:
        sum p_b^2, and sum over pairs of p_b p_c cos^2; nan where the gradient is 0.
    """
    g = gradient.detach()
    g = g.movedim(1, -1) if g.dim() == 4 else g
    rows = g.reshape(-1, g.shape[-1])
    count = rows.shape[0]
    every = -(-count // _ROWS)
    rows = rows[::every, :_WIDTH].double()
    rows = rows / rows.abs().amax().clamp_min(1e-300)  # squares of a gradient near the ends of float64 leave it
    rows = rows / rows.norm()
    squares = rows.square().sum(1)
    own = squares.square().sum()
    product = rows.T @ rows if rows.shape[1] < rows.shape[0] else rows @ rows.T
    return torch.stack((own * (len(rows) / count), (product.square().sum() - own).clamp_min(0.0)))


@torch.no_grad()
def uneven(data: Tensor) -> Tensor:
    """Relative variance of |x_b|^2 over the rows of a batch (N, ...), a number on its device; 0 of a single row."""
    x = data.detach()
    if x.dim() < 2 or x.shape[0] < 2 or not x.numel():
        return torch.zeros((), dtype=torch.float64, device=x.device)
    squares = torch.linalg.vector_norm(x.reshape(x.shape[0], -1), dim=1, dtype=torch.float64).square()
    found: Tensor = squares.var() / squares.mean().square().clamp_min(1e-300)
    return found
