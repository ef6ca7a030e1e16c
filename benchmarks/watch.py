"""What watching costs: the time of a training step with a watch over one without, beside the peers.

    python benchmarks/watch.py [--page docs/watching-cost.md] [--quick] [--device cuda]

Two equal copies of a network are trained in turn, a step of one and a step of the other, so that a machine whose speed
drifts does not matter. A ratio is the processor's time of all watched steps over that of all plain ones, with the
range that 95 of 100 resamplings of the pairs give; steps that are probed are left out of it. *With probes* holds them
too, but not the first ones, which are on credit (3 seconds). On a GPU ten steps of one and ten of the other are timed
by the clock, between two synchronisations. Peers that are not installed are left out: `pip install
wandb torch-module-monitor`.
"""

import argparse
import contextlib
import copy
import os
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from watched_networks import GPT2, NETWORKS, mlp

import fadeout
from fadeout.store.runs import Runs, blob

BLOCK = 10  # steps that are timed together on a GPU
SECONDS = 40.0  # of steps, for one way and network
Step = Callable[[], None]


def stepper(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, compiled: bool) -> Step:
    call = torch.compile(model) if compiled else model
    half = x.is_cuda and x.dtype is torch.int64

    def step() -> None:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
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


@dataclass
class Cost:
    """Of one way to watch."""

    plain: float  # ms of a step
    step: float  # ratio of a step that is not probed, over a plain one
    low: float
    high: float
    whole: float  # ratio with the probes
    done: str  # what ours did


def measured(network: str, way: str, compiled: bool, seconds: float, device: torch.device) -> Cost | None:
    """None where the peer is not installed."""
    torch.manual_seed(0)
    model, x, y = (part.to(device) for part in NETWORKS[network]())
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
        warm(plain, seen, watch)
        pairs = run_pairs(plain, seen, watch, seconds, device)
        ordinary = [(p, s) for p, s, probed in pairs if not probed]
        low, high = interval(ordinary)
        done = ""
        if watch is not None:
            every = watch.tracks[0].pace.every
            done = f"norms every {every} steps" if every > 1 else "norms every step"
        return Cost(
            plain=1000 * statistics.median(p for p, _ in ordinary),
            step=over(ordinary),
            low=low,
            high=high,
            whole=over([(p, s) for p, s, _ in pairs]),
            done=done,
        )
    finally:
        with contextlib.suppress(Exception):
            context.__exit__(None, None, None)


def warm(plain: Step, seen: Step, watch: Any) -> None:
    """The first steps, and the probes that are on credit."""
    for _ in range(3):
        plain()
        seen()
    if watch is not None:
        until = time.monotonic() + 12
        while watch.budget.allows_probe() and watch.budget.passed() < 300 and time.monotonic() < until:
            for _ in range(4):
                seen()


def run_pairs(
    plain: Step, seen: Step, watch: Any, seconds: float, device: torch.device
) -> list[tuple[float, float, bool]]:
    """Seconds of the processor for a plain and a watched step, in turn, and whether the second one was probed.

    The watch's clock stands still while the plain one runs: it is to spend a share of its own training's time.
    """
    found: list[tuple[float, float, bool]] = []
    until = time.monotonic() + seconds

    def timed(step: Step) -> float:
        if device.type == "cpu":
            begun = time.process_time()
            step()
            return time.process_time() - begun
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(BLOCK):
            step()
        torch.cuda.synchronize()
        return (time.perf_counter() - begun) / BLOCK

    while time.monotonic() < until:
        took = {}
        probed = len(watch.tracks[0].prober.readings) if watch is not None else 0
        for step in (plain, seen) if len(found) % 2 else (seen, plain):
            begun = time.perf_counter()
            took[step] = timed(step)
            if watch is not None and step is plain:
                passed = time.perf_counter() - begun
                watch.budget.begun += passed
                watch.tracks[0].pace._ended += passed
        after = len(watch.tracks[0].prober.readings) if watch is not None else 0
        found.append((took[plain], took[seen], after > probed))
    return found


