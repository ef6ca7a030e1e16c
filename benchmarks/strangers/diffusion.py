"""Nets that predict the noise in an image: a DiT with adaLN-zero and a U-Net."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from benchmarks.strangers.record import Stranger, elsewhere, healthy, regress, sick
from benchmarks.strangers.tasks import shuffled
from benchmarks.truth.data import Pairs, cut, image_digits, seeded
from benchmarks.truth.program import adam
from torch import Tensor, nn
from torch.nn import functional as F


@cache
def noisy() -> Pairs:
    """(image, time) flattened to (N, 65), and the noise in it: what a diffusion model learns."""
    g = seeded(42)
    x = torch.cat([x for x, _ in image_digits()]).flatten(1)
    t = torch.rand(len(x), 1, generator=g)
    noise = torch.randn(x.shape, generator=g)
    return cut(torch.cat([x * (1 - t) + noise * t, t], 1), noise, 64, 16)


class DitBlock(nn.Module):
    """Mixes tokens, then channels; shift, scale and gates come from the condition and start at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.modulate = zero(nn.Linear(width, 4 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale, gate1, gate2 = self.modulate(c).unsqueeze(1).chunk(4, -1)
        h = F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        x = x + gate1 * self.mix(h.transpose(1, 2)).transpose(1, 2)
        y: Tensor = x + gate2 * self.mlp(F.layer_norm(x, x.shape[-1:]))
        return y


def zero(layer: nn.Linear) -> nn.Linear:
    """The layer with weight and bias 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Dit(nn.Module):
    """Patches, blocks modulated by the time (adaLN-zero), a final layer that starts at zero."""

    def __init__(self, width: int = 24, depth: int = 2) -> None:
        super().__init__()
        self.enter = nn.Linear(4, width)
        self.position = nn.Parameter(torch.randn(16, width) * 0.3)
        self.time = nn.Sequential(nn.Linear(1, width), nn.SiLU())
        self.blocks = nn.ModuleList(DitBlock(width) for _ in range(depth))
        self.final = zero(nn.Linear(width, 4))

    def forward(self, xt: Tensor) -> Tensor:
        x = xt[:, :64].view(-1, 4, 2, 4, 2).transpose(2, 3).reshape(-1, 16, 4)
        x, c = self.enter(x) + self.position, self.condition(xt[:, 64:])
        for block in self.blocks:
            x = block(x, c)
        return self.leave(x).view(-1, 4, 4, 2, 2).transpose(2, 3).reshape(-1, 64)

    def condition(self, t: Tensor) -> Tensor:
        y: Tensor = self.time(t)
        return y

    def leave(self, x: Tensor) -> Tensor:
        y: Tensor = self.final(x)
        return y


class DitDoubleZero(Dit):
    """The final layer is gated by another zero, so neither ever moves."""

    def __init__(self) -> None:
        super().__init__()
        self.final_gate = nn.Parameter(torch.zeros(4))

    def leave(self, x: Tensor) -> Tensor:
        y: Tensor = self.final_gate * self.final(x)
        return y


class DitLogTime(Dit):
    """Counts the times of a batch from its smallest, then takes their logarithm."""

    def condition(self, t: Tensor) -> Tensor:
        y: Tensor = self.time(torch.log(t - t.min()))
        return y


class Unet(nn.Module):
    """Image and time to noise: down, middle, up, with a skip across; `narrow` cuts the skip and squashes."""

    def __init__(self, narrow: bool, width: int = 16) -> None:
        super().__init__()
        act = nn.Sigmoid if narrow else nn.SiLU
        self.down = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), act(), nn.Conv2d(width, width, 3, 2, 1), act())
        self.middle = nn.Sequential(*(m for _ in range(6 if narrow else 1) for m in self.layer(width, act)))
        self.up = nn.ConvTranspose2d(width, width, 2, 2)
        self.last = nn.Sequential(act(), nn.Conv2d(width if narrow else width + 2, 1, 3, padding=1))
        self.narrow = narrow

    def layer(self, width: int, act: Callable[[], nn.Module]) -> list[nn.Module]:
        return [nn.Conv2d(width, width, 3, padding=1), act()]

    def forward(self, xt: Tensor) -> Tensor:
        image, time = xt[:, :64].view(-1, 1, 8, 8), xt[:, 64:, None, None].expand(-1, 1, 8, 8)
        x = torch.cat([image, time], 1)
        h = self.up(self.middle(self.down(x)))
        y: Tensor = self.last(h if self.narrow else torch.cat([h, x], 1))
        return y.flatten(1)


def strangers() -> list[Stranger]:
    """Both nets as they are and with their faults."""
    return [*_dit(), *_unet()]


def _dit() -> list[Stranger]:
    dit = regress("dit", Dit, noisy, lr=5e-3, steps=250, bar=0.4)
    others: dict[str, Any] = {"where": ("", "final")}
    return [
        healthy(dit, "today"),
        sick("zero-times-zero", dit, "today", ("severed", "bad_init", "dead", "vanishing"),
             "Start one of the two factors at 1.",
             model=DitDoubleZero, **others),
        sick("log-of-zero", dit, "today", ("not_finite",), "Keep the logarithm's argument above 0.",
             model=DitLogTime, where=("", "time", "time.0", "time.1")),
        elsewhere("rate-tiny", dit, "today", "Raise the learning rate.", optimizer=adam(1e-8)),
    ]  # fmt: skip


def _unet() -> list[Stranger]:
    unet = regress("unet-denoiser", lambda: Unet(False), noisy, lr=1e-2, steps=100, bar=0.4)
    return [
        healthy(unet, "today"),
        sick("squashed", unet, "today", ("vanishing",), "Bring back the skip, and SiLU.", model=lambda: Unet(True),
             where=("down", "down.0", "down.2", "middle", "middle.*"), causes=("slope", "weight", "skip", "mix")),
        elsewhere("shuffled", unet, "today", "Predict the noise that was added.", batches=lambda: shuffled(noisy())),
    ]  # fmt: skip
