"""Ranks: which arms go on, and whether one has won."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fadeout.racing.statistics import paired

TIE = 0.01  # of skill: arms that are closer than this count as equal
LARGE = 0.25  # of skill: a mean gain that few seeds may scatter about
GAIN = 0.02  # of skill: what a winner must gain at least; less is luck of the best of many
LOST = 0.01  # of skill: what no seed may lose


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """An arm as it stands.

    Attributes:
        skills: Of every seed.
        loss: Smoothed, mean over seeds.
        parts: Kinds of change, "init" or "norm"; a bundle has several.
    """

    arm: str
    skills: tuple[float, ...]
    loss: float
    parts: tuple[str, ...]

    @property
    def skill(self) -> float:
        """Mean over seeds; -inf where it is not known."""
        mean = sum(self.skills) / len(self.skills) if self.skills else math.nan
        return mean if math.isfinite(mean) else -math.inf


def ranked(entrants: Sequence[Entrant], *, tie: float = TIE) -> list[Entrant]:
    """Best first: by skill; those within `tie` of the best by smoothed loss, then by how many parts they change."""
    left, found = sorted(entrants, key=lambda e: -e.skill), list[Entrant]()
    while left:
        equal = [e for e in left if e.skill >= left[0].skill - tie]
        best = min(equal, key=lambda e: (_loss(e), len(e.parts)))
        found.append(best)
        left.remove(best)
    return found


def best_of(entrants: Sequence[Entrant], *, tie: float = TIE) -> Entrant:
    """The one to go to the end; of those within `tie` of the best skill the one that changes fewest parts."""
    top = max(e.skill for e in entrants)
    return min((e for e in entrants if e.skill >= top - tie), key=lambda e: (len(e.parts), _loss(e)))


def _loss(entrant: Entrant) -> float:
    return entrant.loss if math.isfinite(entrant.loss) else math.inf


def go_on(entrants: Sequence[Entrant], count: int, *, tie: float = TIE) -> list[Entrant]:
    """The best `count`, and the best one of every kind of part that they lack.

    Deep stacks and recurrent nets sit on a plateau first: where all look alike, the kinds must not die out by chance.
    """
    order = ranked(entrants, tie=tie)
    kept = order[:count]
    for entrant in order[count:]:
        if set(entrant.parts) - {part for one in kept for part in one.parts}:
            kept.append(entrant)
    return kept


def wins(ours: Sequence[float], control: Sequence[float], noise: float) -> bool:
    """Whether an arm is better than no treatment by more than the noise, and worse with no seed.

    With several seeds a small gain must also stand out of their scatter: its 95 % interval leaves zero out.
    """
    gains = [a - b for a, b in zip(ours, control, strict=True)]
    if not all(math.isfinite(gain) for gain in gains):
        return False
    mean = sum(gains) / len(gains)
    sure = len(gains) < 2 or mean >= LARGE or paired(ours, control).low > 0
    return sure and mean > max(noise, GAIN) and min(gains) >= -max(noise, LOST)
