"""Noise: how much of a batch's gradient is signal, and whether neighbouring inputs receive alike ones."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.batch import closure, fresh, is_pair
from fadeout.call.guard import Guard

NEAR = 0.01  # of the spread of the inputs: how far a neighbour stands
ROWS = 64


def signal_to_noise(
    model: nn.Module, batches: Sequence[Any], loss: Callable[..., Tensor] | None, *, verb: str
) -> float:
    """|mean gradient| over the root mean square deviation of one batch's gradient, over the batches given.

    Unbiased: the part of |mean|^2 that is noise, deviation^2 / batches, is taken off.  nan for
    fewer than three batches.
    """
    if len(batches) < 3:
        return math.nan
    parameters = [p for p in model.parameters() if p.requires_grad]
    total: list[Tensor] | None = None
    squares = 0.0
    for batch in batches:
        try:
            with Guard(model.modules()):
                value = closure(model, fresh(batch), loss=loss, step=None, verb=verb).run(model)
                found = torch.autograd.grad(value, parameters, allow_unused=True)
        except Exception:  # the user's own code: the first reading or step says so, with its place
            return math.nan
        grads = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
        if any(g.layout != torch.strided for g in grads):
            return math.nan
        squares += float(torch.stack([g.double().square().sum() for g in grads]).sum())
        total = grads if total is None else [a + b for a, b in zip(total, grads, strict=True)]
    assert total is not None
    count = len(batches)
    mean = float(torch.stack([(t.double() / count).square().sum() for t in total]).sum())
    spread = (squares - count * mean) / (count - 1)
    if not spread > 0:
        return math.inf if mean > 0 else math.nan
    return math.sqrt(max(0.0, mean - spread / count) / spread)


def neighbours_agree(model: nn.Module, batch: Any, loss: Callable[..., Tensor] | None) -> float:
    """Mean cosine between the input gradients of a sample and of one a hundredth of the spread away.

    1 where the network is smooth; towards 0 the gradient is shattered (Balduzzi et al. 2017,
    arXiv:1702.08591).  nan unless the batch is (x, y) with float x.
    """
    if loss is None or not is_pair(batch):
        return math.nan
    x, y = batch
    if not isinstance(x, Tensor) or not isinstance(y, Tensor) or not x.is_floating_point() or not (x.dim() and y.dim()):
        return math.nan
    if len(x) != len(y):
        return math.nan
    x, y = x[:ROWS], y[:ROWS]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), device="cpu").to(x)
    both = torch.cat([x, x + NEAR * x.std() * noise]).detach().requires_grad_(True)
    try:
        with Guard(model.modules()), torch.enable_grad():
            (found,) = torch.autograd.grad(loss(model(both), torch.cat([y, y])), [both], allow_unused=True)
    except Exception:  # a model or loss that wants its own batch size
        return math.nan
    if found is None:
        return math.nan
    a, b = found.flatten(1).double().chunk(2)
    sizes = a.norm(dim=1) * b.norm(dim=1)
    live = sizes > 0
    return float(((a * b).sum(1)[live] / sizes[live]).mean()) if bool(live.any()) else math.nan
