"""Depth dilution: how evenly the blocks of a Pre-LN language model carry the gradient, before and after training.

    python benchmarks/depth.py            8 and 16 transformer layers, 400 steps each
    python benchmarks/depth.py --long     32 layers as well
    python benchmarks/depth.py --quick    8 layers, 20 steps: does it run

The published table counts a whole transformer layer, attention and MLP, as one block.  The exam
counts residual additions, two a layer.  So each trained network is examined twice with the same
weights: as it is usually written, and written x + f(x) with one addition a layer, which computes
the same and gives the published share.
"""

import argparse
import pydoc_data.topics
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout import Exam

WIDTH, LENGTH, BATCH, STEPS, RATE, WARMUP = 64, 64, 8, 400, 1e-3, 30
TEXT = "\n".join(pydoc_data.topics.topics[key] for key in sorted(pydoc_data.topics.topics))
SYMBOLS = sorted(set(TEXT))
CODE = {symbol: n for n, symbol in enumerate(SYMBOLS)}
IDS = torch.tensor([CODE[symbol] for symbol in TEXT])
CUT = int(0.9 * len(IDS))  # text before it is trained on, text behind it is held out


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table: shares and costs by quarter of depth, data side first.

    Attributes:
        loss: On held-out text, nats a character.
        start, end: Mean share of a block in each quarter, before and after training.
        n_start, n_end: Effective blocks, (sum s)^2 / sum s^2.
        added: Nats lost when quarter 1, 3 or 4 is skipped; the first layer always stays.
        q: Mean square of the stream at the end, after training.
    """

    loss: float
    start: tuple[float, ...]
    end: tuple[float, ...]
    n_start: float
    n_end: float
    added: tuple[float, ...]
    q: float


# An earlier trial, one seed; 32 layers stopped at 356 steps there.
PUBLISHED = {
    8: Row(loss=2.295, start=(0.60, 0.28, 0.19, 0.12), end=(0.60, 0.26, 0.13, 0.053), n_start=5.5, n_end=4.7,
           added=(0.35, 0.05, 0.19), q=52),
    16: Row(loss=2.294, start=(0.47, 0.16, 0.09, 0.06), end=(0.46, 0.11, 0.034, 0.0056), n_start=8.1, n_end=5.7,
            added=(0.47, 0.03, 0.12), q=168),
    32: Row(loss=2.301, start=(0.32, 0.09, 0.054, 0.035), end=(0.31, 0.05, 0.015, 0.0014), n_start=13.2, n_end=7.9,
            added=(0.57, 0.03, 0.13), q=573),
}  # fmt: skip


class Attend(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, 4, WIDTH // 4)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Think(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(self.norm(x))))


class Branches(nn.Module):
    """f of x + f(x): what a whole layer adds to the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.attend, self.think = Attend(), Think()

    def forward(self, x: Tensor) -> Tensor:
        attended = self.attend(x)
        return attended + self.think(x + attended)


class Layer(nn.Module):
    """A transformer layer as it is usually written: two additions."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = Branches()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.branches.attend(x)
        return x + self.branches.think(x)


class WholeLayer(Layer):
    """The same function as one addition, whose share is the published one."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branches(x)


