"""Parts of the second set: small nets, attention blocks, optimizers that miss, loops that go wrong around the model."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
from benchmarks.strangers.step import finish
from benchmarks.truth.data import Pairs
from benchmarks.truth.program import OptimizerMaker
from torch import Tensor, nn
from torch.nn import functional as F

Loss = Callable[..., Tensor]


def mlp(*sizes: int, act: type[nn.Module] = nn.GELU) -> nn.Sequential:
    """Linear layers with an activation between."""
    layers: list[nn.Module] = []
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), act()]
    return nn.Sequential(*layers[:-1])


class Attention(nn.Module):
    """Self-attention of several heads, with an additive bias (T, T) if one is given."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        q, k, v = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in self.qkv(x).chunk(3, -1))
        return q, k, v

    def weigh(self, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
        scores = q @ k.mT / q.shape[-1] ** 0.5
        return torch.softmax(scores if bias is None else scores + bias, -1)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        q, k, v = self.split(x)
        y: Tensor = self.out((self.weigh(q, k, bias) @ v).transpose(1, 2).flatten(2))
        return y


class Block(nn.Module):
    """Pre-LN attention and mlp."""

    def __init__(self, width: int, attention: type[Attention] = Attention) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = attention(width), mlp(width, 2 * width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.norm1(x), bias)
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


def elsewhere_optimizer(lr: float) -> OptimizerMaker:
    """Adam over a copy of the parameters, as is left when the model is built again after its optimizer."""

    def make(parameters: Iterable[Any]) -> torch.optim.Optimizer:
        return torch.optim.Adam([p.detach().clone().requires_grad_() for p in parameters], lr=lr)

    return make


def step_on(loss: Loss, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Any:
    """A loop that changes inputs and targets before it uses them."""

    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        x, y = change(*batch)
        return finish(loss(model(x), y), optimizer)

    return step


def clipping_step(loss: Loss, most: float) -> Any:
    """A loop that clips the norm of the gradient."""

    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        x, y = batch
        value = loss(model(x), y)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), most)
        optimizer.step()
        return value.detach()

    return step


def scheduled_step(loss: Loss, rate: Callable[[int], float]) -> Any:
    """A loop that sets the rate by the number of the step, which it counts in the optimizer."""

    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        x, y = batch
        group = optimizer.param_groups[0]
        group["count"] = group.get("count", -1) + 1
        group["lr"] = rate(group["count"])
        return finish(loss(model(x), y), optimizer)

    return step


def piling_step(loss: Loss) -> Any:
    """A loop that never sets the gradients to zero."""

    def step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        x, y = batch
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def same_batch(batches: Callable[[], Pairs]) -> Callable[[], Pairs]:
    """One example, repeated through all batches."""

    def made() -> Pairs:
        found = batches()
        x, y = found[0]
        return [(x[:1].expand_as(x).clone(), y[:1].expand_as(y).clone()) for _ in found]

    return made


def frozen(model: nn.Module, *keep: str) -> nn.Module:
    """All parameters frozen but those of the parts named."""
    for name, p in model.named_parameters():
        p.requires_grad_(any(name.startswith(k) for k in keep))
    return model


def cross(out: Tensor, y: Tensor) -> Tensor:
    """Cross entropy with classes last."""
    return F.cross_entropy(out.flatten(0, -2), y.flatten(), ignore_index=-100)
