"""Dormant units: a network that must learn new answers again and again falls asleep, part by part."""

import math
import statistics
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout.lab import nets
from fadeout.lab.data import load
from fadeout.lab.experiment import Expectation, Found, Published, Task, grid
from fadeout.lab.today_part import NAME, Part, paired, points, told
from fadeout.records import Figure, Reference, Row, Size, Table

PLAIN, REDO, PULLED = (
    "new answers again and again",
    "the same, dormant units renewed (ReDo)",
    "the same, pulled back to the start",
)
DORMANT = 0.025  # of its layer's mean response: Sokar et al. 2023
IMAGES, ROWS, RATE, PULL = 512, 64, 3e-3, 1e-3
RENEW = 50  # steps between two renewals
TASKS: dict[Size, int] = {"smoke": 2, "quick": 30, "full": 100}
STEPS: dict[Size, int] = {"smoke": 2, "quick": 150, "full": 150}
SEEDS: dict[Size, range] = {"smoke": range(1), "quick": range(3), "full": range(5)}
ENDS = 5  # tasks at either end that are averaged


def tasks(size: Size) -> tuple[Task, ...]:
    return grid(NAME, size, (PLAIN, REDO, PULLED), SEEDS[size])


def measure(task: Task) -> Iterator[Row]:
    x = load("digits").x[:IMAGES]
    model = nets.plain(nn.ReLU, 3)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    start = [p.detach().clone() for p in model.parameters()]
    for number in range(1, TASKS[task.size] + 1):
        y = torch.randint(0, 10, (IMAGES,))
        yield from state(task, model, optimizer, x, y, number)
        for step in range(1, STEPS[task.size] + 1):
            chosen = torch.randint(0, IMAGES, (ROWS,))
            loss = F.cross_entropy(model(x[chosen]), y[chosen])
            if task.arm == PULLED:
                loss = loss + PULL * sum((p - q).square().sum() for p, q in zip(model.parameters(), start, strict=True))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if task.arm == REDO and step % RENEW == 0:
                renew(model, x)
        with torch.no_grad():
            right = float((model(x).argmax(-1) == y).double().mean())
        yield Row(quantity="answers learned", arm=task.arm, value=right, seed=task.seed, x=float(number))


def state(
    task: Task, model: nn.Sequential, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, number: int
) -> Iterator[Row]:
    """The network as a new set of answers finds it."""
    ends = number <= ENDS or number > TASKS[task.size] - ENDS
    if not (ends or number % 5 == 0):
        return
    reading = fadeout.read(model, [(x, y)], loss=F.cross_entropy, optimizer=optimizer, steps=1)
    assert reading.course is not None
    first = reading.course.probes[0]
    norm = first.layers[0].weight_gradient_norm
    for quantity, value in (
        ("dormant units", first.dormant),
        ("directions of the features", first.rank),
        ("gradient of the first layer", math.log10(norm) if norm > 0 else -math.inf),
    ):
        yield Row(quantity=quantity, arm=task.arm, value=value, seed=task.seed, x=float(number))


@torch.no_grad()
def renew(model: nn.Sequential, x: Tensor) -> None:
    """ReDo: dormant units get fresh incoming weights, and outgoing weights of zero."""
    h = x
    for layer, reader in pairwise(part for part in model if isinstance(part, nn.Linear)):
        h = F.relu(layer(h))
        asleep = h.mean(0) <= DORMANT * h.mean()
        fresh = nn.Linear(layer.in_features, layer.out_features)
        layer.weight[asleep], layer.bias[asleep] = fresh.weight[asleep], 0.0
        reader.weight[:, asleep] = 0.0


def ends_of(table: Table, quantity: str, arm: str) -> tuple[list[float], list[float]]:
    """Means of the first and of the last tasks, one value a seed."""
    xs = table.xs(quantity, arm)
    found = []
    for part in (xs[:ENDS], xs[-ENDS:]):
        columns = [table.values(quantity, arm, x) for x in part]
        found.append([statistics.fmean(values) for values in zip(*columns, strict=True)])
    return found[0], found[1]


def falls_asleep(table: Table) -> Found:
    dormant, answers = (ends_of(table, quantity, PLAIN) for quantity in ("dormant units", "answers learned"))
    more, less = paired(dormant[1], dormant[0]), paired(answers[0], answers[1])
    rank = [statistics.fmean(part) for part in ends_of(table, "directions of the features", PLAIN)]
    return Found(
        held=more.low > 0.2 and less.low > 0.1,
        measured=f"Between the first and the last five sets of answers the dormant share rises by {points(more)}, "
        f"and the share of answers that is learned falls by {points(less)}. The features span {rank[0]:.0f} "
        f"directions at first and {rank[1]:.0f} at last.",
    )


def norm_says_little(table: Table) -> Found:
    first, last = ends_of(table, "gradient of the first layer", PLAIN)
    fall = paired(first, last)
    return Found(held=fall.high < 1, measured=f"The gradient of the first layer falls by {told(fall)} decades.")


def cured_by(arm: str) -> Callable[[Table], Found]:
    def check(table: Table) -> Found:
        first, last = ends_of(table, "answers learned", arm)
        change = paired(last, first)
        gain = paired(last, ends_of(table, "answers learned", PLAIN)[1])
        return Found(
            held=change.low > -0.1 and gain.low > 0,
            measured=f"From the first five sets of answers to the last five the share that is learned changes by "
            f"{points(change)}. It ends {points(gain)} above that of the untreated network.",
        )

    return check


PART = Part(
    arms=(PLAIN, REDO, PULLED),
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="Dormant units: over the sets of answers their share rises by more than 20 points, and the network "
            "learns more than 10 points fewer of the answers.",
            check=falls_asleep,
        ),
        Expectation(
            says="Dormant units: the gradient's norm hardly tells; in the first layer it falls by less than a decade.",
            check=norm_says_little,
        ),
        Expectation(
            says="Dormant units: with ReDo learning falls by less than 10 points and ends above the untreated network.",
            check=cured_by(REDO),
        ),
        Expectation(
            says="Dormant units: with a pull back to the start learning falls by less than 10 points and ends above "
            "the untreated network.",
            check=cured_by(PULLED),
        ),
    ),
    published=(
        Published(
            source="Sokar et al. 2023, 2302.12902 (abstract)",
            what="Units that fall asleep while the target moves, and their renewal",
            theirs="the number of dormant units grows in reinforcement learning; ReDo lowers it and improves results",
            ours=lambda table: ", ".join(
                f"{arm}: {100 * statistics.fmean(ends_of(table, 'dormant units', arm)[1]):.0f} % dormant"
                for arm in (PLAIN, REDO, PULLED)
            ),
            differs="they play Atari games; we learn random answers to 512 digits, a new set every 150 steps",
        ),
    ),
    figures=(
        Figure(
            title="Answers that are learned, set after set",
            quantity="answers learned",
            x="set of answers",
            y="answers learned in 150 steps",
            percent=True,
            low=0.0,
            high=1.0,
            arms=(PLAIN, REDO, PULLED),
            references=(Reference(says="guessing", value=0.1),),
            caption="Every set gives the same pictures new random answers. The network has the same time for each. "
            "Untreated, it learns less and less.",
        ),
    ),
)
