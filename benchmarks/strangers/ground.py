"""Truth of the strangers by training, and their halves.

python -m benchmarks.strangers.ground          trains what ground.json does not hold yet, and counts
python -m benchmarks.strangers.ground --all    trains everything again

Case and twin are trained from two starts and judged as in benchmarks/truth/ground.py. The programs of the first set
were looked at; those of the second are sealed, so that no program is seen in both halves.
"""

import sys
import warnings
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from benchmarks.strangers import cases, second, truths
from benchmarks.truth.case import Case
from benchmarks.truth.draw import spell_out
from benchmarks.truth.ground import judge, load, run

STORE = Path(__file__).with_name("ground.json")
Half = Literal["tuned", "sealed"]


def half_of(program: str) -> Half:
    """The half of a program: the first set is tuned on, the second is sealed."""
    return "sealed" if program in _second() else "tuned"


@cache
def _second() -> frozenset[str]:
    return frozenset(found.case.program for family in second.FAMILIES for found in family.strangers())


def drawn() -> list[tuple[Half, str, Case]]:
    """(half, family, case) of every case that training confirmed, as training showed it."""
    shown = load(STORE)
    if not shown:
        raise FileNotFoundError("drawn: there is no ground.json; run python -m benchmarks.strangers.ground")
    rows: list[tuple[Half, str, Case]] = []
    told = truths()
    for case in cases():
        word = judge(case, shown[case.name]) if case.name in shown else "dropped"
        if word == "dropped":
            continue
        if word != case.group:  # training shows that the change does no harm
            case = replace(case, group="healthy", labels=("flows",), where=(), causes=())
        rows.append((half_of(case.program), told[case.name].family, spell_out(case)))
    return rows


def main() -> None:
    """Train what is missing, then counts by group, label and family, a column a half."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    found = cases()
    names = {case.name for case in found}
    assert len(names) == len(found), "two cases have the same name"
    shown = {} if "--all" in sys.argv else {k: v for k, v in load(STORE).items() if k in names}
    run(found, shown, STORE)
    rows = drawn()
    counts = Counter((case.group, case.labels[0], family, half) for half, family, case in rows)
    print(f"{'group':10} {'label':12} {'family':8} tuned sealed")
    for key in sorted({key[:3] for key in counts}):
        print(f"{key[0]:10} {key[1]:12} {key[2]:8} {counts[(*key, 'tuned')]:5} {counts[(*key, 'sealed')]:6}")
    print(f"{len(rows)} of {len(found)} confirmed, from {len({case.program for _, _, case in rows})} programs")


if __name__ == "__main__":
    main()
