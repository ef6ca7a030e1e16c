"""What the experiment on batch norm runs: rates of growth, signals in range, and training over depth."""

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout import theory
from fadeout.lab import nets
from fadeout.lab.data import load
from fadeout.lab.experiment import Task, grid
from fadeout.lab.training import epochs, train
from fadeout.records import Row, Size

NAME = "batchnorm"
RATE, BATCH, RANGE = "rate", "batch", "range"  # the kinds of work besides training
PLAIN, NORM, SHIFTED = "plain ReLU", "with batch norm", "batch norm, shifted to the straight part of ReLU"
ARMS = (PLAIN, NORM, SHIFTED)
SHIFT = 2.0  # of the shifted arm: 98 of 100 inputs of a ReLU are then above 0
ACTIVATIONS: dict[str, tuple[type[nn.Module], Callable[[Tensor], Tensor]]] = {
    "ReLU": (nn.ReLU, torch.relu),
    "tanh": (nn.Tanh, torch.tanh),
    "sigmoid": (nn.Sigmoid, torch.sigmoid),
    "GELU": (nn.GELU, F.gelu),
    "SELU": (nn.SELU, F.selu),
    "none": (nn.Identity, lambda u: 1.0 * u),
}
RANGES = {
    f"{name}, weights {said} as large": (scale, norm)
    for said, scale in (("half", 0.5), ("twice", 2.0))
    for name, norm in (("plain", None), ("batch norm", nn.BatchNorm1d))
}
LAYERS, SETTLED = 20, 5  # of networks whose rate is measured; from which layer on
DEPTHS: dict[Size, tuple[float, ...]] = {
    "smoke": (2,),
    "quick": (2, 5, 10, 20, 50, 100),
    "full": (2, 5, 10, 20, 30, 50, 70, 100),
}
BATCHES: dict[Size, tuple[float, ...]] = {
    "smoke": (16, 64),
    "quick": (4, 16, 64, 256),
    "full": (4, 8, 16, 32, 64, 256),
}
SEEDS: dict[Size, range] = {"smoke": range(1), "quick": range(3), "full": range(10)}
EPOCHS: dict[Size, float] = {"smoke": 0.1, "quick": 6, "full": 20}


def tasks(size: Size) -> tuple[Task, ...]:
    seeds = SEEDS[size]
    return (
        *grid(NAME, size, ARMS, seeds, DEPTHS[size]),
        *grid(NAME, size, (RATE,), seeds),
        *grid(NAME, size, (BATCH,), seeds),
        *grid(NAME, size, (RANGE,), seeds),
    )


def shifted(width: int) -> nn.Module:
    """Batch norm whose shift starts at 2 instead of 0."""
    norm = nn.BatchNorm1d(width)
    nn.init.constant_(norm.bias, SHIFT)
    return norm


NORMS: dict[str, Callable[[int], nn.Module] | None] = {PLAIN: None, NORM: nn.BatchNorm1d, SHIFTED: shifted}


def measure(task: Task) -> Iterator[Row]:
    other = {RATE: rates, BATCH: batches, RANGE: ranges}.get(task.arm, trained)
    yield from other(task)


def trained(task: Task) -> Iterator[Row]:
    """Decades between the hidden layers, then accuracy after training."""
    data = load(task.data)
    depth = int(task.x)
    model = nets.plain(nn.ReLU, depth, norm=NORMS[task.arm], features=data.features)
    x, y = data.x[:256], data.y[:256]
    weights = fadeout.measure(model, (x, y), loss=F.cross_entropy).weights
    lost = weights[0].norm - weights[-2].norm
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    done = train(model, data, optimizer, steps=epochs(data, EPOCHS[task.size]), seed=task.seed)
    for quantity, value in (
        ("accuracy", done.accuracy),
        ("decades", lost),
        ("decades by theory", foreseen(task.arm, depth, float(x.square().mean()))),
    ):
        yield Row(quantity=quantity, arm=task.arm, value=value, seed=task.seed, x=task.x)


