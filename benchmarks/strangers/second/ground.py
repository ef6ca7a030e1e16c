"""Truth of the second set by training.

python -m benchmarks.strangers.second.ground          trains what ground.json does not hold yet, and counts
python -m benchmarks.strangers.second.ground --all    trains everything again

Case and twin are trained from two starts and judged as in benchmarks/truth/ground.py; nothing is tuned on this set.
"""

import sys
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
from benchmarks.strangers.second import cases, truths
from benchmarks.truth.case import Case
from benchmarks.truth.draw import spell_out
from benchmarks.truth.ground import judge, load, run

STORE = Path(__file__).with_name("ground.json")


def drawn() -> list[tuple[str, Case]]:
    """(family, case) of every case that training confirmed, as training showed it."""
    shown = load(STORE)
    if not shown:
        raise FileNotFoundError("drawn: there is no ground.json; run python -m benchmarks.strangers.second.ground")
    rows: list[tuple[str, Case]] = []
    told = truths()
    for case in cases():
        word = judge(case, shown[case.name]) if case.name in shown else "dropped"
        if word == "dropped":
            continue
        if word != case.group:  # training shows that the change does no harm
            case = replace(case, group="healthy", labels=("flows",), where=(), causes=())
        rows.append((told[case.name].family, spell_out(case)))
    return rows


def main() -> None:
    """Train what is missing, then counts by group, label and family."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    found = cases()
    names = {case.name for case in found}
    assert len(names) == len(found), "two cases have the same name"
    shown = {} if "--all" in sys.argv else {k: v for k, v in load(STORE).items() if k in names}
    run(found, shown, STORE)
    rows = drawn()
    counts = Counter((case.group, case.labels[0], family) for family, case in rows)
    print(f"{'group':10} {'label':12} {'family':8} confirmed")
    for key in sorted(counts):
        print(f"{key[0]:10} {key[1]:12} {key[2]:8} {counts[key]:9}")
    print(f"{len(rows)} of {len(found)} confirmed, from {len({case.program for _, case in rows})} programs")


if __name__ == "__main__":
    main()
