"""Hyper-connections: several residual streams that every layer mixes, freely or with rows and columns that sum to 1."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout.lab.data import Data, load
from fadeout.lab.experiment import Expectation, Found, Published, Task, grid
from fadeout.lab.today_part import NAME, Part, percent, told
from fadeout.lab.training import train
from fadeout.records import Exam, Figure, Reference, Row, Size, Table, interval

FREE, DOUBLE, PUBLIC = "free mixing", "doubly stochastic mixing", "doubly stochastic, as in public code"
STREAMS, CHANNELS, ROUNDS = 4, 32, 20
AWAY = -3.0  # logit at the start between two different streams; 0 from each stream to itself
LAYERS: dict[Size, int] = {"smoke": 8, "quick": 64, "full": 64}
STEPS: dict[Size, int] = {"smoke": 1, "quick": 200, "full": 300}
EXAMS: dict[Size, int] = {"smoke": 1, "quick": 2, "full": 6}  # on the way
SEEDS: dict[Size, range] = {"smoke": range(1), "quick": range(3), "full": range(5)}
RATE = 3e-3


def tasks(size: Size) -> tuple[Task, ...]:
    return grid(NAME, size, (DOUBLE, FREE, PUBLIC), SEEDS[size])


def doubly_stochastic(logits: Tensor) -> Tensor:
    """Sinkhorn and Knopp: columns, then rows, are divided by their sums, `ROUNDS` times."""
    mixing = (logits - logits.amax((-2, -1), keepdim=True)).exp()
    for _ in range(ROUNDS):
        mixing = mixing / mixing.sum(-2, keepdim=True)
        mixing = mixing / mixing.sum(-1, keepdim=True)
    return mixing


class Layer(nn.Module):
    """x' = H_res x + H_post F(H_pre x), with the three H learned and the same for every input."""

    def __init__(self, turn: int, *, free: bool, away: float) -> None:
        super().__init__()
        n = STREAMS
        self.free = free
        self.up, self.down = nn.Linear(CHANNELS, 2 * CHANNELS), nn.Linear(2 * CHANNELS, CHANNELS)
        nn.init.kaiming_normal_(self.up.weight)
        nn.init.kaiming_normal_(self.down.weight)
        self.down.weight.data *= 0.1
        self.mixing = nn.Parameter(torch.eye(n) if free else away * (1 - torch.eye(n)))
        own = torch.eye(n)[turn % n]  # the stream that the layer reads most
        self.read = nn.Parameter(own if free else AWAY * (1 - own))
        self.write = nn.Parameter(torch.ones(n) if free else 0.1 * torch.randn(n))  # not all alike, or streams stay so

    def forward(self, x: Tensor, mixing: Tensor) -> Tensor:
        read, write = (self.read, self.write) if self.free else (self.read.sigmoid(), 2 * self.write.sigmoid())
        h = F.rms_norm((read.unsqueeze(-1) * x).sum(1), (CHANNELS,))
        h = self.down(F.relu(self.up(h)))
        out: Tensor = mixing @ x + write.unsqueeze(-1) * h.unsqueeze(1)
        return out


