"""Published designs that `transformers` doesn't build, with the initialisation of their papers."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 5
WORDS = 1000


class Gate(nn.Module):
    """LayerScale: a factor for each channel, small at first."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        return self.gamma * x


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x: Tensor, queries: int | None = None) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q[:, :, :queries], k, v)
        return self.proj(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, start: float, act: Callable[[], nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), act(), nn.Linear(4 * width, width))
        self.gate1, self.gate2 = Gate(width, start), Gate(width, start)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.gate1(self.attention(self.norm1(x)))
        return x + self.gate2(self.mlp(self.norm2(x)))


class ClassBlock(Block):
    """CaiT's class attention: only the class token is changed."""

    def forward(self, token: Tensor, x: Tensor) -> Tensor:  # type: ignore[override]
        token = token + self.gate1(self.attention(self.norm1(torch.cat([token, x], 1)), queries=1))
        return token + self.gate2(self.mlp(self.norm2(token)))


class Patches(nn.Module):
    """What the vision transformers here share: patches, places, a class token, a head."""

    def __init__(self, side: int, patch: int, width: int, classes: int, token: float) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.empty(1, 1, width))
        self.places = nn.Parameter(torch.empty(1, (side // patch) ** 2, width))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes) if classes else nn.Identity()
        nn.init.normal_(self.token, std=token)
        nn.init.trunc_normal_(self.places, std=0.02)

    def start(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def embedded(self, x: Tensor) -> Tensor:
        return self.patches(x).flatten(2).transpose(1, 2) + self.places


class DeiT3(Patches):
    """DeiT III (arXiv:2204.07118): LayerScale at 1e-6, a class token of std 1e-6."""

    def __init__(self, side=224, patch=16, width=768, depth=12, heads=12, start=1e-6, classes=CLASSES, act=nn.GELU):
        super().__init__(side, patch, width, classes, 1e-6)
        self.blocks = nn.ModuleList(Block(width, heads, start, act) for _ in range(depth))
        self.start()

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedded(x)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class CaiT(Patches):
    """CaiT (arXiv:2103.17239): LayerScale at 1e-5, two class attention blocks."""

    def __init__(self, side=224, patch=16, width=384, depth=24, heads=8, start=1e-5, classes=CLASSES, act=nn.GELU):
        super().__init__(side, patch, width, classes, 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, start, act) for _ in range(depth))
        self.late = nn.ModuleList(ClassBlock(width, heads, start, act) for _ in range(2))
        self.start()

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedded(x)
        for block in self.blocks:
            x = block(x)
        token = self.token.expand(len(x), -1, -1)
        for block in self.late:
            token = block(token, x)
        return self.head(self.norm(torch.cat([token, x], 1))[:, 0])


class Pooled(DeiT3):
    """The same trunk without head: the mean token is the answer."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedded(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x).mean(1)


class Mixer(nn.Module):
    """ResMLP (arXiv:2105.03404): mixing over tokens and over channels, both behind LayerScale."""

    def __init__(self, side=224, patch=16, width=384, depth=12, start=1e-4):
        super().__init__()
        tokens = (side // patch) ** 2
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.over_tokens = nn.ModuleList(nn.Linear(tokens, tokens) for _ in range(depth))
        self.over_channels = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)) for _ in range(depth)
        )
        self.gates = nn.ModuleList(Gate(width, start) for _ in range(2 * depth))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        for n, (tokens, channels) in enumerate(zip(self.over_tokens, self.over_channels, strict=True)):
            x = x + self.gates[2 * n](tokens(x.transpose(1, 2)).transpose(1, 2))
            x = x + self.gates[2 * n + 1](channels(x))
        return self.head(x.mean(1))


class Low(nn.Module):
    """LoRA (arXiv:2106.09685) around a frozen linear layer: B is zero at first."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a, self.b = nn.Linear(base.in_features, rank, bias=False), nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.b(self.a(x))


def lora(size: str) -> tuple[nn.Module, int]:
    """A frozen vision transformer with fresh adapters on every projection; only they are trained."""
    net, side = _vit(size)
    net.requires_grad_(False)
    for block in net.blocks:
        block.attention.qkv = Low(block.attention.qkv)
        block.attention.proj = Low(block.attention.proj)
    return net, side


def _vit(size: str) -> tuple[DeiT3, int]:
    small = {"side": 32, "patch": 8, "width": 32, "depth": 3, "heads": 4} if size == "small" else {}
    return DeiT3(**small, start=1.0), small.get("side", 224)


SMALL = {"side": 32, "patch": 8, "width": 32, "heads": 4}


def _made(kind: Callable[..., nn.Module], **more: object) -> Callable[[str], tuple[nn.Module, int]]:
    def make(size: str) -> tuple[nn.Module, int]:
        small = dict(SMALL, depth=3) if size == "small" else {}
        if kind is Mixer:
            small.pop("heads", None)
        return kind(**small, **more), 32 if size == "small" else 224

    return make


NETWORKS: dict[str, Callable[[str], tuple[nn.Module, int]]] = {
    "CaiT": _made(CaiT),
    "CaiT-36 (1e-6)": _made(CaiT, start=1e-6),
    "DeiT III": _made(DeiT3),
    "DeiT III (1e-4)": _made(DeiT3, start=1e-4),
    "LayerScale 1e-6, no head": _made(Pooled, classes=0, start=1e-6),
    "LayerScale 1e-3, no head": _made(Pooled, classes=0, start=1e-3),
    "ResMLP": _made(Mixer),
    "LoRA on a ViT": lora,
}
OF_WORDS: tuple[str, ...] = ()


def loss(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out, y)