def over(pairs: Sequence[tuple[float, float]]) -> float:
    """Time of all watched steps over that of the plain ones."""
    return sum(s for _, s in pairs) / sum(p for p, _ in pairs)


def interval(pairs: Sequence[tuple[float, float]], draws: int = 1000) -> tuple[float, float]:
    """Where the ratio lies in 95 of 100 draws of the pairs with replacement."""
    chance = random.Random(0)
    found = sorted(over(chance.choices(pairs, k=len(pairs))) for _ in range(draws))
    return found[int(0.025 * draws)], found[int(0.975 * draws)]


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


def disturbances(device: torch.device) -> str:
    """What an ordinary step of a compiled network waits for and compiles anew because of the watch."""
    (graphs, breaks, waits), (more, more_breaks, more_waits) = (
        counted(device, watched=False),
        counted(device, watched=True),
    )
    waited_for = f", {more_waits - waits} synchronisations in 20 steps" if device.type == "cuda" else ""
    return f"Added by the watch: {more_breaks - breaks} graph breaks, {more - graphs} recompiled graphs{waited_for}."


def counted(device: torch.device, *, watched: bool) -> tuple[int, int, int]:
    """Compiled graphs and graph breaks of 26 steps, synchronisations in the last 20, none of which is probed."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    model, x, y = (part.to(device) for part in mlp())
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    step = stepper(model, optimizer, x, y, compiled=True)
    with ours(model, optimizer) if watched else contextlib.nullcontext() as watch:
        for _ in range(6):
            step()
        if watch is not None:
            watch.tracks[0]._next = 10**9
        waits = waited(step, 20, device)
    counters = torch._dynamo.utils.counters
    return counters["stats"]["unique_graphs"], sum(counters["graph_break"].values()), waits


def waited(step: Step, times: int, device: torch.device) -> int:
    """How often so many steps wait for the GPU."""
    if device.type == "cpu":
        for _ in range(times):
            step()
        return 0
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            for _ in range(times):
                step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(w.message) for w in seen)


def row(network: str, compiled: bool, seconds: float, device: torch.device) -> str:
    """A line of the table."""
    costs = [measured(network, way, compiled, seconds, device) for way in WAYS]
    cells = [
        "not installed" if cost is None else f"x{cost.step:.3f} [{cost.low:.3f}, {cost.high:.3f}]" for cost in costs
    ]
    mine = costs[0]
    assert mine is not None
    kind = "compiled" if compiled else "eager"
    return f"| {network} | {kind} | {mine.plain:.1f} ms | {' | '.join(cells)} | x{mine.whole:.3f} | {mine.done} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of steps, for each figure")
    parser.add_argument("--only", action="append", default=[], help="networks whose names begin so")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seconds = 8.0 if arguments.quick else arguments.seconds
    device = torch.device(arguments.device)
    where = torch.cuda.get_device_name() if device.type == "cuda" else "one thread"
    lines = [
        "# What watching costs",
        "",
        "This page is written by `python benchmarks/watch.py --page docs/watching-cost.md`.",
        "",
        (__doc__ or "").split("\n\n", 2)[2].strip(),
        "",
        f"torch {torch.__version__}, {where}, {seconds:.0f} s of steps for each figure",
        "",
        "| network | | plain step | " + " | ".join(WAYS) + " | ours with probes | |",
        "|---|---|---:|" + "---:|" * len(WAYS) + "---:|---|",
    ]
    for network in NETWORKS:
        if (network == GPT2 and device.type == "cpu") or not network.startswith(tuple(arguments.only) or ""):
            continue
        for compiled in (False,) if arguments.quick else (False, True):
            lines.append(row(network, compiled, seconds, device))
            print(lines[-1], file=sys.stderr, flush=True)
    lines += ["", disturbances(device), "", store_costs()]
    text = "\n".join(lines) + "\n"
    if arguments.page is not None:
        arguments.page.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