class Streams(nn.Module):
    """Digits, copied into four streams, through many layers; the answer is read from their mean."""

    def __init__(self, layers: int, *, free: bool, away: float = AWAY, temperature: float = 1.0) -> None:
        super().__init__()
        self.free, self.temperature = free, temperature
        self.stem, self.head = nn.Linear(64, CHANNELS), nn.Linear(CHANNELS, 10)
        self.layers = nn.ModuleList(Layer(i, free=free, away=away) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        mixings = torch.stack([layer.mixing for layer in self.layers])  # type: ignore[misc]
        if not self.free:
            mixings = doubly_stochastic(mixings / self.temperature)
        x = self.stem(x).unsqueeze(1).expand(-1, STREAMS, -1)
        for layer, mixing in zip(self.layers, mixings.unbind(), strict=True):
            x = layer(x, mixing)
        out: Tensor = self.head(F.rms_norm(x.mean(1), (CHANNELS,)))
        return out


def measure(task: Task) -> Iterator[Row]:
    data, layers = load("digits"), LAYERS[task.size]
    if task.arm == PUBLIC:
        yield from silenced(task, data, layers)
        return
    model = Streams(layers, free=task.arm == FREE)

    def row(quantity: str, value: float, x: float = math.nan) -> Row:
        return Row(quantity=quantity, arm=task.arm, value=value, seed=task.seed, x=x)

    def state(done: int) -> Iterator[Row]:
        streams = exam_of(model, data).streams
        assert streams is not None
        yield row("composite gain", math.log10(max(streams.forward, streams.backward)), float(done))
        yield row("columns", streams.columns, float(done))
        yield row("distinct", streams.distinct, float(done))

    yield from state(0)
    if task.arm == DOUBLE:
        off = math.exp(AWAY) / (1 + (STREAMS - 1) * math.exp(AWAY))
        yield row("distinct in theory", (1 - STREAMS * off) ** layers)
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)
    found: list[Row] = []
    every = max(1, STEPS[task.size] // EXAMS[task.size])
    done = train(
        model,
        data,
        optimizer,
        steps=STEPS[task.size],
        seed=task.seed,
        after=lambda n: found.extend(state(n)) if n % every == 0 else None,
    )
    yield from found
    yield row("accuracy with streams", done.accuracy)


def exam_of(model: nn.Module, data: Data) -> Exam:
    return fadeout.examine(model, (data.x[:128], data.y[:128]), loss=F.cross_entropy)


def silenced(task: Task, data: Data, layers: int) -> Iterator[Row]:
    """Which mixings receive a gradient of exactly zero, at the temperature of public code and at 1."""
    for temperature in (0.05, 1.0):
        model = Streams(layers, free=False, away=-8.0, temperature=temperature)
        reading = fadeout.read(model, (data.x[:128], data.y[:128]), loss=F.cross_entropy)
        # the first layer mixes four copies of one stream, which changes nothing: its gradient is 0 but for rounding
        silent = sum(path.endswith(".mixing") and path != "layers.0.mixing" for path in reading.silent)
        yield Row(
            quantity="mixings without a gradient",
            arm=task.arm,
            value=silent / (layers - 1),
            seed=task.seed,
            x=temperature,
        )


def one_stream_left(table: Table) -> Found:
    pairs = zip(table.values("distinct", DOUBLE, 0.0), table.values("distinct in theory", DOUBLE), strict=True)
    worst = max(abs(math.log10(a / b)) for a, b in pairs)
    left, foreseen = table.mean("distinct", DOUBLE, 0.0), table.mean("distinct in theory", DOUBLE)
    return Found(
        held=worst < 0.05 and left < 0.5,
        measured=f"Differences between the streams shrink to {left:.1e} of what they were; theory says {foreseen:.1e}.",
    )


def silent_at_the_default(table: Table) -> Found:
    share = {t: table.values("mixings without a gradient", PUBLIC, t) for t in (0.05, 1.0)}
    return Found(
        held=min(share[0.05]) == 1 and max(share[1.0]) == 0,
        measured=f"{100 * min(share[0.05]):.0f} % of the mixings receive exactly nothing at temperature 0.05, "
        f"{100 * max(share[1.0]):.0f} % at 1.",
    )


def last_gains(table: Table, arm: str) -> tuple[float, ...]:
    """Decades after training, one value a seed."""
    return table.values("composite gain", arm, table.xs("composite gain", arm)[-1])


def free_grows(table: Table) -> Found:
    gains = last_gains(table, FREE)
    said = ", ".join(f"{10**gain:.0f}" for gain in gains)
    return Found(
        held=interval(gains).low > 2,
        measured=f"The mixings of all layers multiply a signal or a gradient by up to {said}: "
        f"{told(interval(gains), 1)} decades.",
    )


def double_stays(table: Table) -> Found:
    gain = interval(last_gains(table, DOUBLE))
    return Found(
        held=gain.high < math.log10(1.6),
        measured=f"They multiply by {10**gain.mean:.3f} [{10**gain.low:.3f}, {10**gain.high:.3f}].",
    )


def accuracy_silent(table: Table) -> Found:
    found = {arm: table.of("accuracy with streams", arm) for arm in (FREE, DOUBLE)}
    said = ", ".join(f"{arm} {percent(v)}" for arm, v in found.items())
    return Found(held=all(v.low > 0.8 for v in found.values()), measured=f"Digits recognised: {said}.")


PART = Part(
    arms=(DOUBLE, FREE, PUBLIC),
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="Streams: doubly stochastic mixing that starts with the logits -3 leaves of the differences between "
            "streams what the second eigenvalue to the power of the layers says, to within 0.05 decades.",
            check=one_stream_left,
            needs="smoke",
        ),
        Expectation(
            says="Streams: with the start of public code (logits -8, temperature 0.05) every mixing receives a "
            "gradient of exactly zero; at temperature 1 none does (leaving out the first, which mixes copies).",
            check=silent_at_the_default,
            needs="smoke",
        ),
        Expectation(says="Streams: after training, free mixings together multiply by more than 100.", check=free_grows),
        Expectation(
            says="Streams: after training, doubly stochastic mixings together multiply by less than 1.6, the figure of "
            "their authors.",
            check=double_stays,
        ),
        Expectation(
            says="Streams: both networks still recognise more than 80 % of the digits, so accuracy doesn't tell.",
            check=accuracy_silent,
        ),
    ),
    published=(
        Published(
            source="Xie et al. 2025, mHC, 2512.24880, figures 3 and 7",
            what="Largest gain of all mixings together (largest row sum forward, column sum backward)",
            theirs="up to about 3000 free, about 1.6 doubly stochastic",
            ours=lambda table: ", ".join(
                f"{arm} {10 ** interval(last_gains(table, arm)).mean:.3g}" for arm in (FREE, DOUBLE)
            ),
            differs="theirs is a language model of 27 billion parameters after many thousand steps; ours reads digits "
            "for a few hundred with a large learning rate. Their figures are taken from reproductions of the text.",
        ),
    ),
    figures=(
        Figure(
            title="What the mixings of all layers do together",
            quantity="composite gain",
            x="training steps",
            y="largest gain, decades",
            arms=(FREE, DOUBLE),
            references=(Reference(says="nothing gained or lost", value=0.0),),
            caption="Each layer mixes the streams a little. Free mixings multiply up over the layers while the "
            "network trains. Mixings whose rows and columns sum to 1 can't.",
        ),
    ),
)
