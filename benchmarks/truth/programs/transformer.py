"""Transformers: a pre-LN encoder that classifies, and a small GPT on Python's help pages."""

from dataclasses import dataclass
from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.program import OptimizerMaker, Program, adam, adamw, spread
from benchmarks.truth.task import accuracy, bits
from torch import Tensor, nn


class Attention(nn.Module):
    """Self-attention with `heads` heads."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.heads, self.causal = heads, causal

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = (p.view(n, t, self.heads, -1).transpose(1, 2) for p in self.qkv(x).split(d, -1))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(n, t, d))
        return out


class PreNorm(nn.Module):
    """x + attention(LN(x)), x + mlp(LN(x))."""

    def __init__(self, width: int, heads: int, causal: bool, drop: float) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads, causal)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attn(self.ln1(x)))
        return x + self.drop(self.mlp(self.ln2(x)))


@dataclass
class Output:
    """What the language model gives back."""

    logits: Tensor
    loss: Tensor | None


class Transformer(nn.Module):
    """Embeddings, pre-LN blocks, a final norm, a head over positions (language model) or over their mean."""

    def __init__(
        self, symbols: int, outputs: int, width: int, depth: int, *, causal: bool, drop: float = 0.0, tied: bool = False
    ) -> None:
        super().__init__()
        self.causal = causal
        self.embed = nn.Embedding(symbols, width)
        self.position = nn.Parameter(0.02 * torch.randn(64, width))
        self.blocks = nn.ModuleList(PreNorm(width, 2, causal, drop) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)
        if tied:
            nn.init.normal_(self.embed.weight, std=0.05)
            self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.position[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        y: Tensor = self.head(x if self.causal else x.mean(1))
        return y


class Loss(nn.Module):
    """A language model that computes its own loss, in Hugging Face's manner."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Output:
        logits = self.net(input_ids)
        if labels is None:
            return Output(logits, None)
        return Output(logits, nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()))


def token_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Cross entropy over all positions."""
    return nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())


def encoder(
    depth: int = 3, *, drop: float = 0.0, optimizer: OptimizerMaker | None = None, steps: int = 150, **others: Any
) -> Program:
    """An encoder that tells which of two tokens comes oftener."""
    options: dict[str, Any] = {
        "name": f"encoder-{depth}" + ("-drop" if drop else ""),
        "steps": steps,
        "model": lambda: Transformer(6, 2, 24, depth, causal=False, drop=drop),
        "batches": data.majority,
        "loss": nn.functional.cross_entropy,
        "optimizer": optimizer or adam(2e-3),
        "skill": accuracy(data.majority),
        "places": spread(depth),
        "inputs": "embed",
        "chain": False,
    }
    return Program(**(options | others))


def gpt(
    depth: int = 3,
    *,
    drop: float = 0.0,
    tied: bool = False,
    own_loss: bool = False,
    optimizer: OptimizerMaker | None = None,
    steps: int = 150,
    **others: Any,
) -> Program:
    """A causal language model of characters."""

    def make() -> nn.Module:
        net = Transformer(len(data.LETTERS), len(data.LETTERS), 32, depth, causal=True, drop=drop, tied=tied)
        return Loss(net) if own_loss else net

    def named() -> list[Any]:
        return [{"input_ids": x, "labels": y} for x, y in data.text()]

    stem = "net." if own_loss else ""
    ask = (lambda model, x: model(x).logits) if own_loss else (lambda model, x: model(x))
    options: dict[str, Any] = {
        "name": f"gpt-{depth}" + ("-drop" if drop else "") + ("-tied" if tied else "") + ("-hf" if own_loss else ""),
        "steps": steps,
        "model": make,
        "batches": named if own_loss else data.text,
        "loss": None if own_loss else token_loss,
        "optimizer": optimizer or adamw(3e-3),
        "skill": bits(data.text, ask),
        "places": spread(depth, stem + "blocks"),
        "inputs": stem + "embed",
        "chain": False,
        "bar": 0.12,
    }
    return Program(**(options | others))
