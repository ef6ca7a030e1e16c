"""What a measurement costs: ratios of paired runs over a plain forward + backward.

    python benchmarks/cost.py            the table, as Markdown
    python benchmarks/cost.py --quick    three networks, few runs

Times are the median over pairs of process time on one thread; each pair runs the plain pass and
the measured one right after another, so a machine whose speed drifts does not matter.  Memory is
the peak of live tensor bytes by torch's own profiler, in a separate run.
"""

import argparse
import contextlib
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout.probe import measure


class ResidualMLP(nn.Module):
    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.inside = nn.Linear(64, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(blocks)
        )
        self.out = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inside(x)
        for block in self.blocks:
            x = x + block(x)
        return self.out(x)


def mlp(depth: int, width: int, act: type[nn.Module] = nn.ReLU, gain: float = 2**0.5) -> nn.Sequential:
    layers: list[nn.Module] = []
    fan_in = 64
    for _ in range(depth):
        linear = nn.Linear(fan_in, width)
        nn.init.normal_(linear.weight, 0, gain / fan_in**0.5)
        layers += [linear, act()]
        fan_in = width
    return nn.Sequential(*layers, nn.Linear(width, 10))


def networks(quick: bool) -> dict[str, tuple[nn.Module, tuple[Tensor, Tensor]]]:
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 64, generator=draw), torch.randint(0, 10, (256,), generator=draw)
    found: dict[str, tuple[nn.Module, tuple[Tensor, Tensor]]] = {
        "MLP 50 x 256, batch 256": (mlp(50, 256), (x, y)),
        "residual MLP 50 x 256, batch 256": (ResidualMLP(256, 25), (x, y)),
        "MLP 400 x 32, batch 16 (tiny)": (mlp(400, 32, nn.Tanh, 1.1), (x[:16], y[:16])),
    }
    if quick:
        return found
    from transformers import GPT2Config, GPT2LMHeadModel, ResNetConfig, ResNetForImageClassification

    class Logits(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.inner(x).logits
            return logits.flatten(0, 1) if logits.dim() == 3 else logits

    gpt = GPT2LMHeadModel(
        GPT2Config(
            n_layer=12, n_embd=256, n_head=8, vocab_size=1000, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
            bos_token_id=None, eos_token_id=None, use_cache=False,
        )
    )  # fmt: skip
    ids = torch.randint(0, 1000, (8, 128), generator=draw)
    found["GPT-2 shape 12 x 256, 8 x 128 tokens"] = (Logits(gpt), (ids, ids.flatten()))
    resnet = ResNetForImageClassification(ResNetConfig(num_labels=10))
    images = torch.randn(4, 3, 96, 96, generator=draw)
    found["ResNet-50, 4 x 96 x 96"] = (Logits(resnet), (images, y[:4]))
    encoder = nn.Sequential(
        nn.Unflatten(1, (8, 8)),
        nn.Linear(8, 128),
        nn.TransformerEncoder(
            nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True, norm_first=True),
            6,
            enable_nested_tensor=False,
        ),
        nn.Flatten(),
        nn.Linear(1024, 10),
    )
    found["pre-LN encoder 6 x 128, batch 64"] = (encoder, (x[:64], y[:64]))
    return found


def paired(plain: Callable[[], object], other: Callable[[], object], runs: int) -> tuple[float, float, float]:
    """Median seconds of the plain run, median ratio, median extra seconds."""
    plain(), other()
    ratios, base, extra = [], [], []
    for _ in range(runs):
        a = time.process_time()
        plain()
        b = time.process_time()
        other()
        c = time.process_time()
        base.append(b - a)
        ratios.append((c - b) / (b - a))
        extra.append((c - b) - (b - a))
    return statistics.median(base), statistics.median(ratios), statistics.median(extra)


def peak(run: Callable[[], object]) -> float:
    """Peak of live tensor memory during one run, bytes, by the profiler's allocation events."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        run()
    live = highest = 0
    for event in prof.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            highest = max(highest, live)
    return highest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--page", type=Path, help="write the table there as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    page = io.StringIO()
    with contextlib.redirect_stdout(Tee(sys.stdout, page)):
        table(options.quick, options.runs)
    if options.page:
        head = "# What a measurement costs\n\nMade by `make bench` (`python benchmarks/cost.py`).\n\n"
        options.page.write_text(head + page.getvalue())


class Tee(io.TextIOBase):
    """Writes to several places at once."""

    def __init__(self, *places: IO[str]) -> None:
        self.places = places

    def write(self, text: str) -> int:
        for place in self.places:
            place.write(text)
            place.flush()
        return len(text)


def table(quick: bool, runs: int) -> None:
    print(f"torch {torch.__version__}, one thread, median of {runs} pairs\n")
    print("| network | plain | nodes | measure | us a node | measure, peak memory | examine |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, (model, batch) in networks(quick).items():
        parameters = list(model.parameters())
        x, y = batch
        optimizer = torch.optim.Adam(parameters)

        def plain(model=model, x=x, y=y, parameters=parameters) -> object:  # type: ignore[no-untyped-def]
            return torch.autograd.grad(F.cross_entropy(model(x), y), parameters)

        def measured(model=model, batch=batch) -> object:  # type: ignore[no-untyped-def]
            return measure(model, batch, loss=F.cross_entropy)

        def examined(model=model, batch=batch, optimizer=optimizer) -> object:  # type: ignore[no-untyped-def]
            return fadeout.examine(model, batch, loss=F.cross_entropy, optimizer=optimizer)

        nodes = measure(model, batch, loss=F.cross_entropy).nodes
        base, ratio, extra = paired(plain, measured, runs)
        memory = peak(measured) / peak(plain)
        whole = f"x{paired(plain, examined, runs)[1]:.2f}" if hasattr(fadeout, "examine") else "-"
        print(
            f"| {name} | {base * 1e3:.0f} ms | {nodes} | x{ratio:.2f} | {extra / nodes * 1e6:.0f} "
            f"| x{memory:.2f} | {whole} |",
            flush=True,
        )
    print("\nCost per node at growing depth (MLP of width 16, batch 4):\n")
    for depth in (100, 1_000, 10_000):
        model, x, y = mlp(depth, 16, nn.Tanh, 1.0), 0.01 * torch.randn(4, 64), torch.randint(0, 10, (4,))
        for linear in model[:-1:2]:
            nn.init.orthogonal_(linear.weight)  # keeps norms in float32's range at any depth: one pass
            nn.init.zeros_(linear.bias)
        nodes = measure(model, (x, y), loss=F.cross_entropy).nodes
        parameters = list(model.parameters())
        base, _, extra = paired(
            lambda m=model, x=x, y=y, p=parameters: torch.autograd.grad(F.cross_entropy(m(x), y), p),
            lambda m=model, x=x, y=y: measure(m, (x, y), loss=F.cross_entropy),
            max(3, 2000 // depth),
        )
        print(f"- {depth:,} layers: {extra / nodes * 1e6:.0f} us a node beyond the plain {base / nodes * 1e6:.0f} us")


if __name__ == "__main__":
    main()
