"""What watching costs: the time of a training step with a watch over one without, beside the peers.

    python benchmarks/watch.py [--page docs/watching-cost.md] [--quick]

Two equal copies of a network are trained in turn, a block of steps of one and a block of the other, so that a machine
whose speed drifts does not matter. A ratio is the median over pairs of blocks; *with probes* is the whole time of all
blocks over that of the plain ones, the first probes, which are on credit, left aside. Peers that are not installed
are left out: `pip install wandb torch-module-monitor`.
"""

import argparse
import contextlib
import copy
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout.store.runs import Runs, blob

PAIRS = 9
Step = Callable[[], None]


def mlp() -> tuple[nn.Module, Tensor, Tensor]:
    layers: list[nn.Module] = []
    for i in range(50):
        layers += [nn.Linear(64 if i == 0 else 256, 256), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(256, 10)), torch.randn(256, 64), torch.randint(0, 10, (256,))


def resnet() -> tuple[nn.Module, Tensor, Tensor]:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        num_labels=10, depths=[2, 2, 2, 2], layer_type="basic", hidden_sizes=[32, 64, 128, 256], embedding_size=32
    )

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = ResNetForImageClassification(config)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).logits

    return Logits(), torch.randn(16, 3, 96, 96), torch.randint(0, 10, (16,))


class Decoder(nn.Module):
    """The shape of a small GPT."""

    def __init__(self) -> None:
        super().__init__()
        self.symbol, self.place = nn.Embedding(1000, 256), nn.Embedding(128, 256)
        layer = nn.TransformerEncoderLayer(
            256, 4, 1024, dropout=0.0, batch_first=True, norm_first=True, activation="gelu"
        )
        self.blocks, self.head = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False), nn.Linear(256, 1000)

    def forward(self, ids: Tensor) -> Tensor:
        ahead = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        stream = self.symbol(ids) + self.place.weight[: ids.shape[1]]
        return self.head(self.blocks(stream, mask=ahead, is_causal=True)).transpose(1, 2)


def decoder() -> tuple[nn.Module, Tensor, Tensor]:
    ids = torch.randint(0, 1000, (4, 128))
    return Decoder(), ids, ids.roll(-1, 1)


NETWORKS = {"MLP 50 x 256": mlp, "ResNet, 16 x 96 x 96": resnet, "GPT 6 x 256, 4 x 128 tokens": decoder}


