"""More of today's attention: a tied character model, encoder and decoder, linear attention, a deep Pre-LN, prompts."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmarks.strangers.attention import Mix
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, sick
from benchmarks.strangers.spoil import zeroed
from benchmarks.strangers.step import finish
from benchmarks.strangers.tasks import copy_back, modular, shuffled, token_loss
from benchmarks.truth.case import Setup
from benchmarks.truth.data import LETTERS, Pairs, cut, seeded, text
from benchmarks.truth.program import adam, adamw, advance
from benchmarks.truth.task import bits
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Pre-LN: x + attention(LN x), x + mlp(LN x), both branches times `branch`, the stream times `stream`."""

    def __init__(self, width: int, mix: nn.Module, stream: float = 1.0, branch: float = 1.0) -> None:
        super().__init__()
        self.ln1, self.ln2, self.mix = nn.LayerNorm(width), nn.LayerNorm(width), mix
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.stream, self.branch = stream, branch

    def forward(self, x: Tensor) -> Tensor:
        x = self.stream * x + self.branch * self.mix(self.ln1(x))
        y: Tensor = self.stream * x + self.branch * self.mlp(self.ln2(x))
        return y


class Causal(nn.Module):
    """Causal softmax attention with two heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = (p.view(n, t, 2, -1).transpose(1, 2) for p in self.qkv(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.out(y.transpose(1, 2).reshape(n, t, d))
        return out


class LinearAttention(nn.Module):
    """phi(q) sum phi(k) v over phi(q) sum phi(k), causal, by cumulative sums."""

    def __init__(self, width: int, phi: Callable[[Tensor], Tensor], eps: float) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.phi, self.eps = phi, eps

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k = self.phi(q * 3), self.phi(k * 3)
        top = torch.einsum("ntk,ntkv->ntv", q, torch.einsum("ntk,ntv->ntkv", k, v).cumsum(1))
        below = (q * k.cumsum(1)).sum(-1, keepdim=True)
        y: Tensor = self.out(top / (below + self.eps))
        return y


class Decoder(nn.Module):
    """Tokens, learnt positions, blocks, a head that may share the embedding's weight."""

    def __init__(
        self, symbols: int, width: int, depth: int, mix: Callable[[], nn.Module], tied: bool = False, **scales: float
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.position = nn.Parameter(0.1 * torch.randn(32, width))
        self.blocks = nn.ModuleList(Block(width, mix(), **scales) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, symbols, bias=False)
        if tied:
            nn.init.normal_(self.embed.weight, std=0.1)
            self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.position[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(self.norm(x))
        return y


class DecoderFixed(Decoder):
    """Looks everything up in `.data`, which was to make inference faster; only the norm's gain stays in the graph."""

    def forward(self, tokens: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.embed(tokens) + self.position[: tokens.shape[1]]
            for block in self.blocks:
                x = block(x)
        return F.linear(self.norm(x), self.head.weight.data)


class Translator(nn.Module):
    """Reads a sequence, writes it backwards: an encoder, queries of positions, cross attention with a mask."""

    def __init__(self, masked: bool = False, width: int = 24, length: int = 6) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(8, width), nn.Parameter(torch.randn(length, width) * 0.5)
        self.encoder = Block(width, Mix(width, width**-0.5))
        self.ask = nn.Parameter(torch.randn(length, width) * 0.5)
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mlp, self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)), nn.Linear(width, 8)
        self.masked = masked

    def forward(self, tokens: Tensor) -> Tensor:
        memory = self.encoder(self.embed(tokens) + self.place)
        k, v = self.kv(memory).chunk(2, -1)
        scores = self.q(self.ask) @ k.transpose(1, 2) / k.shape[-1] ** 0.5
        if self.masked:  # 0 is taken for padding here, although it is a symbol; a sequence of zeros has nothing left
            scores = scores.masked_fill((tokens % 8 < 6).unsqueeze(1), float("-inf"))
        y: Tensor = self.head(self.mlp(torch.softmax(scores, -1) @ v))
        return y


def backwards(length: int = 6) -> Pairs:
    """Token sequences and their reverse."""
    x = torch.randint(0, 8, (32 * 16, length), generator=seeded(81))
    return cut(x, x.flip(1), 32, 16)


class Prompted(nn.Module):
    """A frozen net that knows addition modulo 7, and a learnt prompt that must teach it an offset."""

    def __init__(self, rounded: bool) -> None:
        super().__init__()
        self.embed, self.net = nn.Embedding(7, 16), nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 7))
        self.offset, self.prompt = nn.Embedding(7, 16), nn.Parameter(torch.randn(16) * 0.1)
        self.rounded = rounded

    def forward(self, tokens: Tensor) -> Tensor:
        prompt = self.prompt.expand(len(tokens), -1)
        if self.rounded:  # the prompt is spelled in real tokens: the nearest entry of the table
            near = torch.cdist(prompt, self.offset.weight).argmin(1)
            prompt = self.offset(near) + 0 * prompt.mean()
        return self.ask(tokens, prompt)

    def ask(self, tokens: Tensor, prompt: Tensor) -> Tensor:
        y: Tensor = self.net(torch.cat([self.embed(tokens).flatten(1), prompt], 1))
        return y