class Characters(nn.Module):
    """A causal language model over characters: variance-preserving weights, zero biases."""

    def __init__(self, depth: int, layer: Callable[[], nn.Module] = Layer) -> None:
        super().__init__()
        self.symbol, self.place = nn.Embedding(len(SYMBOLS), WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.layers = nn.Sequential(*(layer() for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(SYMBOLS), bias=False)
        for name, module in self.named_modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.7)
            if isinstance(module, nn.Linear):
                gain = 2**0.5 if name.endswith("down") else 1.0
                nn.init.normal_(module.weight, std=gain * module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, ids: Tensor) -> Tensor:
        stream = self.symbol(ids) + self.place.weight[: ids.shape[1]]
        return self.head(self.norm(self.layers(stream)))


def seeded(depth: int, seed: int = 0) -> Characters:
    torch.manual_seed(seed)
    return Characters(depth)


def batch(draw: torch.Generator, *, rows: int = BATCH, held_out: bool = False) -> tuple[Tensor, Tensor]:
    low, high = (CUT, len(IDS) - LENGTH - 1) if held_out else (0, CUT - LENGTH - 1)
    at = torch.randint(low, high, (rows, 1), generator=draw) + torch.arange(LENGTH + 1)
    return IDS[at][:, :-1], IDS[at][:, 1:]


def nats(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out.flatten(0, 1), y.flatten())


def layer_shares(model: Characters, data: tuple[Tensor, Tensor]) -> list[float]:
    """Branch share of every whole transformer layer, data side first."""
    whole = Characters(len(model.layers), WholeLayer)
    whole.load_state_dict(model.state_dict())
    found = fadeout.examine(whole, data, loss=nats).effective_blocks
    assert found is not None
    shares = {block.path: block.share for block in found.blocks}
    return [shares[f"layers.{n}"] for n in range(len(model.layers))]


def effective(shares: Sequence[float]) -> float:
    return sum(shares) ** 2 / sum(s * s for s in shares)


def quarters(values: Sequence[float]) -> tuple[float, ...]:
    """Means over each quarter of depth."""
    n = len(values) // 4
    return tuple(sum(values[i * n : (i + 1) * n]) / n for i in range(4))


@torch.no_grad()
def skipped(model: Characters, data: list[tuple[Tensor, Tensor]]) -> tuple[float, tuple[float, ...]]:
    """Loss on held-out text, and what skipping quarter 1, 3 or 4 adds to it."""

    def loss(left_out: range) -> float:
        kept = model.layers
        model.layers = nn.Sequential(*(layer for n, layer in enumerate(kept) if n not in left_out))
        found = sum(float(nats(model(x), y)) for x, y in data) / len(data)
        model.layers = kept
        return found

    n = len(model.layers)
    whole = loss(range(0))
    parts = (range(1, 1 + n // 4), range(n // 2, 3 * n // 4), range(3 * n // 4, n))
    return whole, tuple(loss(part) - whole for part in parts)


@torch.no_grad()
def stream_variance(model: Characters, x: Tensor) -> float:
    """Mean square of what enters the last norm."""
    seen: list[float] = []
    hook = model.norm.register_forward_pre_hook(lambda _, args: seen.append(float(args[0].square().mean())))
    model(x)
    hook.remove()
    return seen[0]


def run(depth: int, steps: int) -> tuple[Row, list[Exam]]:
    """Train one network; the row, and the exams of it as written, before and after."""
    model, draw = seeded(depth), torch.Generator().manual_seed(0)
    fixed = batch(torch.Generator().manual_seed(9), held_out=True)
    start, before = layer_shares(model, fixed), fadeout.examine(model, fixed, loss=nats)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.95), weight_decay=0.01)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP)
        x, y = batch(draw)
        optimizer.zero_grad()
        nats(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    end, after = layer_shares(model, fixed), fadeout.examine(model, fixed, loss=nats)
    held_out = torch.Generator().manual_seed(9)
    loss, added = skipped(model, [batch(held_out, rows=16, held_out=True) for _ in range(2)])
    row = Row(
        loss=loss, start=quarters(start), end=quarters(end), n_start=effective(start), n_end=effective(end),
        added=added, q=stream_variance(model, fixed[0]),
    )  # fmt: skip
    return row, [before, after]


def line(name: str, row: Row) -> str:
    def few(values: Sequence[float]) -> str:
        return " ".join(f"{v:.2g}" for v in values)

    return (
        f"| {name} | {row.loss:.3f} | {few(row.start)} | {few(row.end)} | {row.n_start:.1f} > {row.n_end:.1f} "
        f"| {few(row.added)} | {row.q:.0f} |"
    )


def spread(depth: int, draws: int) -> str:
    """N at the start over initial draws, on the same batch: how much one seed says."""
    fixed = batch(torch.Generator().manual_seed(9), held_out=True)
    found = [effective(layer_shares(seeded(depth, seed), fixed)) for seed in range(draws)]
    return f"{statistics.fmean(found):.1f} +- {statistics.stdev(found):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--long", action="store_true", help="32 layers as well")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps = 20 if options.quick else STEPS
    draws = 2 if options.quick else 16
    depths = (8,) if options.quick else (8, 16, 32) if options.long else (8, 16)
    print(f"Pre-LN, d {WIDTH}, T {LENGTH}, batch {BATCH}, AdamW {RATE:g}, clip 1, {steps} steps, one seed\n")
    print("| layers | held-out loss | share by quarter, start | end | N start > end | added by skipping Q1 Q3 Q4 | q |")
    print("|---|---:|---|---|---:|---|---:|")
    notes: list[str] = []
    for depth in depths:
        begun = time.process_time()
        row, exams = run(depth, steps)
        taken = time.process_time() - begun
        print(line(f"{depth}", row))
        print(line(f"{depth}, published", PUBLISHED[depth]), flush=True)
        found = [exam.effective_blocks for exam in exams]
        n = " > ".join(f"{blocks.n:.1f}" for blocks in found if blocks is not None)
        counted = len(found[0].blocks) if found[0] is not None else 0
        decades = " > ".join(f"{exam.decades:+.2f}" for exam in exams)
        notes.append(
            f"- {depth} layers as written: {counted} additions, N {n}; decades {decades}, verdict "
            f"{' > '.join(exam.verdict for exam in exams)}; whole layers at the start over {draws} draws: "
            f"N {spread(depth, draws)}; training {taken:.0f} s"
        )
    print("", *notes, sep="\n")


if __name__ == "__main__":
    main()
