"""Across tokens: attentions and reach maps of an exam as plain series, and the sentences about them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fadeout.records import Exam, Streams, TokenProfile
from fadeout.render import along_time, words

FEW_ROWS = 0.5  # share of live softmax rows below which an attention is spelled out
ALIKE = 0.1  # tokens apart below which an attention is spelled out
COLUMN = 0.3  # decades of a column sum from which it is spelled out
DISTINCT = 1e-3  # of the differences between streams below which they are one
COLUMNS = 128  # of a reach map in a chart


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """One attention; shares 0 to 1, nan where not measured."""

    path: str
    live_rows: float
    apart: float
    entropy: float
    branch_share: float
    influence: float
    unusual: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Input positions `first` to `last` as one sampled output position reaches them: the largest, log10."""

    position: int
    first: int
    last: int
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """A reach map.

    Attributes:
        inputs: Number of input positions.
        curve: (distance back, decades relative to distance 0).
        decade: First distance at which a decade is lost; None if none is.
    """

    path: str
    positions: tuple[int, ...]
    inputs: int
    curve: tuple[tuple[int, float], ...]
    decade: int | None
    cells: tuple[Cell, ...]


def attentions(exam: Exam) -> tuple[Attention, ...]:
    """Every attention in the order of the exam."""
    return tuple(
        Attention(
            path=words.plain(row.path) or "(model)",
            live_rows=row.live_rows,
            apart=row.rank_collapse,
            entropy=row.entropy,
            branch_share=row.branch_share,
            influence=row.influence,
            unusual=_unusual(row),
        )
        for row in exam.tokens
        if not row.positions
    )


def _unusual(row: TokenProfile) -> str:
    parts = []
    if row.live_rows < FEW_ROWS:
        parts.append(f"only {words.share(row.live_rows)} of its softmax rows live")
    elif row.live_heads and min(row.live_heads) < FEW_ROWS:
        few = sum(v < FEW_ROWS for v in row.live_heads)
        parts.append(
            f"{few} of {words.count(len(row.live_heads), 'head')} with few live rows, "
            f"{words.share(min(row.live_heads))} at worst"
        )
    if row.rank_collapse < ALIKE:
        parts.append(f"tokens nearly alike ({_apart(row.rank_collapse)} apart)")
    return ", ".join(parts)


def reaches(exam: Exam) -> tuple[Reach, ...]:
    """Every reach map of the exam."""
    found = []
    for row in exam.tokens:
        if not row.positions:
            continue
        curve = tuple(enumerate(row.distance_curve))
        inputs = max((len(r) for r in row.reach), default=len(curve))
        found.append(
            Reach(
                path=words.plain(row.path) or "(model)",
                positions=row.positions,
                inputs=inputs,
                curve=curve,
                decade=next((d for d, value in curve if value <= -1), None),
                cells=tuple(_cells(row, inputs)),
            )
        )
    return tuple(found)


def _cells(row: TokenProfile, inputs: int) -> list[Cell]:
    wide = max(1, math.ceil(inputs / COLUMNS))
    made = []
    for position, levels in zip(row.positions, row.reach, strict=True):
        for first in range(0, len(levels), wide):
            part = [v for v in levels[first : first + wide] if math.isfinite(v)]
            if part:
                last = min(first + wide, len(levels)) - 1
                made.append(Cell(position=position, first=first, last=last, level=max(part)))
    return made


def some_distances(reach: Reach, *, most: int = along_time.ROWS) -> tuple[tuple[int, float], ...]:
    """A few distances of the curve, as lags are chosen."""
    return tuple(reach.curve[i] for i in along_time.steps_to_show(len(reach.curve), most=most))


def folded(rows: Sequence[Attention]) -> str:
    """'4 attentions: live rows 100 %, tokens apart 0.97 to 0.98'."""
    parts = []
    live = sorted(row.live_rows for row in rows if math.isfinite(row.live_rows))
    apart = sorted(row.apart for row in rows if math.isfinite(row.apart))
    if live:
        parts.append(f"live rows {_span(words.share(live[0]), words.share(live[-1]))}")
    if apart:
        parts.append(f"tokens apart {_span(_apart(apart[0]), _apart(apart[-1]))}")
    said = words.count(len(rows), "attention")
    return f"{said}: {', '.join(parts)}" if parts else said


def _apart(value: float) -> str:
    return f"{value:.2f}" if value >= 0.095 else words.number(value)


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def about(reach: Reach) -> str:
    """'loses a decade 1 token back; the furthest, 47 back, gets -1.7': how far the output reaches."""
    known = [(d, value) for d, value in reach.curve if not math.isnan(value)]
    if len(known) < 2:
        return "has no distance to reach over"
    furthest, value = known[-1]
    if reach.decade is None:
        held = f"keeps within a decade over all {words.count(furthest, 'token')}"
    else:
        held = f"loses a decade within {words.count(reach.decade, 'token')}"
    return f"{held}; {words.decades(value)} at the furthest, {furthest:,} back"


def short(exam: Exam) -> str:
    """A healthy network's one line, only about what is unusual; "" otherwise."""
    odd = [row for row in attentions(exam) if row.unusual]
    if not odd:
        return ""
    total = len(attentions(exam))
    if len(odd) == 1:
        return f"Across tokens: {odd[0].path}: {odd[0].unusual}."
    dead = sum(row.live_rows < FEW_ROWS for row in odd)
    alike = sum(row.apart < ALIKE for row in odd)
    parts = [f"{dead:,} have under half their rows live"] if dead else []
    parts += [f"{alike:,} have tokens nearly alike"] if alike else []
    return f"Across tokens: of {total:,} attentions {', '.join(parts)}."


def streams(found: Streams) -> str:
    """'4 streams through 64 mixings: ...', what the product of all mixings does."""
    said = (
        f"{words.count(found.width, 'stream')} through {words.count(found.layers, 'mixing')}: composite gain "
        f"{words.number(found.forward)} forward, {words.number(found.backward)} backward"
    )
    if found.columns > COLUMN:
        said += f" (a column sum is {found.columns:.1f} decades away from 1)"
    if found.distinct < DISTINCT:
        said += f"; {words.number(found.distinct)} of their differences is left: one stream in practice"
    return said + "."