def foreseen(arm: str, depth: int, square: float) -> float:
    if arm == PLAIN:
        sigma_w, sigma_b = theory.default_scales(64)
        first = sigma_w**2 * square + sigma_b**2
        return theory.follow_variance(
            torch.relu, sigma_w=sigma_w, sigma_b=sigma_b, depth=depth - 1, start=first
        ).decades
    shift = SHIFT if arm == SHIFTED else 0.0
    return (depth - 1) * math.log10(theory.batch_norm_gain(lambda u: torch.relu(u + shift)))


def gain(activation: type[nn.Module], rows: int, width: int, y: Tensor) -> float:
    """Mean factor of a layer on the gradient's size, once the signal has settled.

    The rows are noise: theory speaks of inputs that have nothing in common.
    """
    model = nets.plain(activation, LAYERS, width=width, norm=nn.BatchNorm1d, features=width)
    batch = (torch.randn(rows, width), y[:rows])
    weights = fadeout.measure(model, batch, loss=F.cross_entropy).weights
    decades = (weights[SETTLED].norm - weights[-2].norm) / (LAYERS - 1 - SETTLED)
    return float(10.0**decades)


def rates(task: Task) -> Iterator[Row]:
    """Of every activation, with a batch of 256, beside the theory of large batches."""
    data = load(task.data)
    for name, (module, phi) in ACTIVATIONS.items():
        found = gain(module, 256, 512, data.y)
        yield Row(quantity="gain of a layer", arm=name, value=found, seed=task.seed)
        yield Row(quantity="gain by theory", arm=name, value=theory.batch_norm_gain(phi), seed=task.seed)


def batches(task: Task) -> Iterator[Row]:
    """Of ReLU, and of no activation, over the size of the batch."""
    data = load(task.data)
    for size in BATCHES[task.size]:
        for name, exact in (("ReLU", relu_rate(size)), ("none", (size - 2) / (size - 3))):
            found = gain(ACTIVATIONS[name][0], int(size), 512 if task.size == "smoke" else 1000, data.y)
            yield Row(quantity="gain by batch", arm=name, value=found, seed=task.seed, x=size)
            yield Row(quantity="gain by batch, theory", arm=name, value=math.sqrt(exact), seed=task.seed, x=size)


def relu_rate(size: float) -> float:
    """Factor of a layer on the squared gradient for a batch of this size, wide layers.

    Source: Yang et al., arXiv:1902.08129, theorem 8, equation (25) with alpha = 1.
    """
    c = -1 / (size - 1)
    slope = (math.pi - math.acos(c)) / math.pi  # J'(c) of the arc-cosine kernel J; J(1) = 1
    kernel = math.sqrt(1 - c * c) / math.pi + slope * c
    whole = (size - 1) * (slope + size - 1) / ((size - 3) * (size - 1) * (1 - kernel))
    return whole - 1 / (size - 3)


def ranges(task: Task) -> Iterator[Row]:
    """Size of what each layer puts out, and the gradient's change, for weights of the wrong size."""
    data = load(task.data)
    batch = (data.x[:256], data.y[:256])
    for arm, (scale, norm) in RANGES.items():
        start = nets.gaussian(scale * math.sqrt(2.0))
        model = nets.plain(nn.ReLU, LAYERS, width=128, start=start, norm=norm, features=data.features)
        exam = fadeout.examine(model, batch, loss=F.cross_entropy)
        sizes = [layer.activation_rms for layer in exam.layers[:LAYERS]]
        for i, size in enumerate(sizes, start=1):
            value = math.log10(size / sizes[0])
            yield Row(quantity="size of the signal", arm=arm, value=value, seed=task.seed, x=float(i))
        weights = exam.ledger.weights
        lost = weights[0].norm - weights[-2].norm
        yield Row(quantity="decades of wrong weights", arm=arm, value=lost, seed=task.seed)
