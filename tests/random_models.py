"""Small modules of every shape a gradient's way can take; strategies.py draws their sizes and seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MODULES: dict[str, Callable[[], nn.Module]] = {
    "nn.Tanh": nn.Tanh,
    "nn.Sigmoid": nn.Sigmoid,
    "nn.GELU": nn.GELU,
    "nn.ELU": nn.ELU,
    "nn.PReLU": nn.PReLU,
    "nn.ReLU in place": lambda: nn.ReLU(inplace=True),
}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "torch.tanh": torch.tanh,
    "torch.relu_": torch.relu_,
    "F.relu": F.relu,
    "F.silu in place": lambda h: F.silu(h, inplace=True),
    "F.softplus": F.softplus,
    "x * sigmoid(x)": lambda h: h * torch.sigmoid(h),
}
ACTIVATIONS = (*MODULES, *FUNCTIONS)


class Chain(nn.Module):
    """Linear, activation, linear, ...; some activations are modules, some are functions."""

    def __init__(self, widths: Sequence[int], activations: Sequence[str], wrap: Callable = lambda layer: layer):
        super().__init__()
        self.layers = nn.ModuleList(wrap(nn.Linear(a, b)) for a, b in pairwise(widths))
        self.names = tuple(activations)  # one fewer than layers; names, so that the model pickles
        self.acts = nn.ModuleDict({str(i): MODULES[a]() for i, a in enumerate(activations) if a in MODULES})

    def forward(self, x):
        for i, name in enumerate(self.names):
            act = self.acts[str(i)] if name in MODULES else FUNCTIONS[name]
            x = act(self.layers[i](x))
        return self.layers[-1](x)


class Residual(nn.Module):
    """Pre-norm, post-norm, or no norm and an in-place ReLU after the addition."""

    def __init__(self, d_in: int, width: int, blocks: int, d_out: int, where: str, hidden: int):
        super().__init__()
        self.where = where
        self.stem, self.head = nn.Linear(d_in, width), nn.Linear(width, d_out)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, width)) for _ in range(blocks)
        )

    def forward(self, x):
        h = self.stem(x)
        for norm, branch in zip(self.norms, self.branches, strict=True):
            if self.where == "pre":
                h = h + branch(norm(h))
            elif self.where == "post":
                h = norm(h + branch(h))
            else:
                h = F.relu(h + branch(h), inplace=True)
        return self.head(h)


class Nested(nn.Module):
    """A branch inside a branch inside a branch; halves that are split, gated and put together again."""

    def __init__(self, half: int, depth: int):
        super().__init__()
        self.mix = nn.Linear(2 * half, 2 * half)
        self.inner = Nested(half, depth - 1) if depth > 1 else nn.Linear(2 * half, 2 * half)
        self.glue = nn.Linear(3 * half, 2 * half)

    def forward(self, x):
        a, b = self.mix(x).chunk(2, dim=-1)
        gated = a * torch.sigmoid(b)
        inside = self.inner(torch.cat([gated, torch.tanh(a)], dim=-1))
        first, second = inside.split([inside.shape[-1] // 2] * 2, dim=-1)
        return x + self.glue(torch.cat([first, second, b], dim=-1))


class Dense(nn.Module):
    """Every layer reads all earlier ones."""

    def __init__(self, d_in: int, growth: int, depth: int, d_out: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(d_in + i * growth, growth) for i in range(depth))
        self.head = nn.Linear(d_in + depth * growth, d_out)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, torch.tanh(layer(x))], dim=1)
        return self.head(x)


class UShape(nn.Module):
    """Down and up again, with long skips by concatenation."""

    def __init__(self, widths: Sequence[int], d_out: int):
        super().__init__()
        self.down = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        ups = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(nn.Linear(a + b, b) for a, b in ups)
        self.head = nn.Linear(widths[0], d_out)

    def forward(self, x):
        skips = []
        for layer in self.down:
            skips.append(x)
            x = F.gelu(layer(x))
        for layer in self.up:
            x = torch.tanh(layer(torch.cat([x, skips.pop()], dim=1)))
        return self.head(x)


class Shared(nn.Module):
    """One linear used several times, and its weight once more as the head."""

    def __init__(self, width: int, times: int):
        super().__init__()
        self.layer, self.times = nn.Linear(width, width), times

    def forward(self, x):
        for _ in range(self.times):
            x = torch.tanh(self.layer(x))
        return F.linear(x, self.layer.weight.t())


class SeveralInputs(nn.Module):
    """Two inputs: towers that meet, a condition at each layer, or a side input that comes late."""

    def __init__(self, d_in: int, width: int, depth: int, d_out: int, how: str):
        super().__init__()
        self.how = how
        self.read, self.read_side = nn.Linear(d_in, width), nn.Linear(d_in, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.side_layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, d_out)

    def forward(self, x, side=None):
        x, side = x if side is None else (x, side)  # one argument that is a pair, or two
        h, s = self.read(x), self.read_side(side)
        for layer, side_layer in zip(self.layers, self.side_layers, strict=True):
            h = torch.tanh(layer(h))
            if self.how == "towers":
                s = torch.sigmoid(side_layer(s))
            elif self.how == "condition":
                h = h * (1 + side_layer(s))
        return self.head(h + s)


class Conv(nn.Module):
    """Convolutions with batch norm, in-place ReLU, a skip or none, pooling by average or maximum."""

    def __init__(self, channels: int, depth: int, d_out: int, skip: bool, pool: Callable[[Tensor], Tensor]):
        super().__init__()
        self.skip, self.pool = skip, pool
        self.stem = nn.Conv2d(1, channels, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(depth))
        self.head = nn.Linear(channels, d_out)

    def forward(self, x):
        h = F.relu(self.stem(x), inplace=True)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = F.relu(norm(conv(h)) + (h if self.skip else 0.0), inplace=True)
        return self.head(self.pool(h).flatten(1))


class Transformer(nn.Module):
    """Embedding or linear reader, encoder layers without dropout, mean over positions."""

    def __init__(self, reader: nn.Module, width: int, heads: int, layers: int, d_out: int, norm_first: bool):
        super().__init__()
        self.reader = reader
        self.position = nn.Parameter(torch.randn(1, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 2 * width, 0.0, batch_first=True, norm_first=norm_first)
            for _ in range(layers)
        )
        self.head = nn.Linear(width, d_out)

    def forward(self, x):
        h = self.reader(x) + self.position
        for layer in self.layers:
            h = layer(h)
        return self.head(h.mean(1))


class Attention(nn.Module):
    """One causal attention written by hand around F.scaled_dot_product_attention, with RMS norm by hand."""

    def __init__(self, d_in: int, width: int, heads: int, d_out: int):
        super().__init__()
        self.heads = heads
        self.read, self.qkv = nn.Linear(d_in, width), nn.Linear(width, 3 * width)
        self.head = nn.Linear(width, d_out)

    def forward(self, x):
        h = self.read(x)
        normed = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-5)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(normed).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        return self.head((h + mixed)[:, -1])


class Tokens(nn.Module):
    """Token input; the output is tied to the embedding."""

    def __init__(self, vocabulary: int, width: int, depth: int):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, tokens):
        h = self.embed(tokens)
        for layer in self.layers:
            h = h + torch.tanh(layer(h))
        return F.linear(h.mean(1), self.embed.weight)


class Recurrent(nn.Module):
    """A loop over time steps with an LSTM or GRU cell; the loss reads the last or every step."""

    def __init__(self, d_in: int, width: int, d_out: int, cell: type[nn.Module], every: bool):
        super().__init__()
        self.cell, self.head, self.every = cell(d_in, width), nn.Linear(width, d_out), every

    def forward(self, x):
        state, seen = None, []
        for step in x.unbind(1):
            state = self.cell(step, state)
            seen.append(state[0] if isinstance(state, tuple) else state)
        return self.head(torch.stack(seen).mean(0) if self.every else seen[-1])


class Piece(nn.Module):
    """Linear, tanh, one unusual operation (`cut`: from OPERATIONS), a linear of the width that comes out."""

    def __init__(self, d_in: int, width: int, d_out: int, cut: Callable[[Tensor], Tensor]):
        super().__init__()
        self.first, self.cut = nn.Linear(d_in, width), cut
        with torch.no_grad():
            self.last = nn.Linear(cut(torch.zeros(2, width)).shape[1], d_out)

    def forward(self, x):
        return self.last(self.cut(torch.tanh(self.first(x))))


class Heads(nn.Module):
    """A trunk and two heads; hands them out as a tuple, a dict, a dataclass or a list with a plain number."""

    def __init__(self, d_in: int, width: int, d_out: int, form: str):
        super().__init__()
        self.trunk, self.form = nn.Sequential(nn.Linear(d_in, width), nn.Tanh()), form
        self.one, self.two = nn.Linear(width, d_out), nn.Linear(width, d_out)

    def forward(self, x):
        h = self.trunk(x)
        one, two = self.one(h), self.two(torch.sigmoid(h))
        if self.form == "dict":
            return {"one": one, "two": two}
        if self.form == "dataclass":
            return TwoOutputs(one, two)
        return (one, two) if self.form == "tuple" else [one, {"deep": (two, 3)}]


@dataclass
class TwoOutputs:
    """What a Hugging Face model hands out: tensors as attributes."""

    one: Tensor
    two: Tensor


class Clip(torch.autograd.Function):
    """A gradient that is cut off where the value is large; no gradient for the limit."""

    @staticmethod
    def forward(ctx, x, limit):
        ctx.save_for_backward(x)
        ctx.limit = limit
        return x.clamp(-limit, limit)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * (x.abs() <= ctx.limit), None


class SumAndDifference(torch.autograd.Function):
    """Two inputs, two outputs."""

    @staticmethod
    def forward(ctx, a, b):
        return a + b, a - b

    @staticmethod
    def backward(ctx, g_sum, g_difference):
        return g_sum + g_difference, g_sum - g_difference
