"""What `examine` says of standard architectures, at their default initialisation.

    python benchmarks/architectures.py [--size small own] [--only NAME ...] [--train 30] [--keep FILE]

Every model is built from its configuration and read with one random batch and one seed, one after another in worker
processes.  The table goes to docs/architectures.md.  Where the verdict is not "flows" the model is trained on the
same batch: does the loss fall?
"""

import argparse
import gc
import json
import math
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
from benchmarks.families import SIZES, Family, families
from benchmarks.noise import BATCHES, CLASSES, WORDS, ids
from torch import nn

import fadeout

RATE = 3e-4  # of the training after an alarm
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
                "shut": exam.ledger.shut,
                "sentence": exam.sentence,
                "findings": [(f.code, f.level, f.claim) for f in exam.findings],
            }
            if exam.verdict != "flows" and train:
                row["losses"] = trained(model, batch, options, train)
    except Exception as error:
        row["error"] = f"{type(error).__name__}: {error}"[:200]
    gc.collect()
    return row


def trained(model: nn.Module, batch: Any, options: dict[str, Any], steps: int) -> list[float]:
    """Losses of training on the same batch: a network that its gradient reaches learns it by heart."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = options["loss"](model(batch[0]), batch[1]) if options else model(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def page(rows: list[dict[str, Any]]) -> str:
    """docs/architectures.md."""
    done = [row for row in rows if "verdict" in row]
    alarms = [row for row in done if row["verdict"] not in ("flows", "undetermined")]
    lines = [
        "# Architectures, as they come",
        "",
        f"What does `examine` say of {len(done)} models that people use, before anything is wrong with them? Each is",
        "built from its configuration in `transformers`, with the library's own initialisation, or by hand from its",
        "paper (`benchmarks/handwritten.py`), and read once with a batch of noise, without an optimizer. *Own* is the",
        "size of the configuration's defaults, with fewer layers and a smaller vocabulary where memory demands it",
        "(`benchmarks/families.py` says which); *small* is a few layers of width 32.",
        "",
        "*Decades* is how much larger or smaller the gradient is at the first weight layer than at the last: -3 is a",
        "thousandth. *At gates* is the part of it that is lost or gained at gates of residual branches which start",
        "nearly shut, such as LayerScale at 1e-6. They open in the first steps, so that the verdict is held against",
        "what is left.",
        "",
        f"`python benchmarks/architectures.py`, with torch {torch.__version__} and transformers",
        f"{transformers.__version__}, one thread of a shared CPU.",
        "",
        f"## {len(done) - len(alarms)} without an alarm, {len(alarms)} with one",
        "",
        *([_alarm(row) for row in alarms] or ["There is no alarm."]),
        "",
        "## All",
        "",
        "| model | size | parameters | verdict | decades | at gates | seconds |",
        "|---|---|---:|---|---:|---:|---:|",
        *(_line(row) for row in done),
    ]
    return "\n".join(lines) + "\n"


def _alarm(row: dict[str, Any]) -> str:
    """One alarm, with what training the model on the same batch shows."""
    said = row["sentence"].split(". ")[0].rstrip(".")
    text = f"- **{row['name']}**, {row['size']}: {said}."
    if losses := row.get("losses"):
        text += f" AdamW with a rate of {RATE:g} takes the loss on this one batch from {losses[0]:.2f} to "
        text += f"{losses[-1]:.2f} in {len(losses)} steps."
    return text


def _line(row: dict[str, Any]) -> str:
    shut = f"{row['shut']:+.1f}" if abs(row.get("shut", 0.0)) >= 0.05 else ""
    decades = f"{row['decades']:+.1f}" if math.isfinite(row["decades"]) else "to zeros"
    count = f"{row['parameters'] / 1e6:.1f} M" if row["parameters"] > 1e5 else f"{row['parameters'] / 1e3:.0f} k"
    return f"| {row['name']} | {row['size']} | {count} | {row['verdict']} | {decades} | {shut} | {row['seconds']:.1f} |"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--only", nargs="+", default=[], help="names of models; the page is then left as it is")
    parser.add_argument("--train", type=int, default=30, help="steps to train what an alarm is raised for")
    parser.add_argument("--keep", type=Path, help="a file of results, one a line; those in it are not measured again")
    given = parser.parse_args(arguments)
    rows = [json.loads(line) for line in given.keep.open()] if given.keep and given.keep.exists() else []
    known = {(row["name"], row["size"]) for row in rows}
    jobs = [
        (family, size)
        for family in families()
        for size in given.size
        if (not given.only or family.name + family.head in given.only or family.name in given.only)
        and (family.name + family.head, size) not in known
    ]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=12) as pool:
        for family, size in jobs:
            row = pool.submit(examined, family, size, given.train).result()
            rows.append(row)
            if given.keep:
                with given.keep.open("a") as out:
                    out.write(json.dumps(row) + "\n")
            said = row.get("error") or f"{row['verdict']} {row['decades']:+.1f}, {row['seconds']:.1f} s"
            print(row["name"], size, said, flush=True)
    if not given.only:
        order = {family.name + family.head: n for n, family in enumerate(families())}
        rows.sort(key=lambda row: (order.get(row["name"], len(order)), SIZES.index(row["size"])))
        PAGE.write_text(page(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
