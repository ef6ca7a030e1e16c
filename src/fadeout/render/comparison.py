"""The comparison of exams: rows of numbers side by side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fadeout.records import KINDS, Exam
from fadeout.records.decades import log10
from fadeout.render import words


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """One quantity of every exam, and its change where there are two, "" where it has none."""

    quantity: str
    values: tuple[str, ...]
    change: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Exams side by side, and the layers that changed most (only between two exams)."""

    names: tuple[str, ...]
    rows: tuple[ComparisonRow, ...]
    layers: tuple[ComparisonRow, ...]


def compare(
    exams: Sequence[Exam],
    names: Sequence[str] = (),
    *,
    extra: Mapping[str, Sequence[str]] | None = None,
    most: int = 5,
) -> Comparison:
    """Put exams side by side.

    Args:
        names: One for each exam; "a", "b", ... where there are none.
        extra: More rows from outside, "accuracy after 5 s" -> one word for each exam.
        most: How many changed layers to name.
    """
    titles = tuple(names) or tuple("abcdefghijklmnopqrstuvwxyz"[i] for i in range(len(exams)))
    if len(titles) != len(exams):
        raise ValueError(f"compare: {len(titles)} names for {len(exams)} exams; give one name for each exam")
    totals = [dict(exam.ledger.trunk.by_kind) for exam in exams]
    rows = [
        _texts("verdict", [words.VERDICT_WORDS[exam.verdict].lower() for exam in exams]),
        _gains("decades, last to first", [exam.decades for exam in exams]),
        _gains(
            "decades a layer",
            [exam.decades_per_layer.slope if exam.decades_per_layer else math.nan for exam in exams],
        ),
        *(
            _gains(f"  {words.KIND_WORDS[kind]}", [total.get(kind, 0.0) for total in totals])
            for kind in KINDS
            if kind != "loss" and any(abs(total.get(kind, 0.0)) >= 0.05 for total in totals)
        ),
        _texts("layers with weights", [f"{exam.weight_layers:,}" for exam in exams]),
        _texts("layers trained", [_known(exam.effective_depth.layers) for exam in exams]),
        _texts("residual blocks", [_blocks(exam) for exam in exams]),
        _texts("findings", [", ".join(f.code for f in exam.findings) or "none" for exam in exams]),
        _texts("optimizer", [words.plain(exam.environment.optimizer) or "none" for exam in exams]),
        *(_texts(name, list(values)) for name, values in (extra or {}).items()),
    ]
    kept = [row for row in rows if row.quantity not in _OPTIONAL or set(row.values) - {"none", words.UNKNOWN}]
    if len({exam.environment.optimizer for exam in exams}) == 1:
        kept = [row for row in kept if row.quantity != "optimizer"]
    return Comparison(names=titles, rows=tuple(kept), layers=_layers(exams, most) if len(exams) == 2 else ())


_OPTIONAL = {"residual blocks", "optimizer", "layers trained", "decades a layer"}


def _texts(quantity: str, values: list[str]) -> ComparisonRow:
    return ComparisonRow(quantity=quantity, values=tuple(values), change="")


def _gains(quantity: str, values: list[float]) -> ComparisonRow:
    change = values[-1] - values[0] if len(values) == 2 else math.nan
    return ComparisonRow(
        quantity=quantity,
        values=tuple(words.decades(value) for value in values),
        change=words.decades(change) if math.isfinite(change) else "",
    )


def _known(value: int | None) -> str:
    return words.UNKNOWN if value is None else f"{value:,}"


def _blocks(exam: Exam) -> str:
    blocks = exam.effective_blocks
    if blocks is None or not blocks.blocks:
        return "none"
    like = f", like {blocks.n:.0f}" if math.isfinite(blocks.n) else ""
    return f"{len(blocks.blocks)}{like}"


def _layers(exams: Sequence[Exam], most: int) -> tuple[ComparisonRow, ...]:
    """Layers of the same network in both exams whose gradient norm changed most, in decades."""
    if [layer.path for layer in exams[0].layers] != [layer.path for layer in exams[1].layers]:
        return ()
    before, after = ({layer.path: log10(layer.gradient_norm) for layer in exam.layers} for exam in exams)
    changes = {
        path: after[path] - level
        for path, level in before.items()
        if path in after and math.isfinite(after[path] - level) and abs(after[path] - level) >= 0.05
    }
    largest = sorted(changes, key=lambda path: -abs(changes[path]))[:most]
    return tuple(
        ComparisonRow(
            quantity=words.plain(path),
            values=(words.level(before[path]), words.level(after[path])),
            change=words.decades(changes[path]),
        )
        for path in before
        if path in largest
    )
