"""Today's attention: a Llama-like decoder, a deep Post-LN encoder, ViT, latent attention, Perceiver, Hopfield, LoRA."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from benchmarks.strangers.record import SATURATES, Stranger, classify, elsewhere, healthy, regress, sick
from benchmarks.strangers.tasks import copy_back, needle, patches, shuffled, spread_of_set, token_loss
from benchmarks.truth.data import flat_digits
from benchmarks.truth.program import Program, adam, adamw
from torch import Tensor, nn
from torch.nn import functional as F


class RMSNorm(nn.Module):
    """x over its root mean square, by hand as Llama's code has it."""

    def __init__(self, width: int, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), gain))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


def rotate(x: Tensor) -> Tensor:
    """Rotary positions on (N, H, T, D)."""
    t, half = x.shape[2], x.shape[3] // 2
    angle = torch.arange(t)[:, None] * (1.0 / 10 ** (torch.arange(half) / half))
    a, b = x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


class GroupedAttention(nn.Module):
    """Causal attention with fewer key heads than query heads, norms on q and k, rotary positions."""

    def __init__(self, width: int, heads: int, shared: int, gain: float = 1.0) -> None:
        super().__init__()
        self.heads, self.shared, self.size = heads, shared, width // heads
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * shared * self.size, bias=False)
        self.q_norm, self.k_norm = RMSNorm(self.size, gain), RMSNorm(self.size, gain)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q = self.q(x).view(n, t, self.heads, -1).transpose(1, 2)
        k, v = (p.view(n, t, self.shared, -1).transpose(1, 2) for p in self.kv(x).chunk(2, -1))
        q, k = self.place(self.q_norm(q)), self.place(self.k_norm(k))
        k, v = (p.repeat_interleave(self.heads // self.shared, 1) for p in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.out(y.transpose(1, 2).reshape(n, t, d))
        return out

    def place(self, x: Tensor) -> Tensor:
        return rotate(x)


class NumpyRotary(GroupedAttention):
    """Rotary positions borrowed from a numpy script."""

    def place(self, x: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(rotate(x.detach().cpu()).numpy()))


class Swiglu(nn.Module):
    """down(silu(gate) up)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return y


class LlamaBlock(nn.Module):
    """x + attention(RMS(x)), x + swiglu(RMS(x))."""

    def __init__(self, width: int, attn: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.attn, self.mlp = attn, Swiglu(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class Llama(nn.Module):
    """A decoder whose head shares the embedding's weight."""

    def __init__(self, attn: Callable[[], nn.Module], depth: int = 2, width: int = 24, std: float = 0.2) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, width)
        nn.init.normal_(self.embed.weight, std=std)
        self.blocks = nn.ModuleList(LlamaBlock(width, attn()) for _ in range(depth))
        self.norm = RMSNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.embed.weight)


class LlamaRounded(Llama):
    """Sends the activations through integers on the way, as an export path does."""

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        x = (self.norm(x) * 64).int().float() / 64
        return F.linear(x, self.embed.weight)


class Mix(nn.Module):
    """Attention of any kind over (N, T, D): softmax(temperature q k) v."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(width, width), nn.Linear(width, width)
        self.v, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.scale = scale

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        c = x if context is None else context
        weights = torch.softmax(self.q(x) @ self.k(c).transpose(1, 2) * self.scale, -1)
        y: Tensor = self.out(weights @ self.v(c))
        return y


class PostBlock(nn.Module):
    """LN(x + f(x)) twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = Mix(width, width**-0.5)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.ln1(x + self.attn(x))
        y: Tensor = self.ln2(x + self.mlp(x))
        return y


