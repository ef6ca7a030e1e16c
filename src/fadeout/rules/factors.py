"""Factors: operations that multiply a signal by what stands in the code, which no initialisation can mend."""

import math
from dataclasses import dataclass
from itertools import pairwise

from fadeout.records import Reading
from fadeout.rules.build import named

PLAIN = frozenset({"mul", "div"})
LARGEST = 300.0  # decades that a float holds
STRONG = 1.0  # decades from which a factor is worth a word
PART = 0.25  # of what the trunk loses, or gains


@dataclass(frozen=True, slots=True)
class Factor:
    """What one line of code multiplies a gradient by, in all.

    Attributes:
        log_gain: Decades.
        count: How often the line is passed.
    """

    op: str
    path: str
    line: str
    log_gain: float
    count: int

    @property
    def words(self) -> str:
        """'mul at net.py:12 multiplies the gradient by 0.1, 16 times'."""
        times = f", {self.count:,} times" if self.count > 1 else ""
        each = _size(self.log_gain / self.count)
        return f"{_at(self.op, self.line, self.path)} multiplies the gradient by {each}{times}"


def factors(reading: Reading) -> list[Factor]:
    """Of the trunk: operations without weights, and those that multiply by a parameter, a row a line of code."""
    sums: dict[tuple[str, str, str], list[float]] = {}
    for entry in reading.ledger.trunk.entries:
        plain = entry.kind == "other" or (entry.kind == "weight" and entry.op in PLAIN)
        if plain and math.isfinite(entry.log_gain):
            sums.setdefault((entry.op, entry.path, entry.line), []).append(entry.log_gain)
    by_line: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for (op, path, line), gains in sums.items():
        by_line.setdefault((op, line or path), []).extend((path, gain) for gain in gains)
    return [
        Factor(
            op=op,
            path=rows[0][0],
            line=place if ":" in place else "",
            log_gain=math.fsum(gain for _, gain in rows),
            count=len(rows),
        )
        for (op, place), rows in by_line.items()
    ]


def main_factor(reading: Reading, *, sign: int) -> str:
    """The line that takes (sign -1) or gives (sign 1) a good part of what the trunk loses or gains, in words; or ''."""
    kinds = [
        gain for kind, gain in reading.ledger.trunk.by_kind if kind not in ("loss", "skip") and math.isfinite(gain)
    ]
    total = math.fsum(gain for gain in kinds if sign * gain > 0)
    found = max(factors(reading), key=lambda factor: sign * factor.log_gain, default=None)
    if found is None or sign * found.log_gain < STRONG or sign * found.log_gain < PART * abs(total):
        return ""
    return found.words


def near_one(factor: str) -> tuple[str, ...]:
    """The advice that a factor in words gives; none where there is none."""
    return (f"a factor near 1: {factor}",) if factor else ()


def before(reading: Reading, activation: str) -> str:
    """The factor that makes the input of an activation large, in words; '' if there is none on the trunk."""
    entries = reading.ledger.trunk.entries
    for entry, inner in pairwise(entries):
        if entry.op == activation and inner.op in PLAIN and inner.log_gain >= STRONG:
            at = _at(inner.op, inner.line, inner.path)
            return f"{at} multiplies what enters {activation} by about {_size(inner.log_gain)}"
    return ""


def _at(op: str, line: str, path: str) -> str:
    return f"{op} at {line}" if line else f"{op} in {named(path)}"


def _size(decades: float) -> str:
    return f"{10 ** min(decades, LARGEST):.2g}"
