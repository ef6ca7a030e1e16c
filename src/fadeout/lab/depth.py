"""Deeper was worse: accuracy over depth for networks as they come, and for those with one of the cures."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.lab import nets
from fadeout.lab.data import load
from fadeout.lab.experiment import Expectation, Experiment, Found, Published, Task, grid
from fadeout.lab.training import epochs, train
from fadeout.records import Figure, Reference, Row, Size, Table

NAME = "depth"
ARMS: dict[str, Callable[[int, int], nn.Module]] = {
    "sigmoid": lambda depth, features: nets.plain(nn.Sigmoid, depth, features=features),
    "tanh": lambda depth, features: nets.plain(nn.Tanh, depth, features=features),
    "ReLU": lambda depth, features: nets.plain(nn.ReLU, depth, features=features),
    "residual": lambda depth, features: nets.Residual(depth, scale=(2.0 * depth) ** -0.5, features=features),
}
PLAIN = ("sigmoid", "tanh", "ReLU")
DEPTHS: dict[Size, tuple[float, ...]] = {
    "smoke": (2, 10),
    "quick": (2, 5, 10, 20, 50, 100),
    "full": (2, 3, 5, 7, 10, 14, 20, 30, 50, 70, 100),
}
SEEDS: dict[Size, range] = {"smoke": range(1), "quick": range(3), "full": range(10)}
EPOCHS: dict[Size, float] = {"smoke": 0.1, "quick": 10, "full": 20}


def tasks(size: Size) -> tuple[Task, ...]:
    return grid(NAME, size, ARMS, SEEDS[size], DEPTHS[size])


def measure(task: Task) -> Iterator[Row]:
    data = load(task.data)
    model = ARMS[task.arm](int(task.x), data.features)
    exam = fadeout.examine(model, (data.x[:256], data.y[:256]), loss=F.cross_entropy)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    done = train(model, data, optimizer, steps=epochs(data, EPOCHS[task.size]), seed=task.seed)
    for quantity, value in (
        ("accuracy", done.accuracy),
        ("training error", 1 - done.train_accuracy),
        ("decades", exam.decades),
    ):
        yield Row(quantity=quantity, arm=task.arm, value=value, seed=task.seed, x=task.x)


def sigmoid_fails(table: Table) -> Found:
    found = [(depth, table.of("accuracy", "sigmoid", depth)) for depth in (2.0, 10.0)]
    said = ", ".join(f"{100 * v.mean:.0f} % [{100 * v.low:.0f}, {100 * v.high:.0f}] at {d:.0f}" for d, v in found)
    return Found(held=found[0][1].low > 0.6 and found[1][1].high < 0.3, measured=f"Sigmoid: {said} layers.")


def plain_stop(table: Table) -> Found:
    at = {arm: table.of("accuracy", arm, 50.0) for arm in PLAIN}
    said = ", ".join(f"{arm} {100 * v.mean:.0f} %" for arm, v in at.items())
    return Found(held=all(v.high < 0.3 for v in at.values()), measured=f"At 50 layers: {said} (chance is 10 %).")


def training_too(table: Table) -> Found:
    errors = {arm: [table.mean("training error", arm, d) for d in (5.0, 50.0)] for arm in ("tanh", "ReLU")}
    said = ", ".join(f"{arm} {100 * a:.1f} % at 5 and {100 * b:.0f} % at 50 layers" for arm, (a, b) in errors.items())
    return Found(held=all(b > a + 0.3 for a, b in errors.values()), measured=f"Training error: {said}.")


def order_of_fading(table: Table) -> Found:
    """The first depth at which a network is at chance, against the decades that it loses there."""
    found = {}
    for arm in PLAIN:
        dead = [x for x in table.xs("accuracy", arm) if table.mean("accuracy", arm, x) < 0.3]
        found[arm] = (dead[0], table.mean("decades", arm, dead[0])) if dead else (float("inf"), 0.0)
    held = found["sigmoid"][0] < found["ReLU"][0] <= found["tanh"][0] and all(d < -3 for _, d in found.values())
    said = ", ".join(f"{arm} at {x:g} layers ({d:+.1f} decades)" for arm, (x, d) in found.items())
    return Found(held=held, measured=f"First depth that learns nothing: {said}.")


def residual_stays(table: Table) -> Found:
    found = table.of("accuracy", "residual", 100.0)
    said = f"{100 * found.mean:.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return Found(held=found.low > 0.9, measured=f"Residual at 100 layers: {said}.")


EXPERIMENT = Experiment(
    name=NAME,
    title="Deeper was worse",
    chapter="The disease",
    claim="A plain network gets worse, not better, when layers are added, and it fails on its own training data.",
    source="Glorot and Bengio 2010; He et al. 2015, 1512.03385",
    story=(
        "A deeper network can compute everything that a shallower one can: the layers that are too many could just "
        "pass on what they get. So depth should never hurt. For many years it did.",
        "We train the same network with 2 to 100 layers on small pictures of digits. Nobody has tuned anything: the "
        "weights start as the library makes them.",
    ),
    lesson=(
        "The network does not fail because it learns the training data by heart. It fails on the training data itself: "
        "its first layers get no signal, so they stay as random as they were drawn, and what reaches the last layers "
        "no longer says which digit was shown.",
        "The network with residual connections has the same number of weights and the same layers, but the gradient "
        "has a way around each of them. It does not notice the depth.",
    ),
    setting={
        "smoke": "Width 64, 2 steps of Adam, depths 2 and 10: only whether it runs.",
        "quick": "Digits 8 x 8, width 64, Adam 0.001, 10 passes over the data, batch 64.",
        "full": "Digits 8 x 8, width 64, Adam 0.001, 20 passes over the data, batch 64, ten seeds.",
    },
    seconds={"smoke": 3.0, "quick": 151.0, "full": 2000.0},
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="A sigmoid network of 2 layers gets more than 60 % right, one of 10 layers less than 30 %.",
            check=sigmoid_fails,
        ),
        Expectation(
            says="At 50 layers sigmoid, tanh and ReLU as they come are near chance, below 30 %.", check=plain_stop
        ),
        Expectation(
            says="It is the training error that rises: by more than 30 points from 5 to 50 layers, for tanh and ReLU.",
            check=training_too,
        ),
        Expectation(
            says="They fail in the order in which their gradients fade, sigmoid first, and each where the gradient has "
            "lost more than 3 decades.",
            check=order_of_fading,
        ),
        Expectation(says="With residual connections 100 layers get more than 90 % right.", check=residual_stays),
    ),
    published=(
        Published(
            source="He et al. 2015, 1512.03385, section 1 and table 2",
            what="Error of plain networks, ImageNet, 18 against 34 layers",
            theirs="27.94 % against 28.54 %: deeper is worse, on training data too",
            ours=lambda table: (
                "ReLU training error: "
                + ", ".join(
                    f"{100 * table.mean('training error', 'ReLU', d):.1f} % at {d:.0f}" for d in (5.0, 20.0, 50.0)
                )
            ),
            differs="they have convolutions with batch normalisation, which is why their deep network still learns; "
            "ours has neither",
        ),
    ),
    figures=(
        Figure(
            title="Accuracy on new digits over the number of layers",
            quantity="accuracy",
            x="layers",
            y="digits recognised",
            x_log=True,
            percent=True,
            low=0.0,
            high=1.0,
            references=(Reference(says="guessing", value=0.1),),
            caption="Plain networks fall to guessing one after the other, sigmoid first. The residual network stays.",
        ),
        Figure(
            title="Decades that the gradient loses between the last layer and the first, before training",
            quantity="decades",
            x="layers",
            y="decades",
            x_log=True,
            low=-30.0,
            caption="The deeper the plain network, the less arrives at its first layer. Where a line has fallen by "
            "more than about three decades, the network above no longer learns.",
        ),
    ),
)
