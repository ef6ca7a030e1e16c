"""What a measurement costs: ratios of paired runs over a plain forward + backward.

    python benchmarks/cost.py            the table, as Markdown
    python benchmarks/cost.py --quick    three networks, few runs

First networks as they are trained; then ten model classes of transformers as small as they come, where a node is
a few microseconds of work and what counts is the cost of a node.

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
from fadeout import measure

PROSE = """\
# What a measurement costs

This page is written by `make bench` (`python benchmarks/cost.py --page docs/cost.md`). Every measured run is paired
with a plain one right before it, so the ratios hold although the speed of the machine drifts.

- *plain* is one forward and one backward pass without fadeout; *nodes* counts the operations that autograd recorded.
- *measure* (the account alone) and *examine* (a whole exam of one step) are given as multiples of the plain pass. They
  contain a pass of their own: x1.2 means that a measurement takes 20 % longer than training's own pass does.
- *us a node* is the time beyond the plain pass, in microseconds for each node. It decides the cost of networks with
  thousands of tiny operations.
- Memory is the peak of live tensors, as a multiple of the plain pass's peak where it begins with x.

"""


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
            bos_token_id=None, eos_token_id=None,
                    use_cache=False,
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
        options.page.write_text(PROSE + page.getvalue())


class Tee(io.TextIOBase):
    """Writes to several places at once."""

    def __init__(self, *places: IO[str]) -> None:
        self.places = places

    def write(self, text: str) -> int:
        for place in self.places:
            place.write(text)
            place.flush()
        return len(text)


def transformers_classes() -> dict[str, tuple[nn.Module, dict[str, Tensor]]]:
    """Ten model classes with batches that carry their own labels, random weights, tens of thousands of parameters."""
    import transformers as hf

    hf.logging.set_verbosity_error()
    torch.manual_seed(0)
    ids, images = torch.randint(0, 100, (4, 16)), torch.randn(2, 3, 32, 32)
    text, picture = {"input_ids": ids, "labels": ids}, {"pixel_values": images, "labels": torch.tensor([0, 1])}
    common = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 100,
    }  # fmt: skip
    vision = {key: value for key, value in common.items() if key != "vocab_size"}
    stages = {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1], "num_labels": 3}
    return {
        "BertForMaskedLM": (hf.BertForMaskedLM(hf.BertConfig(**common)), text),
        "GPT2LMHeadModel": (
            hf.GPT2LMHeadModel(
                hf.GPT2Config(
                    n_embd=32, n_layer=2, n_head=4, vocab_size=100, bos_token_id=None, eos_token_id=None,
                    use_cache=False,
                )
            ),
            text,
        ),
        "LlamaForCausalLM": (
            hf.LlamaForCausalLM(hf.LlamaConfig(**common, num_key_value_heads=2, use_cache=False)),
            text,
        ),
        "MixtralForCausalLM": (
            hf.MixtralForCausalLM(hf.MixtralConfig(**common, num_key_value_heads=2, num_local_experts=4)),
            text,
        ),
        "T5ForConditionalGeneration": (
            hf.T5ForConditionalGeneration(
                hf.T5Config(
                    d_model=32, d_ff=64, num_layers=2, num_heads=4, d_kv=8, vocab_size=100, decoder_start_token_id=0
                )
            ),
            text,
        ),
        "DistilBertForMaskedLM": (
            hf.DistilBertForMaskedLM(
                hf.DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64, vocab_size=100)
            ),
            text,
        ),
        "MambaForCausalLM": (
            hf.MambaForCausalLM(hf.MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=100, state_size=8)),
            text,
        ),
        "ViTForImageClassification": (
            hf.ViTForImageClassification(hf.ViTConfig(**vision, image_size=32, patch_size=8, num_labels=3)),
            picture,
        ),
        "ResNetForImageClassification": (
            hf.ResNetForImageClassification(hf.ResNetConfig(embedding_size=8, **stages)),
            picture,
        ),
        "ConvNextForImageClassification": (
            hf.ConvNextForImageClassification(hf.ConvNextConfig(**stages)),
            picture,
        ),
    }  # fmt: skip


def row(
    name: str,
    model: nn.Module,
    batch: object,
    loss: Callable[..., Tensor] | None,
    scalar: Callable[[], Tensor],
    runs: int,
) -> None:
    """One line of a table."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters)

    def plain() -> object:
        return torch.autograd.grad(scalar(), parameters, allow_unused=True)

    def measured() -> object:
        return measure(model, batch, loss=loss)

    def examined() -> object:
        return fadeout.examine(model, batch, loss=loss, optimizer=optimizer)

    nodes = measure(model, batch, loss=loss).nodes
    base, ratio, extra = paired(plain, measured, runs)
    _, whole, more = paired(plain, examined, runs)
    memory = peak(plain)
    print(
        f"| {name} | {base * 1e3:.0f} ms | {nodes} | x{ratio:.2f} | {extra / nodes * 1e6:.0f} | x{whole:.2f} "
        f"| {more / nodes * 1e6:.0f} | {memory / 2**20:.1f} MiB | x{peak(measured) / memory:.2f} "
        f"| x{peak(examined) / memory:.2f} |",
        flush=True,
    )


HEAD = (
    "| network | plain | nodes | measure | us a node | examine | us a node | plain memory | measure | examine |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def table(quick: bool, runs: int) -> None:
    print(f"torch {torch.__version__}, one thread, median of {runs} pairs\n")
    print(HEAD)
    for name, (model, (x, y)) in networks(quick).items():
        row(name, model, (x, y), F.cross_entropy, lambda m=model, x=x, y=y: F.cross_entropy(m(x), y), runs)  # type: ignore[misc]
    if not quick:
        print("\nTen model classes of transformers, two layers of width 32:\n")
        print(HEAD)
        for name, (model, batch) in transformers_classes().items():
            row(name, model, batch, None, lambda m=model, b=batch: m(**b).loss, runs)  # type: ignore[misc]
    print("\nThe cost of a node does not grow with depth (MLP of width 16, batch 4):\n")
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
