"""Watched programs: every drawn case trained by its own loop under a watch, against what `examine(..., steps=)` says.

python -m benchmarks.truth.watched --half tuned --misses        each disagreement, named
python -m benchmarks.truth.watched --half all --markdown docs/watched-table.md

The verdicts of `examine` are those of the readings that `benchmarks.truth.score` keeps under build/truth.
"""

import argparse
import multiprocessing
import os
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the watch said of one case; `word` is why it said nothing."""

    name: str
    verdict: str
    word: str = ""


class _Deaf:
    """Told of everything, and silent."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


_DEAF = _Deaf()


def arrive() -> None:
    """In a worker, before any program is loaded: as under `fadeout run`, programs get the wrapped loss functions."""
    from fadeout.live.losses import WRAPS

    WRAPS.add(_DEAF)  # type: ignore[arg-type]


def watch_one(name: str) -> Seen:
    """Train one case by its own loop under a watch."""
    import torch
    from benchmarks.truth.draw import drawn
    from benchmarks.truth.program import advance

    from fadeout.live.options import Options
    from fadeout.live.watch import Watch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    case = next(case for _, _, case in drawn() if case.name == name)
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(Options(store=str(Path(folder) / "run.db"), live=False, credit=60.0))
        torch.manual_seed(0)
        setup = case.build()
        watch.begin()
        word = ""
        try:
            for optimizer in [setup.optimizer] if isinstance(setup.optimizer, torch.optim.Optimizer) else []:
                watch.made(optimizer)
            advance(setup, case.steps)
        except Exception as error:  # the program's own
            word = f"{type(error).__name__}: {error}"
        watch.end()
        exam = watch.exam
        words = [w for track in watch.tracks for w in track.words]
    if exam is None:
        return Seen(name=name, verdict="none", word=(word or "; ".join(words) or "no probe")[:160])
    return Seen(name=name, verdict=exam.verdict, word=word[:160])


def main() -> None:
    from benchmarks.truth.draw import drawn
    from benchmarks.truth.score import GRADIENT, ours, wilson

    global Kept  # what is kept is unpickled by this name
    from benchmarks.truth.score import Kept

    parser = argparse.ArgumentParser()
    parser.add_argument("--half", choices=("tuned", "sealed", "all"), default="tuned")
    parser.add_argument("--misses", action="store_true", help="name each disagreement; of the tuned half only")
    parser.add_argument("--every", type=int, default=1, help="look at every so many cases")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    cases = [c for half, _, c in drawn() if arguments.half in ("all", half)][:: arguments.every]
    halves = {c.name: half for half, _, c in drawn()}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=context, initializer=arrive) as pool:
        seen = {s.name: s for s in pool.map(watch_one, [c.name for c in cases], chunksize=4)}
    same, alarm, pairs = 0, 0, Counter[tuple[str, str]]()
    for case in cases:
        ours_, live = ours(case).verdict, seen[case.name].verdict
        same += ours_ == live
        alarm += (ours_ in GRADIENT) == (live in GRADIENT)
        if ours_ != live:
            pairs[ours_, live] += 1
            if arguments.misses and halves[case.name] == "tuned":
                print(f"{case.name:44} examine {ours_:12} watch {live:12} {seen[case.name].word}")
    lines = [
        "| | programs |",
        "|---|---|",
        f"| the same verdict | {wilson(same, len(cases))} |",
        f"| the same answer to whether there is an alarm | {wilson(alarm, len(cases))} |",
        "",
        "| examine says | the watch says | programs |",
        "|---|---|---:|",
        *(f"| {a} | {b} | {n} |" for (a, b), n in pairs.most_common()),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.markdown is not None:
        arguments.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
