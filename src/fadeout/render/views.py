"""Views: an exam read as plain series and small tables with units.  Nothing is drawn here."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fadeout.records import Edge, Exam, Kind, Ledger, Stage
from fadeout.records.decades import log10
from fadeout.render import words
from fadeout.render.tones import NOTHING, Tone, Trouble, of_gap, of_kind, trouble

State = Literal["measured", "unseen", "none", "undefined", "outside"]
NEAR_FLOOR = 6.0  # decades: one layer can take so much that a norm above the floor is followed by 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One layer with weights in the depth profile.

    Attributes:
        index: Place among all layers with weights, 1 at the data side: the layer's number in every report.
        level: log10 of the norm of the gradient that arrives at the layer's output.
        state: "unseen": below the floor of the pass; "none": exactly no gradient;
            "undefined": nan or infinite; "outside": no way back leads here.
        gap: level minus that of the last layer, decades.
        sees, moves: As in the effective depth; None where unknown.
        trunk: On the way through most weight layers.
        forecast: What theory expects for `level`, with its band; None where it can't tell.
    """

    index: int
    path: str
    kind: str
    level: float
    state: State
    gap: float
    tone: Tone
    sees: bool | None
    moves: bool | None
    trunk: bool
    forecast: float | None
    forecast_band: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """The depth profile: layers from data to loss.

    Attributes:
        reference: log10 norm at the last layer, that gaps are taken from.
        floor: log10 of the smallest norm the pass could see.
        trouble: What the tones of the points mean.
    """

    points: tuple[Point, ...]
    reference: float
    floor: float
    trouble: Trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow:
    """What all operations of one kind do to the gradient on the trunk.

    Attributes:
        operations: (how many, which), the most frequent first.
        decades: Sum of their log gains.
        part: Part of all that is lost (or, where it is positive, won) after the loss, 0 to 1;
            nan for the loss itself, and for what goes against the exam's trouble.
    """

    kind: Kind
    label: str
    operations: tuple[tuple[int, str], ...]
    decades: float
    part: float
    tone: Tone


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRow:
    """Operations of the trunk with the same kind and name: 'slopes (20 sigmoid) -12.2'."""

    kind: Kind
    op: str
    label: str
    count: int
    decades: float
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRow:
    """A stage with the branches that meet at its data side; number 1 is at the data."""

    number: int
    stage: Stage


def depth(exam: Exam) -> Depth:
    """The depth profile of every layer with weights, those that no way back leads to included."""
    ledger, effective = exam.ledger, exam.effective_depth
    trunk = {w.path: False for w in ledger.weights}
    trunk.update((w.path, True) for w in ledger.weights if w.trunk)
    expected = {f.path: f for f in exam.forecast.layers} if exam.forecast else {}
    seen, moved = set(effective.seen), set(effective.moved)
    knows = effective.layers is not None
    found = trouble(exam)
    levels = [log10(layer.gradient_norm) if layer.reached else math.nan for layer in exam.layers]
    reference = _reference(ledger, levels)
    points = []
    for i, (layer, level) in enumerate(zip(exam.layers, levels, strict=True)):
        theory = expected.get(layer.path)
        band = theory.band if theory else None
        gap = level - reference if math.isfinite(reference) else math.nan
        points.append(
            Point(
                index=i + 1,
                path=words.plain(layer.path),
                kind=layer.kind,
                level=level,
                state=_state(level, ledger.floor) if layer.reached else "outside",
                gap=gap,
                tone=of_gap(found, gap),
                sees=layer.path in seen if knows or seen else None,
                moves=layer.path in moved if knows or moved else None,
                trunk=trunk.get(layer.path, True),
                forecast=reference + theory.decades if theory and theory.decades is not None else None,
                forecast_band=(reference + band[0], reference + band[1]) if band else None,
            )
        )
    return Depth(points=tuple(_unseen(points, ledger.floor)), reference=reference, floor=ledger.floor, trouble=found)


def weights(ledger: Ledger) -> Depth:
    """The depth profile of a ledger alone: every use of a weight, without forecast, rules or optimizer."""
    reference = _reference(ledger, [w.norm for w in ledger.weights])
    points = [
        Point(
            index=i + 1,
            path=words.plain(w.path),
            kind=words.plain(w.op),
            level=w.norm,
            state=_state(w.norm, ledger.floor),
            gap=w.norm - reference if math.isfinite(reference) else math.nan,
            tone="plain",
            sees=None,
            moves=None,
            trunk=w.trunk,
            forecast=None,
            forecast_band=None,
        )
        for i, w in enumerate(ledger.weights)
    ]
    return Depth(points=tuple(_unseen(points, ledger.floor)), reference=reference, floor=ledger.floor, trouble=NOTHING)


def _reference(ledger: Ledger, levels: list[float]) -> float:
    """The strongest last weight operation; without one, the layer nearest the loss."""
    last = [w.norm for w in ledger.weights if w.last and w.data and math.isfinite(w.norm)]
    if last:
        return max(last)
    return next((level for level in reversed(levels) if math.isfinite(level)), math.nan)


def _state(level: float, floor: float) -> State:
    if math.isnan(level) or level == math.inf:
        return "undefined"
    if level == -math.inf:
        return "none"
    return "unseen" if level < floor else "measured"