def stepper(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, compiled: bool) -> Step:
    call = torch.compile(model) if compiled else model

    def step() -> None:
        loss = F.cross_entropy(call(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


@contextmanager
def ours(model: nn.Module, optimizer: Any) -> Iterator[Any]:
    with (
        tempfile.TemporaryDirectory() as folder,
        fadeout.watch(model, optimizer, store=Path(folder) / "run.db", live=False) as seen,
    ):
        yield seen


@contextmanager
def by_items(model: nn.Module, optimizer: Any) -> Iterator[Any]:
    """What people write: the norm of every gradient as a Python number."""

    def hook(optimizer: Any, args: Any, kwargs: Any) -> None:
        for p in model.parameters():
            if p.grad is not None:
                p.grad.norm().item()

    handle = optimizer.register_step_pre_hook(hook)
    yield None
    handle.remove()


@contextmanager
def by_wandb(model: nn.Module, optimizer: Any) -> Iterator[Any]:
    import wandb

    with tempfile.TemporaryDirectory() as folder:
        run = wandb.init(dir=folder, mode="offline", project="benchmark")
        wandb.watch(model, log="gradients", log_freq=100)
        handle = optimizer.register_step_post_hook(lambda o, a, k: run.log({}))
        yield None
        handle.remove()
        wandb.unwatch(model)
        run.finish()


@contextmanager
def by_monitor(model: nn.Module, optimizer: Any) -> Iterator[Any]:
    from torch_module_monitor import ModuleMonitor

    monitor = ModuleMonitor(monitor_step_fn=lambda step: True)
    monitor.set_module(model)
    monitor.add_gradient_metric("norm", lambda g: g.norm())
    steps = [0]
    monitor.begin_step(0)

    def before(o: Any, a: Any, k: Any) -> None:
        monitor.monitor_gradients()

    def after(o: Any, a: Any, k: Any) -> None:
        monitor.end_step()
        steps[0] += 1
        monitor.begin_step(steps[0])

    handles = [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]
    yield None
    for handle in handles:
        handle.remove()


WAYS: dict[str, Any] = {
    "fadeout.watch": ours,
    "p.grad.norm().item()": by_items,
    "wandb.watch": by_wandb,
    "torch-module-monitor": by_monitor,
}


def measured(network: str, way: str, compiled: bool, pairs: int) -> tuple[float, float, float, str] | None:
    """(ms of a plain step, ratio of a step, ratio of all the time, what ours did)."""
    torch.manual_seed(0)
    model, x, y = NETWORKS[network]()
    twin = copy.deepcopy(model)
    a = torch.optim.Adam(model.parameters(), 1e-4)
    b = torch.optim.Adam(twin.parameters(), 1e-4)
    plain, seen = stepper(model, a, x, y, compiled), stepper(twin, b, x, y, compiled)
    try:
        context = WAYS[way](twin, b)
        watch = context.__enter__()
    except ImportError:
        return None
    try:
        for _ in range(3):
            plain()
            seen()
        begun = time.process_time()
        plain()
        block = max(5, min(60, round(0.6 / max(1e-4, time.process_time() - begun))))
        if watch is not None:  # the probes on credit
            until = time.monotonic() + 12
            while watch.budget.allows_probe() and watch.budget.passed() < 300 and time.monotonic() < until:
                for _ in range(4):
                    seen()
        ratios, whole = [], [0.0, 0.0]
        steps: tuple[list[float], list[float]] = ([], [])
        for _ in range(pairs):
            took = []
            for which, step in enumerate((plain, seen)):
                times = []
                for _ in range(block):
                    begun = time.process_time()
                    step()
                    times.append(time.process_time() - begun)
                took.append(statistics.median(times))
                whole[which] += sum(times)
                steps[which].append(took[-1])
            ratios.append(took[1] / took[0])
        done = ""
        if watch is not None:
            track = watch.tracks[0]
            done = f"norms every {track.pace.every} steps" if track.pace.every > 1 else "norms every step"
        return 1000 * statistics.median(steps[0]), statistics.median(ratios), whole[1] / whole[0], done
    finally:
        with contextlib.suppress(Exception):
            context.__exit__(None, None, None)


def store_costs() -> str:
    """Microseconds and bytes for 1,000 layers and one step."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.db"
        runs = Runs(path)
        track = runs.track("0:1", "net", "Adam", [f"layer {i}" for i in range(1000)], sharded=False)
        values, steps = blob([1.0] * 1000), 1500
        begun = time.process_time()
        for start in range(0, steps, 50):
            bins = [("gradient", s, s, values, None) for s in range(start + 1, start + 51)]
            runs.add(track, bins, steps=start + 50, skipped=0)
        took = time.process_time() - begun
        runs.close()
        size = path.stat().st_size
    return (
        f"The store: {1e6 * took / steps:.0f} us and {size / steps:,.0f} bytes for 1,000 layers and one step, "
        "before older samples are joined."
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--page", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pairs = 3 if arguments.quick else PAIRS
    lines = [
        "# What watching costs",
        "",
        "This page is written by `python benchmarks/watch.py --page docs/watching-cost.md`.",
        "",
        (__doc__ or "").split("\n\n", 2)[2].strip(),
        "",
        f"torch {torch.__version__}, one thread, {pairs} pairs of blocks",
        "",
        "| network | | plain step | " + " | ".join(WAYS) + " | ours with probes | |",
        "|---|---|---:|" + "---:|" * len(WAYS) + "---:|---|",
    ]
    for network in NETWORKS:
        for compiled in (False,) if arguments.quick else (False, True):
            cells, plain, whole, done = [], float("nan"), "", ""
            for way in WAYS:
                found = measured(network, way, compiled, pairs)
                if found is None:
                    cells.append("not installed")
                    continue
                plain, ratio, all_of_it, said = found
                cells.append(f"x{ratio:.3f}")
                if way == "fadeout.watch":
                    whole, done = f"x{all_of_it:.3f}", said
            kind = "compiled" if compiled else "eager"
            lines.append(f"| {network} | {kind} | {plain:.1f} ms | {' | '.join(cells)} | {whole} | {done} |")
            print(lines[-1], file=sys.stderr, flush=True)
    lines += ["", store_costs()]
    text = "\n".join(lines) + "\n"
    if arguments.page is not None:
        arguments.page.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
