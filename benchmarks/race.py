"""What a race costs: arms together against one after the other, and a whole race on digits.

python -m benchmarks.race            both; about two minutes
python -m benchmarks.race together   8 arms of equal shapes, paired
python -m benchmarks.race digits     5 arms, 3 seeds, 20 sigmoid layers on digits, on every core

On two busy cores (load 3 to 4, torch 2.13), medians of 5 pairs in processor time, 8 arms together over one after the
other: 0.31 for 3 layers of 16 units, 0.38 for 3 of 64, 0.36 for 8 of 16; over 150 steps 0.33 for 20 of 32 and for 12 of
16. The race on digits took 30 s in one process and 25 s in two.
"""

import functools
import statistics
import sys
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.engines import Job, engine_of
from fadeout.engines.keeper import Keeper, one_thread

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
ARMS, STEPS, PAIRS = 8, 300, 5  # steps: the horizon of a case that names none


def stack(depth: int, width: int, activation: type[nn.Module]) -> nn.Sequential:
    """Digits through `depth` hidden layers."""
    layers: list[nn.Module] = [nn.Linear(64, width), activation()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def digits_case(
    depth: int, width: int = 32, activation: type[nn.Module] = nn.Sigmoid, steps: int = 300
) -> fadeout.Case:
    """A classifier of digits with Adam."""
    from benchmarks.truth.data import flat_digits

    return fadeout.Case(
        functools.partial(stack, depth, width, activation), flat_digits(64, 25), F.cross_entropy,
        functools.partial(torch.optim.Adam, lr=1e-3), steps=steps, name=f"digits, {depth} x {activation.__name__}",
    )  # fmt: skip


def seconds(name: str, case: fadeout.Case) -> tuple[float, list[float]]:
    """Time of 8 arms to STEPS, and their skill."""
    engine = engine_of(name, functools.partial(Keeper, case))
    jobs = [Job(arm=f"arm {n}", treatment=None, seed=n, stop=STEPS, goes_on=False) for n in range(ARMS)]
    begun = time.process_time()  # of one thread: what else runs on the machine does not count
    pieces = sorted(engine.run(jobs), key=lambda piece: piece.seed)
    spent = time.process_time() - begun
    engine.close()
    return spent, [piece.skill for piece in pieces]


def together() -> None:
    """8 arms together over one after the other, in pairs."""
    for depth, width in ((3, 16), (3, 64), (8, 16), (20, 32)):
        case = digits_case(depth, width, nn.Tanh)
        shares, gaps = [], []
        with one_thread():
            for _ in range(PAIRS):
                alone, skills = seconds("here", case)
                joint, others = seconds("together", case)
                shares.append(joint / alone)
                gaps.append(max(abs(a - b) for a, b in zip(skills, others, strict=True)))
        print(
            f"{ARMS} arms of {depth} x {width}: {statistics.median(shares):.2f} of the time one after the other "
            f"({min(shares):.2f} to {max(shares):.2f}; {alone:.1f} s alone); skills differ by {max(gaps):.3f} at most",
            flush=True,
        )


def digits() -> None:
    """A whole race: 5 arms, 3 seeds."""
    import race_cases as rc

    case = digits_case(20)
    arms = [rc.ReluHe(), rc.Redrawn(), rc.Smaller(), rc.NewOptimizer(), rc.Bundle()]
    for name in ("here", "processes", "together"):
        begun = time.perf_counter()
        trial = rc.race(case, *arms, engine=name)
        print(f"digits, 5 arms, 3 seeds, engine {name}: {time.perf_counter() - begun:.1f} s; {trial!r}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    if "digits" not in sys.argv:
        together()
    if "together" not in sys.argv:
        digits()