def _unseen(points: list[Point], floor: float) -> list[Point]:
    """Zeros that follow a norm just above the floor were lost by the pass, not by the network."""
    known = math.inf
    for i in range(len(points) - 1, -1, -1):
        point = points[i]
        if point.state == "measured":
            known = point.level
        elif point.state == "none" and known < floor + NEAR_FLOOR:
            points[i] = replace(point, state="unseen")
    return points


def kinds(exam: Exam) -> tuple[KindRow, ...]:
    """Decades by kind on the trunk (over the whole graph where there is no trunk), largest first."""
    ledger = exam.ledger
    on_trunk = bool(ledger.trunk.entries)
    totals = ledger.trunk.by_kind if on_trunk else ledger.by_kind
    return _kinds(totals, ledger.trunk.entries if on_trunk else ledger.operations, trouble(exam))


def every_kind(ledger: Ledger) -> tuple[KindRow, ...]:
    """Decades by kind over the whole graph: with the loss they add up to the ledger's total."""
    return tuple(replace(r, part=math.nan) for r in _kinds(ledger.by_kind, ledger.operations, NOTHING))


def _kinds(totals: Iterable[tuple[Kind, float]], entries: Sequence[Edge], found: Trouble) -> tuple[KindRow, ...]:
    every = list(totals)
    counted = [v for kind, v in every if kind != "loss" and not math.isnan(v)]
    lost = sum(v for v in counted if v < 0)
    won = sum(v for v in counted if v > 0)
    rows = []
    for kind, total in every:
        whole = won if total > 0 else lost
        asked = total > 0 if found.sign > 0 else total < 0
        rows.append(
            KindRow(
                kind=kind,
                label=words.KIND_WORDS[kind],
                operations=_operations(e for e in entries if e.kind == kind),
                decades=total,
                part=total / whole if kind != "loss" and asked and whole and math.isfinite(whole) else math.nan,
                tone=of_kind(found, kind, total),
            )
        )
    return tuple(sorted(rows, key=lambda row: -_size(row.decades)))


def carried_by_skips(rows: Iterable[KindRow]) -> bool:
    """Whether skips give back half or more of what the other kinds take.

    Then every fork sends the gradient two ways and the branch takes its copy back: true, but
    hundreds of decades that cancel say nothing.  The stages and their shares do.
    """
    listed = list(rows)
    won = sum(row.decades for row in listed if row.kind == "skip")
    lost = sum(row.decades for row in listed if row.kind not in ("skip", "loss") and row.decades < 0)
    return won > 0.5 and won >= -lost / 2


def _operations(entries: Iterable[Edge]) -> tuple[tuple[int, str], ...]:
    seen: dict[str, int] = {}
    for entry in entries:
        seen[words.plain(entry.op)] = seen.get(words.plain(entry.op), 0) + 1
    return tuple(sorted(((n, op) for op, n in seen.items()), key=lambda pair: -pair[0]))


def _size(value: float) -> float:
    return -1.0 if math.isnan(value) else abs(value)


def operations(exam: Exam) -> tuple[OperationRow, ...]:
    """The trunk's operations grouped by kind and name, those that take or give most first."""
    found: dict[tuple[Kind, str], list[Edge]] = {}
    for entry in exam.ledger.trunk.entries or exam.ledger.operations:
        found.setdefault((entry.kind, entry.op), []).append(entry)
    rows = [
        OperationRow(
            kind=kind,
            op=words.plain(op),
            label=f"{words.KIND_WORDS[kind]} ({len(group):,} {words.plain(op)})",
            count=len(group),
            decades=_sum(entry.log_gain for entry in group),
            lines=tuple(dict.fromkeys(words.plain(entry.line) for entry in group if entry.line)),
        )
        for (kind, op), group in found.items()
    ]
    return tuple(sorted(rows, key=lambda row: -_size(row.decades)))


def _sum(values: Iterable[float]) -> float:
    """Sum of decades in which one severed operation severs the whole."""
    listed = list(values)
    return -math.inf if -math.inf in listed else math.fsum(v for v in listed if not math.isnan(v))


def stages(exam: Exam, *, most: int | None = None) -> tuple[StageRow, ...]:
    """The stages from the data; with `most`, those that change the gradient most, still in order."""
    rows = [StageRow(number=i + 1, stage=stage) for i, stage in enumerate(reversed(exam.ledger.stages))]
    if most is not None and len(rows) > most:
        rows = sorted(rows, key=lambda row: -_size(row.stage.log_gain))[:most]
    return tuple(sorted(rows, key=lambda row: row.number))


def branches(stage: Stage) -> tuple[tuple[str, float], ...]:
    """(name, share) of the branches that meet; named by their module, and by their operation
    where one module has several."""
    paths = [words.plain(branch.path) for branch in stage.branches]
    return tuple(
        (
            " ".join(filter(None, (path, words.plain(branch.op)))) if paths.count(path) > 1 or not path else path,
            branch.share,
        )
        for path, branch in zip(paths, stage.branches, strict=True)
    )


def span(stage: Stage) -> str:
    """The two sides of a stage, data side first."""
    return f"{words.plain(stage.to)} .. {words.plain(stage.start)}"


def branched(exam: Exam) -> bool:
    """Whether branches meet anywhere: the stages of a plain chain are its layers."""
    return any(stage.branches for stage in exam.ledger.stages)
