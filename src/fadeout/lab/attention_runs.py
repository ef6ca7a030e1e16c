"""What `attention` runs: its networks by name, its tasks, and the rows of each."""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.lab import attention_nets as an
from fadeout.lab.data import load
from fadeout.lab.experiment import Task, grid
from fadeout.lab.training import train
from fadeout.records import Row, Size

NAME = "attention"
LENGTH = 64  # symbols of text
TRANSFORMER = "transformer"
RIVALS: dict[str, Callable[..., nn.RNNBase]] = {"tanh RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
NETS = (TRANSFORMER, *RIVALS)
PRE, POST, WARM, DEEP = "Pre-LN", "Post-LN", "Post-LN, warm-up", "DeepNorm"
ORDERS: dict[str, Callable[[int], an.Digits]] = {
    PRE: lambda depth: an.Digits(depth, "pre"),
    POST: lambda depth: an.Digits(depth, "post"),
    WARM: lambda depth: an.Digits(depth, "post"),
    DEEP: an.deep_norm,
}
ALONE, SKIP = "attention alone", "attention with skips"
RATE = 1e-3  # Adam's; the warm-up reaches it after half of the steps
LAYERS = 8  # of attention without anything else
FLOOR = 1e-8  # how alike tokens can be seen to be
SEEDS: dict[Size, range] = {"smoke": range(1), "quick": range(3), "full": range(10)}
TEXT_STEPS: dict[Size, int] = {"smoke": 2, "quick": 300, "full": 5000}
POSITIONS: dict[Size, int] = {"smoke": 4, "quick": 16, "full": 16}
DEPTHS: dict[Size, tuple[float, ...]] = {"smoke": (2,), "quick": (2, 8, 24), "full": (2, 4, 6, 8, 12, 16, 24, 48)}
STEPS: dict[Size, int] = {"smoke": 2, "quick": 120, "full": 1500}
SWEEP: dict[Size, tuple[float, ...]] = {"smoke": (4, 8), "quick": (4, 8, 16, 32), "full": (4, 8, 16, 32, 64, 128)}
DRAWS: dict[Size, range] = {"smoke": range(1), "quick": range(30), "full": range(60)}  # of the sweep over depth
STARTS: dict[Size, range] = {"smoke": range(1), "quick": range(10), "full": range(30)}  # of reach before training


def tasks(size: Size) -> tuple[Task, ...]:
    def arms(part: str, names: Iterable[str]) -> list[str]:
        return [f"{part}: {name}" for name in names]

    return (
        *grid(NAME, size, arms("training", ORDERS), SEEDS[size], DEPTHS[size]),
        *grid(NAME, size, arms("text", NETS), SEEDS[size]),
        *grid(NAME, size, arms("reach", NETS), STARTS[size]),
        *grid(NAME, size, arms("gradient", (PRE, POST)), DRAWS[size], SWEEP[size]),
        *grid(NAME, size, arms("collapse", (ALONE, SKIP)), range(3)),
    )


def measure(task: Task) -> Iterator[Row]:
    part, _, arm = task.arm.partition(": ")
    parts = {"training": learn, "text": practise, "reach": far, "gradient": last_block, "collapse": alike}
    for quantity, value, x in parts[part](task, arm):
        yield Row(quantity=quantity, arm=arm, value=value, seed=task.seed, x=x)


Measured = Iterator[tuple[str, float, float]]  # quantity, value, x


def learn(task: Task, arm: str) -> Measured:
    """Digits, their rows as tokens."""
    data, steps = load(task.data), STEPS[task.size]
    model = ORDERS[arm](int(task.x))
    warm = steps // 2 if arm == WARM else 1
    optimizer = torch.optim.Adam(model.parameters(), RATE / warm)

    def warm_up(done: int) -> None:
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, (done + 1) / warm)

    done = train(model, data, optimizer, steps=steps, seed=task.seed, rows=32, after=warm_up)
    yield "accuracy", done.accuracy, task.x
    yield "loss", done.loss, task.x


def reader(arm: str) -> nn.Module:
    return an.Transformer(LENGTH) if arm == TRANSFORMER else an.rival(RIVALS[arm], LENGTH)


def far(task: Task, arm: str) -> Measured:
    """Reach across text before training."""
    model = reader(arm)
    yield "weights", float(an.weights(model)), math.nan
    for distance, left in enumerate(curve(model, POSITIONS[task.size])):
        yield "left before training", left, float(distance)


def practise(task: Task, arm: str) -> Measured:
    """Reach across text after training, and what was learned."""
    model, draw = reader(arm), torch.Generator().manual_seed(100 + task.seed)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(TEXT_STEPS[task.size]):
        x, y = an.spelled(16, LENGTH, draw, held_out=False)
        value = an.nats(model(x), y)
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    for distance, left in enumerate(curve(model, POSITIONS[task.size])):
        yield "left after training", left, float(distance)
    x, y = an.spelled(64, LENGTH, torch.Generator().manual_seed(10), held_out=True)
    with torch.no_grad():
        yield "loss on new text", float(an.nats(model(x), y)), math.nan


def curve(model: nn.Module, positions: int) -> tuple[float, ...]:
    """Decades of gradient at each distance back, 0 at the position itself."""
    batch = an.spelled(16, LENGTH, torch.Generator().manual_seed(9), held_out=True)
    exam = fadeout.examine(model, batch, loss=an.nats, reach=positions)
    (found,) = (row for row in exam.tokens if row.positions)
    return found.distance_curve


def last_block(task: Task, arm: str) -> Measured:
    """Size of the gradient of the weights that end the last block, and of the same in the first."""
    data, depth = load(task.data), int(task.x)
    exam = fadeout.examine(ORDERS[arm](depth), (data.x[:64], data.y[:64]), loss=F.cross_entropy)
    size = {layer.path: layer.weight_gradient_norm for layer in exam.layers}
    last, first = (math.log10(size[f"blocks.{n}.narrow"]) for n in (depth - 1, 0))
    yield "last block", last, task.x
    yield "first block over last", first - last, task.x


def alike(task: Task, arm: str) -> Measured:
    """How far the tokens are from their mean behind each layer, and what is left of the queries' gradient."""
    data = load(task.data)
    model = an.Bare(LAYERS, 0.0 if arm == ALONE else 1.0)
    exam = fadeout.examine(model, (data.x[:64].double(), data.y[:64]), loss=F.cross_entropy)
    for layer, row in enumerate(exam.tokens, start=1):
        yield "tokens apart", math.log10(max(row.rank_collapse, FLOOR)), float(layer)
    size = {layer.path: layer.weight_gradient_norm for layer in exam.layers}
    for n in range(LAYERS):
        queries, values = (size[f"blocks.{n}.{part}"] for part in ("query", "value"))
        yield "queries over values", math.log10(queries / values) if queries else -math.inf, float(n + 1)
