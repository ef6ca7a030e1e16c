"""How often random networks fall into the band that the forecast states for 95 % of them.

python -m benchmarks.bands --nets 100
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import fadeout
from fadeout.theory import find_critical


class Erf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


class Centred(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x) - 0.5


KINDS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "sigmoid - 0.5": Centred,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "leaky relu .2": lambda: nn.LeakyReLU(0.2),
    "softplus": nn.Softplus,
    "erf": Erf,
    "mish": nn.Mish,
    "hardtanh": nn.Hardtanh,
    "hardswish": nn.Hardswish,
    "relu6": nn.ReLU6,
    "identity": nn.Identity,
}
STARTS = ("default", "he", "glorot", "critical", "1.3")
WIDTHS, DEPTHS, BATCHES = (32, 64, 128, 256), (3, 5, 10, 20, 40), (1, 2, 8, 32, 128)
_T = TypeVar("_T")
_CRITICAL: dict[str, tuple[float, float]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One random network: what it is, what was measured, and what theory said before."""

    kind: str
    start: str
    width: int
    depth: int
    batch: int
    measured: float
    band: tuple[float, float] | None

    @property
    def inside(self) -> bool:
        """Whether the measurement lies in the band."""
        return self.band is not None and self.band[0] <= self.measured <= self.band[1]


def scales(kind: str, start: str) -> tuple[float, float]:
    """(sigma_w, sigma_b) of an initialisation."""
    if start != "critical":
        return {"he": math.sqrt(2), "glorot": 1.0, "1.3": 1.3}[start], 0.0
    if kind not in _CRITICAL:
        point = find_critical(KINDS[kind]())
        point = point if point.stable else (point.nearest or point)
        _CRITICAL[kind] = (point.sigma_w or 1.0, point.sigma_b)
    return _CRITICAL[kind]


def network(kind: str, *, start: str, width: int, depth: int, inputs: int, draw: torch.Generator) -> nn.Sequential:
    """A plain network of `depth` weight layers, drawn anew."""
    sizes = [inputs, *[width] * (depth - 1), 10]
    layers: list[nn.Module] = []
    for n, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        linear = nn.Linear(fan_in, fan_out)
        with torch.no_grad():
            if start == "default":
                for p in (linear.weight, linear.bias):
                    p.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=draw)
            else:
                sigma_w, sigma_b = scales(kind, start)
                linear.weight.normal_(0, sigma_w / fan_in**0.5, generator=draw)
                linear.bias.normal_(0, 1, generator=draw).mul_(sigma_b)
        layers += [linear] if n == depth - 1 else [linear, KINDS[kind]()]
    return nn.Sequential(*layers)


def one(kind: str, data: tuple[Tensor, Tensor], draw: torch.Generator) -> Drawn:
    """Draw a network of this kind, forecast it and measure it."""

    def pick(of: tuple[_T, ...]) -> _T:
        return of[int(torch.randint(len(of), (), generator=draw))]

    start, width, depth, batch = pick(STARTS), pick(WIDTHS), pick(DEPTHS), pick(BATCHES)
    model = network(kind, start=start, width=width, depth=depth, inputs=data[0].shape[1], draw=draw)
    rows = torch.randperm(len(data[0]), generator=draw)[:batch]
    exam = fadeout.examine(model, (data[0][rows], data[1][rows]), loss=F.cross_entropy)
    weights = exam.ledger.weights
    return Drawn(
        kind=kind, start=start, width=width, depth=depth, batch=batch,
        measured=weights[0].norm - weights[-1].norm, band=exam.forecast.band,
    )  # fmt: skip


def digits() -> tuple[Tensor, Tensor]:
    bundle = load_digits()
    x = torch.tensor(bundle.data, dtype=torch.float32)
    return (x - x.mean()) / x.std(), torch.tensor(bundle.target)


def study(nets: int, *, kinds: tuple[str, ...] = tuple(KINDS), seed: int = 0) -> list[Drawn]:
    """`nets` random networks of every kind."""
    data = digits()
    draw = torch.Generator().manual_seed(seed)
    return [one(kind, data, draw) for kind in kinds for _ in range(nets)]


def table(drawn: list[Drawn]) -> str:
    """Share inside, by each property of the networks."""
    lines = ["| networks | drawn | in the band | below | above |", "|---|---:|---:|---:|---:|"]
    for name in ("kind", "start", "width", "depth", "batch"):
        groups: dict[object, list[Drawn]] = defaultdict(list)
        for one_ in drawn:
            groups[getattr(one_, name)].append(one_)
        for value, group in groups.items() if name == "kind" else sorted(groups.items()):
            lines.append(_row(f"{name} {value}" if name != "kind" else str(value), group))
    return "\n".join([*lines, _row("all", drawn)])


def _row(name: str, group: list[Drawn]) -> str:
    known = [d for d in group if d.band is not None]
    below = sum(d.measured < d.band[0] for d in known if d.band)
    above = sum(d.measured > d.band[1] for d in known if d.band)
    share = sum(d.inside for d in known) / max(1, len(known))
    return f"| {name} | {len(known)} | {share:.1%} | {below} | {above} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    print(table(study(asked.nets, seed=asked.seed)))
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
