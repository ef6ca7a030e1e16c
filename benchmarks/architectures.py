"""What `examine` says of standard architectures, at their default initialisation.

    python benchmarks/architectures.py [--size small own] [--only NAME ...] [--train 30]

Every model is built from its configuration and read with one random batch and one seed, in a process of its own.
The table goes to docs/architectures.md.  A verdict other than "flows" is followed by training: does the loss fall?
"""

import argparse
import gc
import json
import resource
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import transformers
from benchmarks import handwritten
from benchmarks.families import BATCHES, CLASSES, SIZES, WORDS, Family, families, ids
from torch import nn

import fadeout

MEMORY = 5 * 2**30  # bytes a model may take, the library included
PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"


def build(family: Family, size: str) -> tuple[nn.Module, Any, dict[str, Any]]:
    """Model, batch, and what else `examine` takes."""
    torch.manual_seed(0)
    if not family.head:
        model, side = handwritten.NETWORKS[family.name](size)
        rows = 4 if size == "small" else 2
        x = ids() if family.kind == "words" else torch.randn(rows, 3, side, side)
        return model, (x, torch.arange(rows) % CLASSES), {"loss": handwritten.loss}
    changes = dict(getattr(family, size))
    if family.kind not in ("pairs", "series"):
        changes |= {"num_labels": CLASSES}
        if family.name == "FSMT":
            changes.pop("num_labels")
    if family.kind in ("text", "language", "translation", "dictation"):
        changes |= {"vocab_size": WORDS, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        changes |= {"decoder_start_token_id": 3}
        if family.name == "FSMT":
            changes |= {"src_vocab_size": WORDS, "tgt_vocab_size": WORDS, "langs": ["en", "de"]}
        if family.name == "Whisper":
            changes |= {"suppress_tokens": None, "begin_suppress_tokens": None}
    kind = {"Gemma3": "Gemma3Text"}.get(family.name, family.name)
    config = getattr(transformers, f"{kind}Config")(**changes)
    config._attn_implementation = "eager" if family.name in ("Mra", "Yoso") else None
    model = getattr(transformers, family.name + family.head)(config).train()
    return model, BATCHES[family.kind](config, size), {}


def examined(family: Family, size: str, train: int) -> dict[str, Any]:
    """One line of the table."""
    row: dict[str, Any] = {"name": family.name + family.head, "size": size}
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    transformers.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, batch, options = build(family, size)
            row["parameters"] = sum(p.numel() for p in model.parameters())
            begun = time.perf_counter()
            exam = fadeout.examine(model, batch, **options)
            row |= {
                "seconds": time.perf_counter() - begun,
                "verdict": exam.verdict,
                "decades": exam.decades,
                "sentence": exam.sentence,
                "findings": [(f.code, f.level, f.claim) for f in exam.findings],
            }
            if exam.verdict != "flows" and train:
                row["losses"] = trained(model, batch, options, train)
    except Exception as error:
        row["error"] = f"{type(error).__name__}: {error}"[:300]
    gc.collect()
    return row


def trained(model: nn.Module, batch: Any, options: dict[str, Any], steps: int) -> list[float]:
    """Losses of training on the same batch: a network that its gradient reaches learns it by heart."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-4)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = options["loss"](model(batch[0]), batch[1]) if options else model(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--train", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None, help="one line a model")
    given = parser.parse_args(arguments)
    rows = []
    jobs = [
        (family, size)
        for family in families()
        for size in given.size
        if not given.only or family.name + family.head in given.only or family.name in given.only
    ]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=12) as pool:
        for family, size in jobs:
            row = pool.submit(examined, family, size, given.train).result()
            rows.append(row)
            if given.json:
                with given.json.open("a") as out:
                    out.write(json.dumps(row) + "\n")
            print(row["name"], size, row.get("verdict", ""), f"{row.get('decades', float('nan')):+.1f}",
                  f"{row.get('seconds', 0):.1f} s", row.get("error", ""), flush=True)  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
