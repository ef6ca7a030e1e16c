"""The draw: candidates, a fixed random sample of those that training confirmed, in a tuned and a sealed half."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from benchmarks.truth import controls, elsewhere, faults
from benchmarks.truth.case import Case
from benchmarks.truth.ground import judge, load

SEED = 13
CANDIDATES = {  # before training has spoken: more where training keeps the smaller part
    "vanishing": 84,
    "exploding": 72,
    "not_finite": 44,
    "dead": 48,
    "saturated": 170,
    "bad_init": 60,
    "severed": 200,
    "healthy": 230,
    "elsewhere": 96,
}
FAULTS = 24  # per family, of those that training confirmed
TRAPS = 26
HEALTHY = 150
ELSEWHERE = 62
Half = Literal["tuned", "sealed", "all"]
Named = tuple[str, Case]  # family and case


def cases(half: Half = "all") -> list[Case]:
    """The drawn cases of one half, each with its group as training showed it."""
    return [case for h, _, case in drawn() if half in ("all", h)]


def drawn() -> list[tuple[str, str, Case]]:
    """(half, family, case) of every drawn case, in a fixed order."""
    truths = load()
    if not truths:
        raise FileNotFoundError("drawn: there is no ground.json; run python -m benchmarks.truth.ground")
    groups: dict[str, list[Named]] = defaultdict(list)
    for family, case in candidates():
        word = judge(case, truths[case.name]) if case.name in truths else "dropped"
        if word == "dropped":
            continue
        if word == "healthy" and case.group == "fault":
            groups["trap"].append(("trap", _as_trap(case)))
        else:
            groups[word if word != "fault" else family].append((family, case))
    chosen: list[Named] = []
    for group, found in sorted(groups.items()):
        sizes = {"trap": TRAPS, "healthy": HEALTHY, "elsewhere": ELSEWHERE}
        chosen += _sample(found, sizes.get(group, FAULTS))
    return [(half, family, spell_out(case)) for half, family, case in _halved(chosen)]


def candidates() -> list[Named]:
    """What is trained: a sample of the grid of faults, of the controls, of what fails for another reason."""
    by_family: dict[str, list[Named]] = defaultdict(list)
    for family, case in faults.grid():
        by_family[family].append((family, case))
    by_family["healthy"] = [("healthy", c) for c in controls.cases()]
    by_family["elsewhere"] = [("elsewhere", c) for c in elsewhere.cases()]
    return [c for name, family in by_family.items() for c in _sample(family, CANDIDATES[name])]


def spell_out(case: Case) -> Case:
    """The patterns of `where` as the module paths of the built model."""
    if not any(w.endswith(".*") for w in case.where):
        return case
    stems = [w.removesuffix(".*") for w in case.where if w.endswith(".*")]
    plain = [w for w in case.where if not w.endswith(".*")]
    names = [n for n, _ in case.build().model.named_modules()]
    under = [n for n in names if any(n == s or n.startswith(s + ".") for s in stems)]
    return replace(case, where=tuple(dict.fromkeys(plain + under)))


def _as_trap(case: Case) -> Case:
    return replace(case, group="healthy", labels=("flows",), where=(), causes=())


def _rank(name: str) -> str:
    """A random order that does not change when other cases come or go."""
    return hashlib.sha256(f"{SEED}:{name}".encode()).hexdigest()


def _sample(found: Iterable[Named], size: int) -> list[Named]:
    """Round after round one case of each kind, in random order, so that no kind crowds out another."""
    kinds: dict[str, list[Named]] = defaultdict(list)
    for family, case in sorted(found, key=lambda c: _rank(c[1].name)):
        kinds[f"{case.fault}:{case.strength}" if case.fault else case.name].append((family, case))
    rows = sorted(kinds.values(), key=lambda row: _rank(row[0][1].name))
    taken: list[Named] = []
    while rows and len(taken) < size:
        for row in rows:
            taken.append(row.pop(0))
        rows = [row for row in rows if row]
    return taken[:size]


def _halved(chosen: list[Named]) -> list[tuple[str, str, Case]]:
    """Every family split evenly, by rank."""
    seen: dict[str, int] = defaultdict(int)
    result = []
    for family, case in sorted(chosen, key=lambda c: _rank("half:" + c[1].name)):
        result.append((("tuned", "sealed")[seen[family] % 2], family, case))
        seen[family] += 1
    return result


def main() -> None:
    """Counts by group and family, a column a half."""
    rows = drawn()
    counts = Counter((case.group, family, half) for half, family, case in rows)
    print(f"{'group':10} {'family':12} tuned sealed")
    for group, family in sorted({(group, family) for group, family, _ in counts}):
        tuned, sealed = (counts[group, family, half] for half in ("tuned", "sealed"))
        print(f"{group:10} {family:12} {tuned:5} {sealed:6}")
    print(f"{'all':23} {sum(h == 'tuned' for h, _, _ in rows):5} {sum(h == 'sealed' for h, _, _ in rows):6}")


if __name__ == "__main__":
    main()
