"""What `recurrent` runs: its networks by name, its tasks, and the rows of each."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F

import fadeout
from fadeout.lab import recurrent_nets as rn
from fadeout.lab.data import load
from fadeout.lab.experiment import Task
from fadeout.lab.training import train
from fadeout.records import Row, Size

NAME = "recurrent"
RNN, IRNN, CLOSED, OPEN, CHRONO, GRU = (
    "tanh RNN",
    "IRNN",
    "LSTM, forget bias 0",
    "LSTM, forget bias 1",
    "LSTM, chrono",
    "GRU",
)
NETS: dict[str, tuple[rn.Start, float]] = {  # and Adam's rate; none was tuned here
    RNN: (rn.tanh_rnn, 1e-3),
    IRNN: (rn.irnn, 1e-3),
    CLOSED: (rn.lstm(0.0), 5e-3),
    OPEN: (rn.lstm(1.0), 5e-3),
    CHRONO: (rn.chrono, 5e-3),
    GRU: (rn.gru, 5e-3),
}
RANDOM, LATCH, HAND = "theory: random weights", "theory: a latch", "by hand"
GAINS = (0.4, 0.577, 0.8, 0.9, 1.25, 2.0)  # of the random recurrent weights; 0.577 is torch's own
SMALL = 0.9  # up to this gain the state stays small
HOLDS = 1.25  # gain of a latch: a unit with weight > 1 to itself keeps its sign
SHOWN = 100  # the length whose curves are drawn, and that the expectations are about
SEEDS: dict[Size, range] = {"smoke": range(1), "quick": range(3), "full": range(5)}
STEPS: dict[Size, dict[int, int]] = {  # of the adding problem: at each length, how many steps at most
    "smoke": {10: 2},
    "quick": {50: 2500, 100: 800},
    "full": {50: 5000, 100: 5000, 200: 5000, 500: 3000, 1000: 3000},
}
COPY: dict[Size, tuple[int, int]] = {"smoke": (3, 2), "quick": (20, 800), "full": (100, 5000)}  # blanks, steps
ROWS: dict[Size, int] = {"smoke": 2, "quick": 300, "full": 2000}
PIXELS: dict[Size, int] = {"smoke": 2, "quick": 400, "full": 5000}
FOUR = (RNN, OPEN, CHRONO, GRU)
READERS = (RNN, IRNN, OPEN, CHRONO, GRU)


def tasks(size: Size) -> tuple[Task, ...]:
    """The longest sequences first; theory and the twin by hand have three seeds at every size."""
    few = (RNN, CHRONO) if size == "smoke" else FOUR
    parts = [("adding", float(steps), tuple(NETS)) for steps in sorted(STEPS[size], reverse=True)]
    parts += [
        ("pixels", math.nan, few if size == "smoke" else READERS),
        ("copy", math.nan, few),
        ("rows", math.nan, few if size == "smoke" else READERS),
    ]
    found = [
        Task(experiment=NAME, arm=f"{part}: {net}", seed=seed, size=size, x=x, limit=7200.0)
        for part, x, nets in parts
        for net in nets
        for seed in SEEDS[size]
    ]
    for arm in (*(f"{HAND}: {net}" for net in (RNN, OPEN, GRU)), RANDOM, LATCH):
        found += [Task(experiment=NAME, arm=arm, seed=seed, size=size) for seed in range(3)]
    return tuple(found)


def measure(task: Task) -> Iterator[Row]:
    part, _, net = task.arm.partition(": ")
    if part == "theory":
        yield from rates(task)
    elif part == HAND:
        yield from twin(task, net)
    elif part == "adding":
        yield from add(task, net)
    elif part == "copy":
        yield from copy(task, net)
    else:
        yield from read(task, part, net)


def row(task: Task, quantity: str, arm: str, value: float, x: float = math.nan) -> Row:
    return Row(quantity=quantity, arm=arm, value=value, seed=task.seed, x=x)


def rates(task: Task) -> Iterator[Row]:
    """Decades a step of a tanh RNN, beside what its weights alone say of them."""
    length = 60
    for gain in GAINS if task.arm == RANDOM else (HOLDS,):
        layer, x = rn.random_rnn(gain, length) if task.arm == RANDOM else rn.latch(gain, length)
        exam = fadeout.examine(rn.Reader(layer, 1), (x, torch.randn(len(x))), loss=rn.squared)
        (profile,) = exam.time
        curve, spectrum = profile.log_gain, profile.spectrum
        assert spectrum is not None
        yield row(task, "decades a step", task.arm, (curve[-21] - curve[20]) / (length - 41), gain)
        above = max(curve[lag] - lag * math.log10(spectrum.bound) for lag in range(1, length))
        yield row(task, "above the bound", task.arm, above, gain)
        said = math.log10(spectrum.spectral_radius if task.arm == RANDOM else rn.held(gain))
        yield row(task, "decades a step, theory", task.arm, said, gain)


def twin(task: Task, net: str) -> Iterator[Row]:
    model, batch = rn.Reader(NETS[net][0](2, 40), 1), rn.adding(16, 40, torch.Generator().manual_seed(task.seed))
    seen = rn.reach(model, batch, rn.squared).curve
    hand = rn.by_hand(model.encoder, model.out, batch)  # type: ignore[arg-type]
    yield row(task, "off the twin", net, max(abs(a - b) for a, b in zip(seen, hand, strict=True)))
    yield row(task, "decades a step by hand", net, hand[-1] / (len(hand) - 1))


def add(task: Task, net: str) -> Iterator[Row]:
    length, (start, rate) = int(task.x), NETS[net]
    model, draw = rn.Reader(start(2, length), 1), torch.Generator().manual_seed(100 + task.seed)
    fixed = rn.adding(32, length, torch.Generator().manual_seed(9))
    before = rn.reach(model, fixed, rn.squared)
    taken, learned = rn.practise(
        model,
        lambda: rn.adding(32, length, draw),
        rn.squared,
        steps=STEPS[task.size][length],
        rate=rate,
        enough=rn.LEARNED,
    )
    after = rn.reach(model, fixed, rn.squared)
    x, y = rn.adding(1000, length, torch.Generator().manual_seed(10))
    with torch.no_grad():
        error = float(rn.squared(model(x), y))
    for quantity, value in (
        ("learned", float(learned)),
        ("steps needed", float(taken)),
        ("error", error),
        ("reach before training", before.curve[-1]),
        ("reach after training", after.curve[-1]),
        ("horizon before training", before.horizon),
        ("horizon after training", after.horizon),
    ):
        yield row(task, quantity, net, value, task.x)
    if length == SHOWN:
        yield row(task, "error at 100 steps", net, error)
        for lag in range(length):
            yield row(task, "left before training", net, before.curve[lag], float(lag))
            yield row(task, "left after training", net, after.curve[lag], float(lag))


def copy(task: Task, net: str) -> Iterator[Row]:
    (blanks, steps), (start, rate) = COPY[task.size], NETS[net]
    model = rn.Reader(start(10, blanks + 20), 9, answers=10)
    draw = torch.Generator().manual_seed(100 + task.seed)
    fixed = rn.copying(32, blanks, torch.Generator().manual_seed(9))
    before = rn.reach(model, fixed, rn.recalled)
    rn.practise(model, lambda: rn.copying(32, blanks, draw), rn.recalled, steps=steps, rate=rate)
    after = rn.reach(model, fixed, rn.recalled)
    x, y = rn.copying(500, blanks, torch.Generator().manual_seed(10))
    with torch.no_grad():
        right = float((model(x).argmax(-1) == y).float().mean())
    yield row(task, "symbols recalled", net, right)
    yield row(task, "copy, reach before training", net, before.curve[-1])
    yield row(task, "copy, reach after training", net, after.curve[-1])


def read(task: Task, part: str, net: str) -> Iterator[Row]:
    """Digits, a row of eight pixels or a single pixel at a time."""
    data, (start, rate) = load(task.data), NETS[net]
    length, steps = (8, ROWS[task.size]) if part == "rows" else (64, PIXELS[task.size])
    model = rn.Reader(start(data.features // length, length), 10, steps=length)
    held_out = data.x_test[:64], data.y_test[:64]
    before = rn.reach(model, held_out, F.cross_entropy)
    optimizer = torch.optim.Adam(model.parameters(), min(rate, 2e-3))
    done = train(model, data, optimizer, steps=steps, seed=task.seed, clip=1.0)
    after = rn.reach(model, held_out, F.cross_entropy)
    yield row(task, f"{part}, accuracy", net, done.accuracy)
    yield row(task, f"{part}, reach before training", net, before.curve[-1])
    yield row(task, f"{part}, reach after training", net, after.curve[-1])
