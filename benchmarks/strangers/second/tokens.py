"""Transformers of small size: a reverser, masked tokens, a pointer, shared blocks, sloped attention, gated mixing."""

from typing import Any

import torch
from benchmarks.strangers.record import Stranger, classify, elsewhere, healthy, sick
from benchmarks.strangers.second.parts import Attention, Block, cross, mlp, scheduled_step, step_on
from benchmarks.strangers.spoil import alike
from benchmarks.strangers.step import finish
from benchmarks.strangers.tasks import copy_back, patches
from benchmarks.truth.data import Pairs, cut, majority, seeded
from benchmarks.truth.program import sgd
from torch import Tensor, nn
from torch.nn import functional as F

T, SYMBOLS = 8, 8


def backwards() -> Pairs:
    """Tokens (N, 8) and the same in reverse order."""
    x = torch.randint(0, SYMBOLS, (512, T), generator=seeded(101))
    return cut(x, x.flip(1), 32, 16)


class Encoder(nn.Module):
    """Token and place embeddings, two blocks, a head."""

    def __init__(self, attention: type[Attention] = Attention, places: bool = True, symbols: int = SYMBOLS) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, 32)
        self.place = nn.Parameter(torch.randn(T, 32)) if places else None
        self.blocks = nn.ModuleList(Block(32, attention) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, symbols)

    def enter(self, x: Tensor) -> Tensor:
        h: Tensor = self.embed(x)
        return h if self.place is None else h + self.place

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for block in self.blocks:
            h = block(h)
        y: Tensor = self.head(self.norm(h))
        return y


