"""Ways to start a plain network, what theory says of each, and many networks of one depth trained as one."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fadeout import init, theory
from fadeout.lab import nets
from fadeout.lab.data import Data
from fadeout.lab.training import batches

TORCH, GLOROT, LECUN, HE, ORTHOGONAL, LSUV, CRITICAL = (
    "as torch makes it",
    "Glorot",
    "LeCun",
    "He",
    "orthogonal",
    "LSUV",
    "critical for its activation",
)
STARTS = (TORCH, GLOROT, LECUN, HE, ORTHOGONAL, LSUV, CRITICAL)
ACTIVATIONS: dict[str, tuple[type[nn.Module], Callable[[Tensor], Tensor]]] = {
    "sigmoid": (nn.Sigmoid, torch.sigmoid),
    "tanh": (nn.Tanh, torch.tanh),
    "ReLU": (nn.ReLU, torch.relu),
    "GELU": (nn.GELU, F.gelu),
    "SELU": (nn.SELU, F.selu),
}
_FIXED: dict[str, tuple[nets.Start, float]] = {  # how it is drawn, and its sigma_w in layers of equal width
    GLOROT: (nets.glorot, 1.0),
    LECUN: (nets.gaussian(1.0), 1.0),
    HE: (nets.he, math.sqrt(2.0)),
    ORTHOGONAL: (nets.orthogonal(), 1.0),
}


def started(start: str, activation: str, depth: int, *, width: int, x: Tensor, seed: int) -> nn.Sequential:
    """A plain network whose weights are drawn in this way; LSUV looks at the rows x."""
    module, phi = ACTIVATIONS[activation]
    draw = torch.Generator().manual_seed(seed)
    features = x.shape[1]
    if start in _FIXED:
        return nets.plain(module, depth, width=width, start=_FIXED[start][0], features=features)
    model = nets.plain(module, depth, width=width, features=features)
    if start == LSUV:
        init.lsuv_(model, x, generator=draw)
    elif start == CRITICAL:
        init.critical_(model, theory.find_critical(phi), generator=draw)
    return model


def foreseen(start: str, activation: str, depth: int, *, width: int, features: int, square: float) -> float:
    """Decades that a hidden layer adds to the gradient, by theory, before a single weight is drawn.

    Args:
        features: Inputs of the first layer.
        square: Mean square of the data.
    """
    _, phi = ACTIVATIONS[activation]
    hops = depth - 1
    if start == LSUV:  # every layer's output is scaled to variance 1: the gain that layer norm has
        at = theory.expect_moments(theory.read_activation(phi), 1.0)
        decades, kurtosis = hops * math.log10(theory.layer_norm_gain(phi)), [at.slope_kurtosis] * hops
    else:
        sigma_w, sigma_b = scales(start, activation, width)
        first = square * _first(start, sigma_w, features, width) + sigma_b**2
        path = theory.follow_variance(phi, sigma_w=sigma_w, sigma_b=sigma_b, depth=hops, start=first)
        decades, kurtosis = path.decades, list(path.kurtosis)
    weights: theory.finite_width.Weights = "orthogonal" if start in (ORTHOGONAL, LSUV) else "gaussian"
    beta = math.fsum(theory.layer_beta(width, kurtosis=k, weights=weights) for k in kurtosis)
    return theory.band(decades, beta=beta).centre / hops


def scales(start: str, activation: str, width: int) -> tuple[float, float]:
    """sigma_w and sigma_b: weights of variance sigma_w^2 / width, biases of variance sigma_b^2."""
    if start == TORCH:
        return theory.default_scales(width)
    if start == CRITICAL:
        point = theory.find_critical(ACTIVATIONS[activation][1])
        assert point.sigma_w is not None
        return point.sigma_w, point.sigma_b
    return _FIXED[start][1], 0.0


def _first(start: str, sigma_w: float, features: int, width: int) -> float:
    """Variance times fan-in of the first layer's weights, which is not square."""
    if start == GLOROT:
        return 2 * features / (features + width)
    if start == ORTHOGONAL:
        return min(features / width, 1.0)  # its columns have length 1
    return sigma_w**2


def train_map(
    variances: Sequence[float], depth: int, data: Data, *, steps: int, seed: int, bias: float, width: int = 64
) -> list[float]:
    """Train plain tanh networks of one depth that differ in the variance of their weights, as one batched network.

    All start from the same random numbers, times another scale, and see the same batches.

    Args:
        variances: sigma_w^2 of each.
        bias: sigma_b^2 of all.

    Returns:
        Share of 500 training rows that each gets right.
    """
    many = len(variances)
    scale = torch.tensor(variances).sqrt().view(many, 1, 1)
    draw = torch.Generator().manual_seed(seed)

    def weights(rows: int, columns: int) -> Tensor:
        return torch.randn(1, rows, columns, generator=draw) / math.sqrt(rows)

    hidden = [(scale * weights(data.features if i == 0 else width, width)).requires_grad_() for i in range(depth)]
    biases = [
        (math.sqrt(bias) * torch.randn(1, 1, width, generator=draw)).repeat(many, 1, 1).requires_grad_()
        for _ in range(depth)
    ]
    head = weights(width, 10).repeat(many, 1, 1).requires_grad_()
    shift = torch.zeros(many, 1, 10, requires_grad=True)
    optimizer = torch.optim.Adam([*hidden, *biases, head, shift], 1e-3 * min(1.0, 10 / depth))

    def outputs(x: Tensor) -> Tensor:
        h = x.expand(many, -1, -1)
        for w, b in zip(hidden, biases, strict=True):
            h = torch.tanh(torch.baddbmm(b, h, w))
        return torch.baddbmm(shift, h, head)

    for x, y in batches(data, rows=64, steps=steps, seed=seed):
        each = F.cross_entropy(outputs(x).flatten(0, 1), y.repeat(many), reduction="none").view(many, -1).mean(1)
        optimizer.zero_grad()
        each.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        right = outputs(data.x[:500]).argmax(-1) == data.y[:500]
    return [float(share) for share in right.float().mean(1)]


def half_depth(depths: Sequence[float], accuracies: Sequence[float], *, chance: float = 0.1) -> float:
    """The depth at which accuracy has fallen half of the way from 1 to chance, on a log scale between the depths.

    The first depth where it never was better, the last where it never falls so far.
    """
    half = (1 + chance) / 2
    if accuracies[0] < half:
        return float(depths[0])
    pairs = list(zip(depths, accuracies, strict=True))
    for (shallow, better), (deep, worse) in pairwise(pairs):
        if better >= half > worse:
            share = (better - half) / (better - worse)
            return float(shallow * (deep / shallow) ** share)
    return float(depths[-1])
