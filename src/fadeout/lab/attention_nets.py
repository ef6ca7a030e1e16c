"""Networks that read a whole sequence at once, and their recurrent rivals: what `attention` trains and measures."""

import functools
import math
import pydoc_data.topics
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]
Order = Literal["pre", "post"]
WIDTH, HEADS = 64, 4
TEXT = "\n".join(pydoc_data.topics.topics[key] for key in sorted(pydoc_data.topics.topics))  # Python's own help
SYMBOLS = sorted(set(TEXT))


class Attention(nn.Module):
    """Every position reads all others, or with `causal` those before it; four linear layers."""

    def __init__(self, width: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.heads, self.causal = heads, causal

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        q, k, v = (
            part(x).view(rows, length, self.heads, -1).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(rows, length, width))
        return out


class Block(nn.Module):
    """Attention and a two-layer network, each added to the stream that passes by.

    Args:
        order: "pre": x + f(LN(x)).  "post": LN(alpha x + f(x)), as in 2017.
        alpha: Weight of the stream where it is added to, 1 but for DeepNorm.
    """

    def __init__(self, order: Order, *, alpha: float = 1.0, causal: bool = False) -> None:
        super().__init__()
        self.order, self.alpha = order, alpha
        self.attention = Attention(WIDTH, HEADS, causal=causal)
        self.wide, self.narrow = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        branches: tuple[Callable[[Tensor], Tensor], ...] = (self.attention, self.feed)
        for norm, branch in zip(self.norms, branches, strict=True):
            x = x + branch(norm(x)) if self.order == "pre" else norm(self.alpha * x + branch(x))
        return x

    def feed(self, x: Tensor) -> Tensor:
        out: Tensor = self.narrow(F.relu(self.wide(x)))
        return out


class Digits(nn.Module):
    """A transformer that reads a digit as eight tokens, its rows, and answers from their mean.

    Args:
        beta: Factor on the start weights of values, outputs and both feed layers, 1 but for DeepNorm.
    """

    def __init__(self, depth: int, order: Order, *, alpha: float = 1.0, beta: float = 1.0) -> None:
        super().__init__()
        self.rows = nn.Linear(8, WIDTH)
        self.place = nn.Parameter(torch.randn(8, WIDTH))
        self.blocks = nn.ModuleList(Block(order, alpha=alpha) for _ in range(depth))
        self.norm = nn.LayerNorm(WIDTH) if order == "pre" else nn.Identity()
        self.out = nn.Linear(WIDTH, 10)
        glorot(self.blocks)
        for name, layer in self.blocks.named_modules():
            if isinstance(layer, nn.Linear) and name.rpartition(".")[2] in ("value", "out", "wide", "narrow"):
                layer.weight.data *= beta

    def forward(self, x: Tensor) -> Tensor:
        x = self.rows(x.view(len(x), 8, -1)) + self.place
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.out(self.norm(x).mean(1))
        return out


def deep_norm(depth: int) -> Digits:
    """Wang et al. 2022, for an encoder of N blocks: alpha = (2 N)^(1/4), beta = (8 N)^(-1/4)."""
    return Digits(depth, "post", alpha=(2 * depth) ** 0.25, beta=(8 * depth) ** -0.25)


class Bare(nn.Module):
    """Attention behind attention, without norms and feed layers; `skip` times the stream is added to each.

    It is in float64, so that tokens can be seen to become alike down to a part in 10^8.
    """

    def __init__(self, depth: int, skip: float) -> None:
        super().__init__()
        self.rows = nn.Linear(8, WIDTH)
        self.place = nn.Parameter(torch.randn(8, WIDTH))
        self.blocks = nn.ModuleList(Attention(WIDTH, 1) for _ in range(depth))
        self.out = nn.Linear(WIDTH, 10)
        self.skip = skip
        glorot(self.blocks)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.rows(x.view(len(x), 8, -1)) + self.place
        for block in self.blocks:
            x = self.skip * x + block(x)
        out: Tensor = self.out(x.mean(1))
        return out


@torch.no_grad()
def glorot(model: nn.Module) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


class Transformer(nn.Module):
    """Reads symbols (N, T) and predicts the next one at each: two causal blocks."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.symbol, self.place = nn.Embedding(len(SYMBOLS), WIDTH), nn.Embedding(length, WIDTH)
        self.blocks = nn.Sequential(*(Block("pre", causal=True) for _ in range(2)))
        self.norm, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(SYMBOLS))

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.out(self.norm(self.blocks(self.symbol(ids) + self.place.weight[: ids.shape[1]])))
        return out


class Recurrent(nn.Module):
    """The same with one recurrent layer."""

    def __init__(self, kind: Callable[..., nn.RNNBase], units: int) -> None:
        super().__init__()
        self.symbol, self.layer = nn.Embedding(len(SYMBOLS), units), kind(units, units, batch_first=True)
        self.out = nn.Linear(units, len(SYMBOLS))

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.out(self.layer(self.symbol(ids))[0])
        return out


def rival(kind: Callable[..., nn.RNNBase], length: int) -> nn.Module:
    """A recurrent network with as many weights as the transformer, to within 2 %."""
    wanted = weights(Transformer(length))
    units = min(range(32, 256, 2), key=lambda n: abs(weights(Recurrent(kind, n)) - wanted))
    return Recurrent(kind, units)


def weights(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@functools.cache
def _ids() -> Tensor:
    code = {symbol: n for n, symbol in enumerate(SYMBOLS)}
    return torch.tensor([code[symbol] for symbol in TEXT])


def spelled(rows: int, length: int, draw: torch.Generator, *, held_out: bool) -> Batch:
    """Pieces of the text and what follows each symbol; the last tenth is held out."""
    ids = _ids()
    cut = math.floor(0.9 * len(ids))
    ids = ids[cut:] if held_out else ids[:cut]
    at = torch.randint(0, len(ids) - length - 1, (rows, 1), generator=draw) + torch.arange(length + 1)
    return ids[at][:, :-1], ids[at][:, 1:]


def nats(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out.flatten(0, 1), y.flatten())