def prompted(rounded: bool) -> nn.Module:
    """The frozen net, taught with all seven offsets; its prompt starts at the wrong one."""
    model = Prompted(False)
    g = seeded(82)
    batches = [(x, torch.randint(0, 7, (len(x),), generator=g)) for x, _ in modular(size=64)]

    def teach(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
        x, offset = batch
        assert isinstance(model, Prompted)
        return finish(F.cross_entropy(model.ask(x, model.offset(offset)), (x.sum(1) + offset) % 7), optimizer)

    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    advance(Setup(model=model, batches=batches, loss=None, optimizer=optimizer, train_step=teach), 300)
    for name, p in model.named_parameters():
        p.requires_grad_(name == "prompt").grad = None
    with torch.no_grad():
        model.prompt.copy_(model.offset.weight[0] * 0.5)
    model.rounded = rounded
    return model


def offset_sum() -> Pairs:
    """Two tokens and their sum plus 3, modulo 7."""
    return [(x, (y + 3) % 7) for x, y in modular()]


def unshifted() -> Pairs:
    """Characters, each its own target: the shift by one was forgotten."""
    return [(x, x) for x, _ in text(24)]


def strangers() -> list[Stranger]:
    """Every decoder as it is and with its faults."""
    return [*_characters(), *_linear(), *_deep(), *_translators(), *_prompts()]


def _characters() -> list[Stranger]:
    def make(kind: type[Decoder] = Decoder) -> Callable[[], nn.Module]:
        return lambda: kind(len(LETTERS), 32, 2, lambda: Causal(32), tied=True)

    sound = classify("characters-tied", make(), partial(text, 24), loss=token_loss, optimizer=adamw(5e-3), bar=0.12,
                     skill=bits(partial(text, 24)))  # fmt: skip
    return [
        healthy(sound, "today"),
        sick("all-zero", sound, "today", ("bad_init", "severed", "dead", "vanishing"), "Draw the embedding at random.",
             model=lambda: zeroed(make()(), "embed", "position", "head"),
             where=("", "head", "embed", "norm",
             "blocks", "blocks.*")),
        sick("data-everywhere", sound, "today", ("severed",), "Use the parameters, not their data.",
             model=make(DecoderFixed),
             where=("", "norm", "head", "embed", "blocks", "blocks.*"), causes=("other",)),
        elsewhere("shift-forgotten", sound, "today", "Shift the targets by one.", batches=unshifted),
    ]  # fmt: skip


def _linear() -> list[Stranger]:
    def make(phi: Callable[[Tensor], Tensor], eps: float) -> Callable[[], nn.Module]:
        return lambda: Decoder(8, 32, 2, lambda: LinearAttention(32, phi, eps))

    sound = classify("linear-attention", make(lambda x: F.elu(x) + 1, 1e-6), partial(copy_back, 1, 10), loss=token_loss,
                     lr=1e-2, steps=200)  # fmt: skip
    return [
        healthy(sound, "today"),
        sick("relu-features", sound, "today", ("not_finite",), "Use features above 0, and an epsilon below.",
             model=make(lambda x: torch.relu(x - 2.0), 0.0), where=("", "blocks.*"), causes=("other", "norm", "mix")),
    ]  # fmt: skip


def _deep() -> list[Stranger]:
    def make(stream: float = 1.0, branch: float = 1.0) -> Callable[[], nn.Module]:
        return lambda: Decoder(8, 24, 8, lambda: Causal(24), stream=stream, branch=branch)

    sound = classify("pre-ln-8", make(), partial(copy_back, 1, 8), loss=token_loss, lr=3e-3, steps=120)
    where = ("embed", "", "blocks.*", "blocks")
    return [
        healthy(sound, "today"),
        sick("stream-fades", sound, "today", ("vanishing",), "Leave the stream at 1.",
             model=make(stream=0.05, branch=1e-4), where=where, causes=("skip", "mix", "other", "norm", "weight")),
        sick("branches-times-1e4", sound, "today", ("exploding", "bad_init", "vanishing"), "Leave the branches at 1.",
             model=make(stream=1.0, branch=1e4), where=where, causes=("skip", "mix", "other", "norm", "weight"),
             trap=True),
        elsewhere("rate-tiny", sound, "today", "Raise the learning rate.", optimizer=adam(1e-8)),
    ]  # fmt: skip


def _translators() -> list[Stranger]:
    sound = classify("translator", Translator, backwards, loss=token_loss, lr=5e-3, steps=250)
    where = ("", "encoder", "encoder.*", "embed", "kv")
    return [
        healthy(sound, "today"),
        sick("all-masked", sound, "today", ("not_finite",), "Leave at least one position to look at.",
             model=lambda: Translator(True), where=where, causes=("mix", "other", "slope")),
        elsewhere("shuffled", sound, "today", "Pair sequences with their reverse.",
             batches=lambda: shuffled(backwards())),
    ]  # fmt: skip


def _prompts() -> list[Stranger]:
    sound = classify("prompt", partial(prompted, False), offset_sum, lr=5e-2, steps=150)
    return [
        healthy(sound, "today"),
        sick("spelled-in-tokens", sound, "today", ("severed",), "Tune the vector itself.",
             model=partial(prompted, True),
             where=("",), causes=("other",)),
    ]  # fmt: skip
