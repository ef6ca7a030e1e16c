"""What the experiment on initialisation runs: gains, the map of depth, deep networks trained and examined."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout import theory
from fadeout.lab import nets
from fadeout.lab.data import load
from fadeout.lab.experiment import Task, grid
from fadeout.lab.initialisation_nets import ACTIVATIONS, STARTS, TORCH, foreseen, half_depth, started, train_map
from fadeout.lab.training import train
from fadeout.records import Row, Size

NAME = "initialisation"
GAIN, MAP, TRAINED, EXAMINED = "gain", "map", "trained", "examined"  # the four kinds of work
ORTH, GAUSS = "orthogonal", "Gaussian of the same variance"
DEEP: dict[str, nets.Start] = {ORTH: nets.orthogonal(), GAUSS: nets.gaussian(1.0), TORCH: nets.default}
LAYERS, WIDTH, ROWS = 20, 256, 64  # of the networks whose gains are measured
BIAS = 0.05  # sigma_b^2 of the map
VARIANCES: dict[Size, tuple[float, ...]] = {
    "smoke": (1.0, 1.76, 4.0),
    "quick": (1.0, 1.2, 1.4, 1.6, 1.76, 2.0, 2.5, 3.2, 4.0),
    "full": (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.76, 2.0, 2.2, 2.5, 2.8, 3.2, 3.6, 4.0),
}
DEPTHS: dict[Size, tuple[float, ...]] = {
    "smoke": (3, 5),
    "quick": (10, 15, 22, 33, 50, 75, 110),
    "full": (10, 15, 22, 33, 50, 75, 110, 160, 240),
}
STEPS: dict[Size, tuple[int, int]] = {"smoke": (2, 2), "quick": (150, 200), "full": (600, 2000)}  # of map, of one net
TRAINED_AT: dict[Size, tuple[float, ...]] = {"smoke": (20,), "quick": (200,), "full": (200, 500, 1000)}
EXAMINED_AT: dict[Size, tuple[float, ...]] = {
    "smoke": (100, 1000),
    "quick": (100, 1000, 10_000),
    "full": (100, 300, 1000, 3000, 10_000),
}
SEEDS: dict[Size, range] = {"smoke": range(1), "quick": range(3), "full": range(5)}
SHARE = "accuracy on the map"
HALF = "depth at which half is lost"
SIX = "six depth scales"
DRAWN = "six depth scales, by theory"  # the same, where the map has room for them


def tasks(size: Size) -> tuple[Task, ...]:
    seeds = SEEDS[size]
    return (
        *grid(NAME, size, (MAP,), seeds),
        *grid(NAME, size, [f"{TRAINED}: {arm}" for arm in (ORTH, GAUSS)], seeds, TRAINED_AT[size]),
        *grid(NAME, size, [f"{EXAMINED}: {arm}" for arm in DEEP], seeds),
        *grid(NAME, size, [f"{GAIN}: {arm}" for arm in STARTS], seeds),
    )


def measure(task: Task) -> Iterator[Row]:
    kind, _, arm = task.arm.partition(": ")
    yield from {GAIN: gains, MAP: mapped, TRAINED: trained, EXAMINED: examined}[kind](task, arm)


def gains(task: Task, arm: str) -> Iterator[Row]:
    """Decades a layer between the hidden layers, of every activation under one start."""
    data = load(task.data)
    x, y = data.x[:ROWS], data.y[:ROWS]
    square = float(x.square().mean())
    for name in ACTIVATIONS:
        predicted = foreseen(arm, name, LAYERS, width=WIDTH, features=data.features, square=square)
        model = started(arm, name, LAYERS, width=WIDTH, x=x, seed=task.seed)
        gain = between_hidden(model, x, y) / (LAYERS - 1)
        yield Row(quantity="decades a layer", arm=arm, value=gain, seed=task.seed, x=round(predicted, 4))
        yield Row(quantity=f"decades a layer, {name}", arm=arm, value=gain, seed=task.seed)
        yield Row(quantity=f"decades a layer by theory, {name}", arm=arm, value=predicted, seed=task.seed)


def between_hidden(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Decades of the gradient at the first layer over that at the last hidden one."""
    weights = fadeout.measure(model, (x, y), loss=F.cross_entropy).weights
    return weights[0].norm - weights[-2].norm


def mapped(task: Task, _: str) -> Iterator[Row]:
    """Accuracy over variance and depth, and where theory draws the line."""
    data = load(task.data)
    variances, depths = VARIANCES[task.size], DEPTHS[task.size]
    found = [
        train_map(variances, int(depth), data, steps=STEPS[task.size][0], seed=task.seed, bias=BIAS) for depth in depths
    ]
    for i, variance in enumerate(variances):
        arm = f"{variance:g}"
        shares = [row[i] for row in found]
        for depth, share in zip(depths, shares, strict=True):
            yield Row(quantity=SHARE, arm=arm, value=share, seed=task.seed, x=depth)
        yield Row(quantity=HALF, arm=arm, value=half_depth(depths, shares), seed=task.seed)
        field = theory.describe_phase(torch.tanh, sigma_w=math.sqrt(variance), sigma_b=math.sqrt(BIAS))
        yield Row(quantity=SIX, arm=arm, value=min(field.trainable_depth, 1e6), seed=task.seed)
        if field.trainable_depth <= depths[-1]:
            yield Row(quantity=DRAWN, arm=arm, value=field.trainable_depth, seed=task.seed)


def trained(task: Task, arm: str) -> Iterator[Row]:
    """One deep plain tanh network, measured and then trained."""
    data = load(task.data)
    model = nets.plain(nn.Tanh, int(task.x), start=DEEP[arm], features=data.features)
    ledger = fadeout.measure(model, (data.x[:256], data.y[:256]), loss=F.cross_entropy)
    left = directions(model[:2], data.x[:256]), directions(model[:-1], data.x[:256])
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    done = train(model, data, optimizer, steps=STEPS[task.size][1], seed=task.seed)
    for quantity, value in (
        ("accuracy of the trained", done.accuracy),
        ("decades of the trained", ledger.decades),
        ("directions after the first layer", left[0]),
        ("directions after the last layer", left[1]),
    ):
        yield Row(quantity=quantity, arm=arm, value=value, seed=task.seed, x=task.x)


@torch.no_grad()
def directions(part: nn.Module, x: Tensor) -> float:
    """In how many directions the outputs for these rows differ: (sum of variances)^2 / sum of their squares."""
    out = part(x).double()
    variances = torch.linalg.svdvals(out - out.mean(0)).square()
    return float(variances.sum().square() / variances.square().sum())


def examined(task: Task, arm: str) -> Iterator[Row]:
    """The gradient's loss on the way through very deep plain tanh networks of width 16, in double precision."""
    data = load(task.data)
    x, y = data.x[:64].double(), data.y[:64]
    for depth in (100, 300) if arm == TORCH else EXAMINED_AT[task.size]:
        model = nets.plain(nn.Tanh, int(depth), width=16, start=DEEP[arm], features=data.features).double()
        found = between_hidden(model, x, y)
        yield Row(quantity="decades by depth", arm=arm, value=found, seed=task.seed, x=depth)
        if arm == ORTH:
            square = float(x.square().mean())  # 16 orthogonal rows of length 1 keep it
            path = theory.follow_variance(torch.tanh, sigma_w=1.0, depth=int(depth) - 1, start=square)
            yield Row(quantity="decades by theory", arm=arm, value=path.decades, seed=task.seed, x=depth)