class SkipForgotten(PostBlock):
    """The additions were lost in a refactoring."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.ln2(self.mlp(self.ln1(self.attn(x))))
        return y


class Encoder(nn.Module):
    """Vectors in, learnt positions where asked, blocks, mean over positions, head."""

    def __init__(
        self, block: Callable[[], nn.Module], depth: int, width: int, inputs: int, outputs: int, tokens: int = 1
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.position = nn.Parameter(0.3 * torch.randn(tokens, width) * (tokens > 1))
        self.blocks = nn.ModuleList(block() for _ in range(depth))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x) + self.position
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(x.mean(1))
        return y


class ScaledBlock(nn.Module):
    """A ViT block with LayerScale."""

    def __init__(self, width: int, gamma: float) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Mix(width, width**-0.5)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.gamma1 = nn.Parameter(torch.full((width,), gamma))
        self.gamma2 = nn.Parameter(torch.full((width,), gamma))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.gamma1 * self.attn(self.ln1(x))
        y: Tensor = x + self.gamma2 * self.mlp(self.ln2(x))
        return y


class TanhBlock(nn.Module):
    """Dynamic tanh in the place of the norms, learnt slope `alpha`."""

    def __init__(self, width: int, alpha: float) -> None:
        super().__init__()
        self.attn = Mix(width, width**-0.5)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.alpha1, self.alpha2 = nn.Parameter(torch.tensor(alpha)), nn.Parameter(torch.tensor(alpha))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(torch.tanh(self.alpha1 * x))
        y: Tensor = x + self.mlp(torch.tanh(self.alpha2 * x))
        return y


class LatentBlock(nn.Module):
    """Attention whose keys and values come from a narrow latent, as in DeepSeek's."""

    def __init__(self, width: int, latent: int, std: float | None = None) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.down, self.up = nn.Linear(width, latent, bias=False), nn.Linear(latent, width, bias=False)
        self.attn = Mix(width, width**-0.5)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        if std is not None:
            nn.init.normal_(self.down.weight, std=std)
            nn.init.normal_(self.up.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        h = self.ln1(x)
        x = x + self.attn(h, self.up(self.down(h)))
        y: Tensor = x + self.mlp(self.ln2(x))
        return y


class Perceiver(nn.Module):
    """A few learnt latents read the set, then a head reads them."""

    def __init__(self, width: int, inputs: int, outputs: int, scale: float, std: float = 0.5) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))
        self.latents = nn.Parameter(std * torch.randn(4, width))
        self.read = Mix(width, scale)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.head = nn.Linear(4 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        z = self.latents.expand(len(x), -1, -1)
        z = z + self.read(z, self.enter(x))
        z = z + self.mlp(z)
        y: Tensor = self.head(z.flatten(1))
        return y


class Hopfield(nn.Module):
    """Two retrieval steps from stored patterns, softmax(beta x K) K, then a head: no way around the retrieval."""

    def __init__(self, beta: float, width: int = 24, stored: int = 48) -> None:
        super().__init__()
        self.enter = nn.Linear(64, width)
        self.patterns = nn.Parameter(torch.randn(stored, width))
        self.head = nn.Linear(width, 10)
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for _ in range(2):
            x = torch.softmax(self.beta * x @ self.patterns.T, -1) @ self.patterns
        y: Tensor = self.head(x)
        return y


def mean_loss(out: Tensor, y: Tensor) -> Tensor:
    """Squared error after squeezing one side only: (N, 1) against (N,)."""
    return F.mse_loss(out, y.squeeze(1))


def strangers() -> list[Stranger]:
    """Every attention as it is and with its faults."""
    return [*_llama(), *_post(), *_pre(), *_readers()]


def _llama() -> list[Stranger]:
    make = partial(GroupedAttention, 24, 4, 2)
    sound = classify("llama", lambda: Llama(make), copy_back, loss=token_loss, steps=150, lr=1e-2)
    sealed = tuple(f"blocks.{i}.attn" for i in (0, 1))
    noise = shuffled(copy_back())
    return [
        healthy(sound, "today"),
        sick(
            "rotary-numpy", sound, "today", ("severed",), "Rotate with torch, so that q and k stay in the graph.",
            model=lambda: Llama(partial(NumpyRotary, 24, 4, 2)), where=(*sealed, "blocks.*"), causes=("other",),
        ),
        sick(
            "qk-gain-60", sound, "today", ("saturated", "bad_init"), "Start the gains of the norms on q and k at 1.",
            trap=True,
            model=lambda: Llama(partial(GroupedAttention, 24, 4, 2, 60.0)), where=(*sealed, "blocks.*"),
            causes=("slope", "norm", "mix", "weight"),
        ),
        sick(
            "ints", sound, "today", ("severed",), "Keep the activations floats in training.",
            model=lambda: LlamaRounded(make), where=("", "norm"), causes=("other",),
        ),
        elsewhere("shuffled", sound, "today", "Pair inputs with their own targets.", batches=lambda: noise),
    ]  # fmt: skip


def _post() -> list[Stranger]:
    sound = _encoder("post-ln", lambda: PostBlock(24), 4)
    return [
        healthy(sound, "today"),
        sick(
            "skips-forgotten", sound, "today", ("vanishing",), "Add the skips back.",
            model=lambda: Encoder(lambda: SkipForgotten(24), 4, 24, 4, 2), where=("blocks.*",),
            causes=("mix", "skip", "weight", "norm", "slope"),
        ),
        elsewhere("shuffled", sound, "today", "Pair inputs with their own targets.",
                  batches=lambda: shuffled(needle(size=48))),
    ]  # fmt: skip


def _encoder(name: str, block: Callable[[], nn.Module], depth: int, **others: Any) -> Program:
    options: dict[str, Any] = {"steps": 250, "lr": 4e-3} | others
    return classify(name, lambda: Encoder(block, depth, 24, 4, 2), partial(needle, size=48), **options)


def _pre() -> list[Stranger]:
    vit = classify(
        "vit-layerscale",
        lambda: Encoder(lambda: ScaledBlock(24, 1e-6), 3, 24, 4, 10, 16),
        patches,
        optimizer=adamw(5e-3),
        steps=120,
    )
    dyt = _encoder("dyt", lambda: TanhBlock(24, 0.5), 2)
    mla = _encoder("latent-attention", lambda: LatentBlock(24, 8), 2)
    return [
        healthy(vit, "today"),
        elsewhere("frozen", vit, "today", "Train the blocks and the entrance too.",
                  model=lambda: _freeze(Encoder(lambda: ScaledBlock(24, 1e-6), 3, 24, 4, 10, 16))),
        healthy(dyt, "today"),
        sick(
            "alpha-200", dyt, "today", ("saturated", "bad_init"), "Start alpha at 0.5.", trap=True,
            model=lambda: Encoder(lambda: TanhBlock(24, 200.0), 2, 24, 4, 2), where=("blocks.*",), causes=("slope",),
        ),
        healthy(mla, "today"),
        elsewhere("rate-tiny", mla, "today", "Raise the learning rate.", optimizer=adam(1e-8)),
        elsewhere("all-alike", vit, "today", "Divide by the deviation of the data, not by a huge number.",
                  batches=lambda: [(x / 1e9, y) for x, y in patches()]),
    ]  # fmt: skip


def _freeze(model: nn.Module) -> nn.Module:
    """All but the norms of a model frozen, a common recipe taken to a net that was never trained."""
    for name, p in model.named_parameters():
        p.requires_grad_("ln" in name)
    return model


def _readers() -> list[Stranger]:
    make = partial(Perceiver, 16, 3, 1)
    perceiver = regress("perceiver", lambda: make(0.25), spread_of_set, lr=5e-3, steps=250)
    hopfield = classify("hopfield", lambda: Hopfield(0.3), flat_digits, lr=1e-2, steps=300)
    return [
        healthy(perceiver, "today"),
        sick(
            "logits-unscaled", perceiver, "today", ("bad_init", "saturated", "vanishing"),
            "Scale the logits by 1/sqrt(d).", trap=True,
            model=lambda: make(60.0), where=("read",), causes=("slope", "mix"),
        ),
        elsewhere("one-side-squeezed", perceiver, "today", "Give output and target the same shape.", loss=mean_loss),
        healthy(hopfield, "today"),
        sick(
            "beta-200", hopfield, "today", SATURATES, "Take beta of a few units.",
            model=lambda: Hopfield(200.0), where=("",), causes=("slope",),
        ),
        sick(
            "beta-tiny", hopfield, "today", ("vanishing", "bad_init"), "Take beta of a few units.",
            model=lambda: Hopfield(1e-4), where=("",), causes=("slope", "mix", "other"),
        ),
    ]  # fmt: skip
