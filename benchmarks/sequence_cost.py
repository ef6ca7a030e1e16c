"""What the time axis and the reach map cost.

    python benchmarks/sequence_cost.py [--quick]

Ratios of rounds in which every way runs once.  "Without the time axis" is the same weights and the
same fused operation through a module that is no nn.LSTM.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout

SYMBOLS = 103  # kinds, of random ids


class Stack(nn.Module):
    """The cost table's network: two layers of 256 units, read at the last step."""

    def __init__(self, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.lstm = nn.LSTM(64, 256, num_layers=2, batch_first=True, bidirectional=bidirectional)
        self.out = nn.Linear(512 if bidirectional else 256, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0][:, -1])


class BareStack(nn.Module):
    """The same weights and the same fused operation, but no nn.LSTM: an exam of it has no time axis."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.weights, self.out = nn.ParameterList(stack.lstm.parameters()), stack.out

    def forward(self, x: Tensor) -> Tensor:
        zero = x.new_zeros(2, x.shape[0], 256)
        seen, _, _ = torch.lstm(x, (zero, zero), list(self.weights), True, 2, 0.0, self.training, False, True)
        return self.out(seen[:, -1])


class Causal(nn.Module):
    """The reach map's network: a small transformer over ids (N, T), each position sees those before it."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.symbol, self.place = nn.Embedding(SYMBOLS, 64), nn.Embedding(length, 64)
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder, self.out = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(64, SYMBOLS)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        ahead = nn.Transformer.generate_square_subsequent_mask(length)
        stream = self.symbol(ids) + self.place.weight[:length]
        return self.out(self.encoder(stream, mask=ahead, is_causal=True))


def nats(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out.flatten(0, 1), y.flatten())


def away(out: Tensor) -> Tensor:
    return out.square().mean()


def plain(model: nn.Module, x: Tensor) -> object:
    return torch.autograd.grad(away(model(x)), list(model.parameters()))


def in_turn(ways: Sequence[Callable[[], object]], runs: int) -> list[list[float]]:
    """Process seconds of each way, in rounds, so that a drifting machine hits all alike."""
    for way in ways:
        way()
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(runs):
        for way, times in zip(ways, taken, strict=True):
            start = time.process_time()
            way()
            times.append(time.process_time() - start)
    return taken


def multiples(numerator: Sequence[float], denominator: Sequence[float], less: Sequence[float] | None = None) -> str:
    """Median of (a - b) / c over rounds, with its range."""
    rest = less or [0.0] * len(numerator)
    found = sorted((a - b) / c for a, b, c in zip(numerator, rest, denominator, strict=True))
    return f"x{statistics.median(found):.2f} ({found[0]:.2f} to {found[-1]:.2f})"


def high_water(examined: bool, bidirectional: bool, steps: int, rows: int) -> tuple[float, float]:
    """In a process of its own: its largest resident memory, GB, and seconds of the one pass."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = Stack(bidirectional=bidirectional), torch.randn(rows, steps, 64)
    start = time.perf_counter()
    if examined:
        assert fadeout.examine(model, x, loss=away).time[0].steps == steps
    else:
        plain(model, x)
    taken = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()  # ru_maxrss is inherited from the parent
    return int(status.split("VmHWM:")[1].split()[0]) / 1e6, taken


def cost(quick: bool) -> None:
    """Time axis, memory of long sequences, reach map."""
    rows, length, runs = (4, 50, 3) if quick else (32, 200, 7)
    torch.manual_seed(0)
    stack, x = Stack(), torch.randn(rows, length, 64)
    bare = BareStack(stack)
    with_axis, without = (fadeout.examine(m, x, loss=away) for m in (stack, bare))
    assert with_axis.time
    assert not without.time
    assert torch.equal(stack(x), bare(x))
    base, timed, untimed, account = in_turn(
        (
            lambda: plain(stack, x),
            lambda: fadeout.examine(stack, x, loss=away),
            lambda: fadeout.examine(bare, x, loss=away),
            lambda: fadeout.measure(stack, x, loss=away),
        ),
        runs,
    )
    print(f"LSTM of 2 layers x 256, T = {length}, batch {rows}; median of {runs} rounds (least to most)\n")
    print("| what | multiples of a fused forward + backward |\n|---|---:|")
    print(f"| forward + backward | {statistics.median(base) * 1e3:.0f} ms |")
    print(f"| measure | {multiples(account, base)} |")
    print(f"| examine without the time axis | {multiples(untimed, base)} |")
    print(f"| examine | {multiples(timed, base)} |")
    print(f"| **the time axis** (limit 4, aim 2.5) | **{multiples(timed, base, untimed)}** |\n")
    length = 500 if quick else 5000
    print(f"The same at T = {length}, batch {rows}: peak of resident memory, each in a process of its own\n")
    print("| directions | forward + backward | examine | more (limit 2 GB) | s, plain and exam |")
    print("|---|---:|---:|---:|---:|")
    for bidirectional in (False, True):
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
            (before, short), (after, long) = (
                pool.submit(high_water, examined, bidirectional, length, rows).result() for examined in (False, True)
            )
        print(
            f"| {'both' if bidirectional else 'one'} | {before:.2f} GB | {after:.2f} GB | {after - before:+.2f} GB "
            f"| {short:.0f} and {long:.0f} |",
            flush=True,
        )
    length, positions = (64, 8) if quick else (512, 32)
    torch.manual_seed(0)
    model, ids = Causal(length), torch.randint(0, SYMBOLS, (4, length + 1))
    batch = ids[:, :-1], ids[:, 1:]

    def forward() -> object:
        return nats(model(batch[0]), batch[1])

    def whole() -> object:
        return torch.autograd.grad(nats(model(batch[0]), batch[1]), list(model.parameters()))

    ahead, both_ways, mapped, unmapped = in_turn(
        (
            forward,
            whole,
            lambda: fadeout.examine(model, batch, loss=nats, reach=positions),
            lambda: fadeout.examine(model, batch, loss=nats),
        ),
        3 if quick else 5,
    )
    backward = [a - b for a, b in zip(both_ways, ahead, strict=True)]
    print(f"\nReach map of {positions} positions, causal transformer of 2 layers, d 64, T = {length}, batch 4\n")
    print("| what | cost |\n|---|---:|")
    print(
        f"| forward, and backward | {statistics.median(ahead) * 1e3:.0f}, {statistics.median(backward) * 1e3:.0f} ms |"
    )
    print(f"| **the map, in backward passes** (limit {positions}) | **{multiples(mapped, backward, unmapped)}** |\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="does it run: short, few rounds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cost(options.quick)


if __name__ == "__main__":
    main()
