"""Through time: how far networks reach at the start, and what they learn.

    python benchmarks/sequences.py [adding|digits|copy|text|all] [--quick]

Reach is log10 of the gradient at the first step over that at the last one, decades.  For torch's
recurrent layers it is `exam.time`, the joint (h, c) gradient of the last step; for transformers
the reach map, gradients at the input.  Within one table all networks have the same batches and
gradients clipped at norm 1; Adam's rate is the arm's own.
"""

import argparse
import math
import pydoc_data.topics
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

import fadeout
from fadeout.init import chrono_

Batch = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
UNITS = 64
LEARNT = 0.02  # mean squared error of the adding problem over 50 steps; predicting 1 costs 1/6
TEXT = "\n".join(pydoc_data.topics.topics[key] for key in sorted(pydoc_data.topics.topics))
SYMBOLS = sorted(set(TEXT))
CODE = {symbol: n for n, symbol in enumerate(SYMBOLS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far one network reaches back from its last step.

    Attributes:
        horizon: Steps until one decade is lost; inf if never.
        curve: Decades at each lag, 0 at lag 0; -inf where float32 gradients ended.
    """

    horizon: float
    curve: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A network in a race, and how it is made and trained."""

    name: str
    make: Callable[[int, int, int], nn.Module]  # features, outputs, steps
    rate: float
    budget: float = 1.0  # of the table's steps; a transformer's step costs seven of an LSTM's


class Reader(nn.Module):
    """Reads a sequence and answers at every position, (N, T, D) to (N, T, outputs); the loss picks."""

    def __init__(self, encoder: nn.Module, outputs: int) -> None:
        super().__init__()
        self.encoder, self.out = encoder, nn.Linear(UNITS, outputs)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.encoder(x)
        return self.out(seen[0] if isinstance(seen, tuple) else seen)


class Causal(nn.Module):
    """A small transformer over ids (N, T): each position sees those before it."""

    def __init__(self, length: int, layers: int = 2) -> None:
        super().__init__()
        self.symbol, self.place = nn.Embedding(len(SYMBOLS), UNITS), nn.Embedding(length, UNITS)
        self.encoder, self.out = encoder(layers), nn.Linear(UNITS, len(SYMBOLS))

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        ahead = nn.Transformer.generate_square_subsequent_mask(length)
        stream = self.symbol(ids) + self.place.weight[:length]
        return self.out(self.encoder(stream, mask=ahead, is_causal=True))


class Spelling(nn.Module):
    """An LSTM over ids (N, T)."""

    def __init__(self, units: int = 128) -> None:
        super().__init__()
        self.symbol, self.lstm = nn.Embedding(len(SYMBOLS), units), nn.LSTM(units, units, batch_first=True)
        self.out = nn.Linear(units, len(SYMBOLS))

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.lstm(self.symbol(ids))[0])


def encoder(layers: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(UNITS, 4, 2 * UNITS, dropout=0.0, batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


def rnn(features: int, outputs: int, steps: int) -> nn.Module:
    return Reader(nn.RNN(features, UNITS, batch_first=True), outputs)


@torch.no_grad()
def irnn(features: int, outputs: int, steps: int) -> nn.Module:
    """Le, Jaitly and Hinton 2015: ReLU, identity, zero biases, inputs of deviation 0.001."""
    layer = nn.RNN(features, UNITS, nonlinearity="relu", batch_first=True)
    nn.init.eye_(layer.weight_hh_l0)
    nn.init.normal_(layer.weight_ih_l0, std=0.001)
    nn.init.zeros_(layer.bias_ih_l0)
    nn.init.zeros_(layer.bias_hh_l0)
    return Reader(layer, outputs)


@torch.no_grad()
def lstm(features: int, outputs: int, steps: int) -> nn.Module:
    """Forget bias 1 in all, the usual practice; torch's own default is about 0."""
    layer = nn.LSTM(features, UNITS, batch_first=True)
    layer.bias_ih_l0[UNITS : 2 * UNITS] = 1.0
    layer.bias_hh_l0[UNITS : 2 * UNITS] = 0.0
    return Reader(layer, outputs)


def chrono(features: int, outputs: int, steps: int) -> nn.Module:
    """Tallec and Ollivier 2018: forget biases drawn for the length, which it thereby is told."""
    layer = nn.LSTM(features, UNITS, batch_first=True)
    chrono_(layer, steps, generator=torch.Generator().manual_seed(torch.initial_seed()))
    return Reader(layer, outputs)


def gru(features: int, outputs: int, steps: int) -> nn.Module:
    return Reader(nn.GRU(features, UNITS, batch_first=True), outputs)


def transformer(features: int, outputs: int, steps: int) -> nn.Module:
    """Two layers without positions: the adding problem does not ask where."""
    return Reader(nn.Sequential(nn.Linear(features, UNITS), encoder(2)), outputs)


RNN = Arm(name="tanh RNN", make=rnn, rate=1e-3)
LSTM = Arm(name="LSTM, forget bias 1", make=lstm, rate=5e-3)
CHRONO = Arm(name="LSTM, chrono", make=chrono, rate=5e-3)
GRU = Arm(name="GRU", make=gru, rate=5e-3)
ADDING = (
    RNN,
    Arm(name="IRNN", make=irnn, rate=1e-3),
    LSTM,
    CHRONO,
    GRU,
    Arm(name="transformer, 2 layers", make=transformer, rate=1e-3, budget=0.2),
)


def build(arm: Arm, seed: int, features: int, outputs: int, steps: int) -> nn.Module:
    torch.manual_seed(seed)
    return arm.make(features, outputs, steps)


def reach(model: nn.Module, batch: Batch, loss: Loss, *, within: str | None = None) -> Reach:
    """The recurrent layer's own profile, or for a transformer the map's row of the last position."""
    recurrent = any(isinstance(m, nn.RNNBase) for m in model.modules())
    exam = fadeout.examine(model, batch, loss=loss, within=None if recurrent else within, reach=0 if recurrent else 1)
    if recurrent:
        return Reach(horizon=exam.time[-1].horizon, curve=exam.time[-1].log_gain)
    (row,) = (t for t in exam.tokens if t.positions)
    return Reach(horizon=first_below(row.distance_curve), curve=row.distance_curve)


def first_below(curve: Sequence[float]) -> float:
    """First lag at which a decade is lost; inf if there is none."""
    return next((float(lag) for lag, gain in enumerate(curve) if gain < -1.0), math.inf)


def train(
    model: nn.Module, draw: Callable[[], Batch], loss: Loss, *, steps: int, rate: float, enough: float = -math.inf
) -> tuple[int, bool]:
    """Adam, clipped; steps taken, and whether the mean loss of the last 50 fell below `enough`."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    losses: list[float] = []
    for step in range(1, steps + 1):
        x, y = draw()
        value = loss(model(x), y)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses = [*losses[-49:], float(value.detach())]
        if len(losses) == 50 and statistics.fmean(losses) < enough:
            return step, True
    return steps, False


def adding(rows: int, steps: int, draw: torch.Generator) -> Batch:
    """Hochreiter and Schmidhuber 1997: random numbers, two of them marked, one in each half; their sum."""
    value, mark = torch.rand(rows, steps, generator=draw), torch.zeros(rows, steps)
    first = torch.randint(0, steps // 2, (rows,), generator=draw)
    second = torch.randint(steps // 2, steps, (rows,), generator=draw)
    each = torch.arange(rows)
    mark[each, first] = mark[each, second] = 1.0
    return torch.stack([value, mark], -1), value[each, first] + value[each, second]


def copying(rows: int, lag: int, draw: torch.Generator) -> Batch:
    """Arjovsky et al. 2016: ten symbols of eight, blanks, a sign, and then the ten again; one-hot."""
    word = torch.randint(1, 9, (rows, 10), generator=draw)
    x = torch.zeros(rows, lag + 20, dtype=torch.int64)
    x[:, :10], x[:, lag + 9] = word, 9
    return F.one_hot(x, 10).float(), word


def spelled(rows: int, length: int, draw: torch.Generator, ids: Tensor) -> Batch:
    at = torch.randint(0, len(ids) - length - 1, (rows, 1), generator=draw) + torch.arange(length + 1)
    return ids[at][:, :-1], ids[at][:, 1:]


def squared(out: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(out[:, -1, 0], y)


def last_class(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out[:, -1], y)


def recalled(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out[:, -10:].flatten(0, 1), y.flatten())


def nats(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out.flatten(0, 1), y.flatten())


def ranks(values: Sequence[float]) -> list[float]:
    """1 for the smallest; equals share the mean of their places."""
    order = sorted(values)
    return [statistics.fmean(n for n, v in enumerate(order, 1) if v == value) for value in values]


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation; nan where one side is constant."""
    first, second = ranks(a), ranks(b)
    return statistics.correlation(first, second) if min(len(set(first)), len(set(second))) > 1 else math.nan


def both(values: Sequence[float], form: str) -> str:
    """Both seeds' values, "inf" as never."""
    return " / ".join("never" if v == math.inf else format(v, form) for v in values)


def race_adding(quick: bool) -> None:
    length, steps, seeds = (50, 100, 1) if quick else (200, 2500, 2)
    print(f"Adding problem, T = {length}, batch 32, {UNITS} units, {seeds} seed(s); predicting 1 costs 0.167\n")
    print("| network | horizon | reach, decades | after training | steps to 0.02 | loss at the end | s |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    found: list[tuple[float, float, float]] = []
    for arm in ADDING:
        starts, ends, hits, losses = [], [], [], []
        begun = time.process_time()
        for seed in range(seeds):
            model, draw = build(arm, seed, 2, 1, length), torch.Generator().manual_seed(100 + seed)
            fixed = adding(32, length, torch.Generator().manual_seed(9))
            starts.append(reach(model, fixed, squared, within="encoder"))
            budget = round(steps * arm.budget)
            taken, learnt = train(
                model, lambda d=draw: adding(32, length, d), squared, steps=budget, rate=arm.rate, enough=LEARNT
            )
            ends.append(reach(model, fixed, squared, within="encoder"))
            hits.append(float(taken) if learnt else math.inf)
            with torch.no_grad():
                x, y = adding(1000, length, torch.Generator().manual_seed(10))
                losses.append(float(squared(model(x), y)))
        far = [r.curve[-1] for r in starts]
        needed = statistics.fmean(min(hit, steps) for hit in hits)  # never counts as the whole budget
        found.append((needed, *(-statistics.fmean(r.curve[-1] for r in reaches) for reaches in (starts, ends))))
        print(
            f"| {arm.name} | {both([r.horizon for r in starts], '.0f')} | {both(far, '.1f')} "
            f"| {both([r.curve[-1] for r in ends], '.1f')} | {both(hits, '.0f')} | {both(losses, '.4f')} "
            f"| {time.process_time() - begun:.0f} |",
            flush=True,
        )
    print("\nSpearman of decades lost to the first step and steps needed, all six and the five recurrent ones:")
    for which, rows in (("all", found), ("recurrent", found[:-1])):
        needed_by, before, after = zip(*rows, strict=True)
        print(f"{which}: {spearman(before, needed_by):+.2f} at the start, {spearman(after, needed_by):+.2f} at the end")
    print()


def race_digits(quick: bool) -> None:
    bundle = load_digits()
    order = torch.randperm(len(bundle.target), generator=torch.Generator().manual_seed(123))
    images, labels = torch.tensor(bundle.images, dtype=torch.float32)[order] / 16, torch.tensor(bundle.target)[order]
    held = 397
    for name, length, steps in (("row by row", 8, 600), ("pixel by pixel", 64, 1500)):
        x = images.view(len(images), length, -1)
        test, training = (x[:held], labels[:held]), (x[held:], labels[held:])
        steps = 30 if quick else steps
        print(f"Digits {name}, {length} steps, batch 64, {steps} steps\n")
        print("| network | horizon at the start | reach, decades | horizon after | reach | accuracy on 397 held out |")
        print("|---|---:|---:|---:|---:|---:|")
        for arm in (RNN, LSTM, GRU):
            rows: list[tuple[Reach, Reach, float]] = []
            for seed in range(1 if quick else 2):
                model, draw = build(arm, seed, x.shape[-1], 10, length), torch.Generator().manual_seed(100 + seed)
                start = reach(model, (test[0][:64], test[1][:64]), last_class)

                def some(draw: torch.Generator = draw, training: Batch = training) -> Batch:
                    chosen = torch.randint(len(training[0]), (64,), generator=draw)
                    return training[0][chosen], training[1][chosen]

                train(model, some, last_class, steps=steps, rate=min(arm.rate, 2e-3))
                end = reach(model, (test[0][:64], test[1][:64]), last_class)
                with torch.no_grad():
                    right = float((model(test[0])[:, -1].argmax(-1) == test[1]).float().mean())
                rows.append((start, end, right))
            show(arm.name, rows, ".1%")
        print()


def show(name: str, rows: Sequence[tuple[Reach, Reach, float]], form: str) -> None:
    starts, ends, scores = zip(*rows, strict=True)
    print(
        f"| {name} | {both([r.horizon for r in starts], '.1f')} | {both([r.curve[-1] for r in starts], '.1f')} "
        f"| {both([r.horizon for r in ends], '.1f')} | {both([r.curve[-1] for r in ends], '.1f')} "
        f"| {both(scores, form)} |",
        flush=True,
    )


def race_copy(quick: bool) -> None:
    lag, steps = (30, 30) if quick else (30, 2000)
    print(f"Copy memory, {lag} steps of blanks (each symbol is due {lag + 10} steps later), batch 32, {steps} steps\n")
    print(
        "| network | horizon at the start | reach, decades | horizon after | reach | symbols recalled (chance 12.5 %) |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for arm in (RNN, LSTM, CHRONO, GRU):
        rows: list[tuple[Reach, Reach, float]] = []
        for seed in range(1 if quick else 2):
            model, draw = build(arm, seed, 10, 9, lag + 20), torch.Generator().manual_seed(100 + seed)
            fixed = copying(32, lag, torch.Generator().manual_seed(9))
            start = reach(model, fixed, recalled)
            train(model, lambda d=draw: copying(32, lag, d), recalled, steps=steps, rate=arm.rate)
            end = reach(model, fixed, recalled)
            x, y = copying(500, lag, torch.Generator().manual_seed(10))
            with torch.no_grad():
                rows.append((start, end, float((model(x)[:, -10:].argmax(-1) == y).float().mean())))
        show(arm.name, rows, ".1%")
    print()


def race_text(quick: bool) -> None:
    length, steps = 64, 20 if quick else 200
    ids = torch.tensor([CODE[symbol] for symbol in TEXT])
    cut = int(0.9 * len(ids))
    print(
        f"Python's help topics, {len(ids):,} characters, {len(SYMBOLS)} symbols; T {length}, batch 16, {steps} steps\n"
    )
    print("| network | when | loss, held out | horizon | decades at distance 1 | 4 | 16 | 63 |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    makers: tuple[tuple[str, Callable[[], nn.Module]], ...] = (
        ("LSTM, 128 units", Spelling),
        ("transformer, 2 layers, d 64", lambda: Causal(length)),
    )
    for name, make in makers:
        torch.manual_seed(0)
        model, draw = make(), torch.Generator().manual_seed(100)
        fixed = spelled(16, length, torch.Generator().manual_seed(9), ids[cut:])
        for when in ("start", f"{steps} steps"):
            if when != "start":
                train(model, lambda d=draw: spelled(16, length, d, ids[:cut]), nats, steps=steps, rate=3e-3)  # type: ignore[misc]
            seen = reach(model, fixed, nats)
            with torch.no_grad():
                x, y = spelled(64, length, torch.Generator().manual_seed(10), ids[cut:])
                loss = float(nats(model(x), y))
            far = " | ".join(f"{seen.curve[lag]:.1f}" for lag in (1, 4, 16, 63))
            print(f"| {name} | {when} | {loss:.3f} | {both([seen.horizon], '.0f')} | {far} |", flush=True)
    print()


PARTS: dict[str, Callable[[bool], None]] = {
    "adding": race_adding,
    "digits": race_digits,
    "copy": race_copy,
    "text": race_text,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", default="all", choices=[*PARTS, "all"])
    parser.add_argument("--quick", action="store_true", help="does it run: short, few steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, run in PARTS.items():
        if options.part in (name, "all"):
            run(options.quick)


if __name__ == "__main__":
    main()
