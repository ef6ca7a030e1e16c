"""Layers: every layer with its numbers, data side first."""

from fadeout.records import Exam, Layer
from fadeout.render import tags, views, words
from fadeout.render.page.section import Section

FEW = 60  # layers: as many stand open


def section(exam: Exam) -> Section | None:
    if not exam.layers:
        return None
    shown = _table(exam)
    if len(exam.layers) > FEW:
        shown = tags.folded(f"All {len(exam.layers):,} layers", shown)
    return Section(title="Layers, data side first", parts=(shown,), aside=True)


def _table(exam: Exam) -> str:
    """A column that no layer has is left out."""
    floor, points = exam.ledger.floor, views.depth(exam).points
    columns: list[tuple[str, list[str]]] = [
        ("", [f"[{i + 1}]" for i in range(len(exam.layers))]),
        ("kind", [layer.kind + ("" if layer.trained else ", frozen") for layer in exam.layers]),
        ("path", [words.plain(layer.path) or "(model)" for layer in exam.layers]),
        ("log10 of gradient norm", [_level(point, floor) for point in points]),
        ("gradient rms", [words.number(layer.gradient_rms) for layer in exam.layers]),
        ("activation rms", [words.number(layer.activation_rms) for layer in exam.layers]),
        ("weight rms", [words.number(layer.weight_rms) for layer in exam.layers]),
        ("update ratio", [words.number(layer.update_ratio) for layer in exam.layers]),
        ("between samples", [words.share(layer.between_samples) for layer in exam.layers]),
        ("activation", [layer.activation for layer in exam.layers]),
        ("mean slope", [words.share(layer.mean_slope) for layer in exam.layers]),
        ("dead", [words.share(layer.dead) for layer in exam.layers]),
        ("saturated", [words.share(layer.saturated) for layer in exam.layers]),
        ("lost in fp16", [words.share(layer.underflow.fp16) for layer in exam.layers]),
        ("lost in bf16", [words.share(layer.underflow.bf16) for layer in exam.layers]),
        ("not finite", [_not_finite(layer) for layer in exam.layers]),
    ]
    columns = [(title, values) for title, values in columns if set(values) - {"", words.UNKNOWN}]
    rows = [
        ["" if text == words.UNKNOWN else text for text in row] for row in zip(*(v for _, v in columns), strict=True)
    ]
    return tags.table([title for title, _ in columns], rows, left=3, paths=(2,))


def _level(point: views.Point, floor: float) -> str:
    if point.state == "outside":
        return words.NOT_REACHED
    return words.below(floor) if point.state == "unseen" else words.level(point.level)


def _not_finite(layer: Layer) -> str:
    counts = layer.not_finite
    named = ((counts.activation, "activation"), (counts.gradient, "gradient"), (counts.weight, "weight"))
    return ", ".join(words.count(n, f"{noun} value") for n, noun in named if n)