class QuietWeights(Attention):
    """The weights are computed without graph, once meant for a picture of them."""

    @torch.no_grad()
    def weigh(self, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
        return super().weigh(q, k, bias)


class MaxWeights(Attention):
    """Hard attention: the best key by argmax."""

    def weigh(self, q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
        return F.one_hot((q @ k.mT).argmax(-1), k.shape[-2]).to(q.dtype)


class BufferedEncoder(Encoder):
    """What the blocks give goes through a buffer that is filled in place under no_grad."""

    buffer: Tensor

    def __init__(self, symbols: int) -> None:
        super().__init__(symbols=symbols)
        self.register_buffer("buffer", torch.zeros(32, T, 32))

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for block in self.blocks:
            h = block(h)
        with torch.no_grad():
            self.buffer.copy_(h)
        y: Tensor = self.head(self.norm(self.buffer.clone()))
        return y


HIDDEN = 7  # the token that hides another


def progressions() -> Pairs:
    """Arithmetic progressions modulo 7, three places hidden; the targets are what is hidden there, else -100."""
    g = seeded(102)
    start, stride = torch.randint(0, 7, (1024, 1), generator=g), torch.randint(0, 7, (1024, 1), generator=g)
    whole = (start + stride * torch.arange(T)) % 7
    hide = torch.zeros(1024, T, dtype=torch.bool)
    hide.scatter_(1, torch.rand(1024, T, generator=g).argsort(1)[:, :3], True)
    return cut(whole.masked_fill(hide, HIDDEN), whole.masked_fill(~hide, -100), 32, 32)


def unhidden(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The inputs are masked on a copy that is thrown away."""
    return torch.where(y >= 0, y, x), y


def visible_only(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The mask of the loss is upside down."""
    return x, torch.where(y >= 0, -100, x)


class Pointer(nn.Module):
    """Scores every member of a set against a query; the scores are bounded by a tanh."""

    def __init__(self, sharp: float = 1.0) -> None:
        super().__init__()
        self.key, self.query, self.sharp = mlp(3, 32, 32), mlp(3, 32, 32), sharp

    def forward(self, x: Tensor) -> Tensor:
        keys, query = self.key(x[:, 1:]), self.query(x[:, 0])
        return 6 * torch.tanh(self.sharp * (keys @ query.unsqueeze(-1)).squeeze(-1) / 6)


class PointerDetached(Pointer):
    """Keys come out of a cache of detached vectors, queries from the frozen half: only a temperature is left."""

    def __init__(self) -> None:
        super().__init__()
        self.heat = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.heat * super().forward(x).detach()


def nearest() -> Pairs:
    """A query and six points (N, 7, 3); the target is the index of the nearest."""
    x = torch.randn(1024, 7, 3, generator=seeded(103))
    return cut(x, (x[:, 1:] - x[:, :1]).norm(dim=-1).argmin(1), 64, 16)


class Shared(nn.Module):
    """One block, applied six times, over tokens; the mean is read."""

    def __init__(self, times: int = 6) -> None:
        super().__init__()
        self.embed, self.block, self.head = nn.Embedding(6, 24), Block(24), nn.Linear(24, 2)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        for _ in range(self.times):
            h = self.block(h)
        y: Tensor = self.head(h.mean(1))
        return y


class Mapped(nn.Module):
    """The same with a bare map in the place of the block."""

    def __init__(self, gain: float, times: int = 12) -> None:
        super().__init__()
        self.embed, self.step, self.head = nn.Embedding(6, 24), nn.Linear(24, 24), nn.Linear(24, 2)
        nn.init.orthogonal_(self.step.weight, gain)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        for _ in range(self.times):
            h = F.leaky_relu(self.step(h), 0.3)
        y: Tensor = self.head(h.mean(1))
        return y


class Sloped(nn.Module):
    """A causal decoder whose attention falls with the distance, a slope a head, and no places."""

    def __init__(self, steep: float = 1.0, back: int = 3) -> None:
        super().__init__()
        self.embed, self.norm, self.head = nn.Embedding(8, 32), nn.LayerNorm(32), nn.Linear(32, 8)
        self.blocks = nn.ModuleList(Block(32) for _ in range(2))
        self.steep, self.back = steep, back

    def forward(self, x: Tensor) -> Tensor:
        at = torch.arange(x.shape[1])
        gap = (at.unsqueeze(1) - at).float()
        slopes = self.steep * torch.tensor([1.0, 0.5, 0.25, 0.0]).view(4, 1, 1)
        bias = (-slopes * (gap - self.back).abs()).masked_fill(gap < 0, float("-inf"))
        h = self.embed(x)
        for block in self.blocks:
            h = block(h, bias)
        y: Tensor = self.head(self.norm(h))
        return y


def too_late(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Targets moved by one place more than they are already."""
    return x, torch.cat([y[:, 1:], torch.full_like(y[:, :1], -100)], 1)


class GatedMixing(nn.Module):
    """gMLP: half of the channels, mixed over places by a matrix of 1e-3 plus 1, gates the other half."""

    def __init__(self, depth: int = 3, width: int = 24, skip: bool = True) -> None:
        super().__init__()
        self.enter, self.head, self.skip = nn.Linear(4, width), nn.Linear(width, 10), skip
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.inward = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))
        self.outward = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.mix = nn.ModuleList(nn.Linear(16, 16) for _ in range(depth))
        for layer in self.mix:
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.ones_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for norm, inward, mix, outward in zip(self.norms, self.inward, self.mix, self.outward, strict=True):
            u, v = F.gelu(inward(norm(h) if self.skip else h)).chunk(2, -1)
            out = outward(u * mix(v.mT).mT)
            h = h + out if self.skip else out
        y: Tensor = self.head(h.mean(1))
        return y


def scrambled(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """An augmentation that moves the values of an image to other pixels, anew each time."""
    flat = x.flatten(1)
    order = torch.rand(flat.shape).argsort(1)
    return flat.gather(1, order).view_as(x), y


class Exits(nn.Module):
    """Four blocks with a head each; the last one answers."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.place = nn.Linear(4, 24), nn.Parameter(0.3 * torch.randn(16, 24))
        self.blocks = nn.ModuleList(Block(24) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(24, 10) for _ in range(3))

    def every(self, x: Tensor) -> list[Tensor]:
        h, outs = self.enter(x) + self.place, []
        for block, head in zip(self.blocks, self.heads, strict=True):
            h = block(h)
            outs.append(head(h.mean(1)))
        return outs

    def forward(self, x: Tensor) -> Tensor:
        return self.every(x)[-1]


def exits_step(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The early exits are trained by one batch in twenty."""
    assert isinstance(model, Exits)
    x, y = batch
    outs = model.every(x)
    loss = F.cross_entropy(outs[-1], y)
    if torch.rand(()) < 0.05:
        loss = loss + 0.1 * sum((F.cross_entropy(o, y) for o in outs[:-1]), torch.zeros(()))
    return finish(loss, optimizer)


def exits_mixed(model: nn.Module, batch: Any, optimizer: Any) -> Tensor:
    """The last exit is given the labels of another batch order; the early ones are right."""
    assert isinstance(model, Exits)
    x, y = batch
    outs = model.every(x)
    loss = F.cross_entropy(outs[-1], y.roll(1))
    loss = loss + 0.1 * sum((F.cross_entropy(o, y) for o in outs[:-1]), torch.zeros(()))
    return finish(loss, optimizer)


def strangers() -> list[Stranger]:
    """Every transformer as it is and with its faults."""
    return [*_encoders(), *_pointers(), *_others()]


def _encoders() -> list[Stranger]:
    turn = classify("reverser", Encoder, backwards, loss=cross, steps=200)
    fill = classify("hidden-tokens", Encoder, progressions, loss=cross, steps=300)
    attn = tuple(f"blocks.{i}{part}" for i in range(2) for part in ("", ".attn", ".attn.qkv"))
    return [
        healthy(turn, "today"),
        sick("weights-without-graph", turn, "today", ("severed",), "Compute the attention weights with their graph.",
             model=lambda: Encoder(QuietWeights), where=("", *attn), causes=("other",)),
        sick("hard-attention", turn, "today", ("severed",), "Attend by softmax.",
             model=lambda: Encoder(MaxWeights), where=("", *attn), causes=("other",)),
        sick("all-weights-alike", turn, "today", ("bad_init", "vanishing", "dead"), "Draw the weights.",
             model=lambda: alike(Encoder()),
             where=("", "embed", "blocks", "blocks.*", "head")),
        elsewhere("without-places", turn, "today", "Add the place embeddings.", model=lambda: Encoder(places=False)),
        elsewhere("one-token-for-all", turn, "today", "Map each symbol to its own token.",
                  train_step=step_on(cross, lambda x, y: (x.clamp(max=1), y))),
        healthy(fill, "today"),
        sick("through-a-buffer", fill, "today", ("severed",), "Use what the blocks give itself.",
             model=lambda: BufferedEncoder(SYMBOLS), where=("", "embed", "blocks", "blocks.*"), causes=("other",)),
        elsewhere("nothing-hidden", fill, "today", "Hide the tokens in what the model sees.",
                  train_step=step_on(cross, unhidden)),
        elsewhere("loss-of-the-visible", fill, "today", "Count the hidden tokens in the loss.",
                  train_step=step_on(cross, visible_only)),
    ]  # fmt: skip


def _pointers() -> list[Stranger]:
    point = classify("pointer", Pointer, nearest, steps=250)
    return [
        healthy(point, "today"),
        sick("scores-past-the-bound", point, "today", ("saturated", "vanishing", "exploding", "bad_init"),
             "Scale the scores by the root of the width.", model=lambda: Pointer(1e5), where=("", "key", "query")),
        sick("cached-scores", point, "today", ("severed",), "Keep the graph of the scores.", model=PointerDetached,
             where=("", "key", "key.0", "key.2", "query", "query.0", "query.2"), causes=("other",)),
        elsewhere("always-first", point, "today", "Point to where the nearest is.",
                  train_step=step_on(F.cross_entropy, lambda x, y: (x, y.sort().values))),
    ]  # fmt: skip


def _others() -> list[Stranger]:
    shared = classify("shared-block", Shared, majority, steps=150)
    mapped = classify("shared-map", lambda: Mapped(1.25), majority, steps=200)
    sloped = classify("sloped-decoder", Sloped, lambda: copy_back(3), loss=cross, steps=200)
    gated = classify("gated-mixing", GatedMixing, patches, steps=150)
    exits = classify("rare-exits", Exits, patches, train_step=exits_step, loss=None, steps=120)
    return [
        healthy(shared, "today"),
        elsewhere("rate-at-zero", shared, "today", "Let the schedule end with the training.",
                  train_step=scheduled_step(F.cross_entropy, lambda i: max(0.0, 3e-3 * (1 - i / 2)))),
        healthy(mapped, "classic"),
        sick("map-too-small", mapped, "classic", ("vanishing",), "Start the map with its gain.",
             model=lambda: Mapped(0.1), where=("", "step", "embed"), causes=("weight",)),
        sick("map-too-large", mapped, "classic", ("exploding",), "Start the map with its gain.",
             model=lambda: Mapped(9.0, 40), where=("", "step", "embed", "head"), causes=("weight",)),
        healthy(sloped, "today"),
        sick("slopes-steep", sloped, "today", ("saturated", "vanishing", "dead"), "Use slopes of about 1.",
             model=lambda: Sloped(300.0, 0), where=("", *(f"blocks.{i}{p}" for i in range(2)
             for p in ("", ".attn", ".attn.qkv"))), causes=("slope", "other")),
        elsewhere("targets-late", sloped, "today", "Move the targets once.", train_step=step_on(cross, too_late)),
        healthy(gated, "today"),
        sick("skips-and-norms-left-out", gated, "today", ("vanishing",), "Let the stream pass each layer.",
             model=lambda: GatedMixing(6, skip=False), optimizer=sgd(0.05),
             where=("", "enter", *(f"{p}{i}" for p in ("inward.", "outward.", "mix.") for i in range(6))),
             causes=("skip", "norm", "mix", "weight")),
        elsewhere("pixels-scrambled", gated, "today", "Augment without mixing pixels.",
                  train_step=step_on(F.cross_entropy, scrambled)),
        healthy(exits, "today"),
        elsewhere("last-exit-mixed", exits, "today", "Give the last exit its own labels.", train_step=exits_mixed),
    ]  # fmt: skip
