"""Tags: tables and text as HTML, everything that comes from a user's model escaped."""

import math
from collections.abc import Iterable, Sequence
from html import escape

from fadeout.records import Exam, Finding, Layer
from fadeout.render import sentences, views, words


def tag(name: str, text: str, *, of: str = "") -> str:
    """<name class="of">text</name>, the text escaped."""
    kind = f' class="{escape(of)}"' if of else ""
    return f"<{name}{kind}>{escape(text)}</{name}>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, paths: Sequence[int] = ()) -> str:
    """A table whose first `left` columns hold words and the others numbers.

    Args:
        paths: Columns with module paths, set in a fixed-width face.
    """
    kinds = ["path" if i in paths else "" if i < left else "n" for i in range(len(heads))]
    head = "".join(tag("th", title, of="n" if kind == "n" else "") for title, kind in zip(heads, kinds, strict=True))
    body = "\n".join(
        "<tr>" + "".join(tag("td", text, of=kind) for text, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def layers(exam: Exam) -> str:
    """Every layer with its numbers; a column that no layer has is left out."""
    floor = exam.ledger.floor
    states = {point.path: point for point in views.depth(exam).points}
    columns: list[tuple[str, list[str]]] = [
        ("#", [f"{i + 1:,}" for i in range(len(exam.layers))]),
        ("path", [words.plain(layer.path) or "(model)" for layer in exam.layers]),
        ("kind", [layer.kind + ("" if layer.trained else ", frozen") for layer in exam.layers]),
        (
            "log10 of gradient norm",
            [_level(layer, states.get(words.plain(layer.path)), floor) for layer in exam.layers],
        ),
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
    return table([title for title, _ in columns], rows, left=3, paths=(1,))


def _level(layer: Layer, point: views.Point | None, floor: float) -> str:
    if point is None:
        return "not reached"
    return words.below(floor) if point.state == "unseen" else words.level(point.level)


def _not_finite(layer: Layer) -> str:
    counts = layer.not_finite
    named = ((counts.activation, "activation"), (counts.gradient, "gradient"), (counts.weight, "weight"))
    return ", ".join(words.count(n, f"{noun} value") for n, noun in named if n)


def operations(exam: Exam, *, most: int = 12) -> str:
    """The operations of the trunk that take or give most."""
    rows = [row for row in views.operations(exam) if not abs(row.decades) < 0.005]
    if not any(row.lines for row in rows):
        body = [(row.label, words.decades(row.decades)) for row in rows[:most]]
        return table(["operations on the trunk", "decades"], body)
    text = table(
        ["operations on the trunk", "source", "decades"],
        [(row.label, _lines(row.lines), words.decades(row.decades)) for row in rows[:most]],
        left=2,
    )
    more = tag("p", f"and {len(rows) - most:,} more", of="dim") if len(rows) > most else ""
    return f"<div>{text}{more}</div>"


def _lines(lines: tuple[str, ...]) -> str:
    return ", ".join(lines[:2]) + (f" and {len(lines) - 2} more" if len(lines) > 2 else "")


def ends(exam: Exam) -> str:
    """Every data end with the decades that arrive."""
    rows = [
        (words.plain(end.path), end.what, words.level(end.decades, floor=exam.ledger.floor)) for end in exam.ledger.ends
    ]
    return table(["where the account ends", "what", "log10 of gradient norm"], rows, left=2, paths=(0,)) if rows else ""


def stages(exam: Exam, *, most: int = 40) -> str:
    """The stages from the loss, with what their branches carry."""
    rows = views.stages(exam, most=most)
    body = [
        (
            f"{row.number:,}",
            words.plain(row.stage.start),
            words.plain(row.stage.to),
            ", ".join(f"{who or 'input'} {words.share(share)}" for who, share in views.branches(row.stage)),
            f"{row.stage.width}",
            words.decades(row.stage.log_gain),
        )
        for row in rows
    ]
    return table(["#", "from", "to", "shares", "width", "decades"], body, left=4, paths=(1, 2))


def finding(item: Finding, exam: Exam) -> str:
    """One finding with place, cause, evidence and status."""
    parts = [f'<div class="finding {escape(item.level)}">']
    parts.append(tag("h3", f"{item.code} · {words.VERDICT_WORDS[item.label].lower()}, {item.level}"))
    parts.append(tag("p", words.plain(item.claim)))
    place = " · ".join(filter(None, (*sentences.where(item, exam), sentences.causes(item))))
    if place:
        parts.append(tag("p", place))
    known = [e for e in item.evidence if not math.isnan(e.value)]
    if known:
        parts.append(
            table(
                ["evidence", "measured", "limit"],
                [
                    (
                        words.plain(e.name),
                        sentences.quantity(e.value, e.unit),
                        "" if math.isnan(e.bound) else sentences.quantity(e.bound, e.unit),
                    )
                    for e in known
                ],
            )
        )
    confidence = "" if math.isnan(item.confidence) else f" · confidence {words.share(item.confidence)}"
    parts.append(
        tag(
            "p",
            sentences.STATUS_WORDS[item.status] + confidence + f" · fadeout explain {words.plain(item.code)}",
            of="dim",
        )
    )
    return "\n".join([*parts, "</div>"])


def environment(exam: Exam) -> str:
    """Where and how the exam was made."""
    env = exam.environment
    rows = [
        ("model", env.model),
        ("optimizer", env.optimizer),
        ("loss", words.number(env.loss)),
        ("samples", f"{env.samples:,}"),
        ("batches", f"{env.batches:,}"),
        ("spread between batches, decades", words.number(env.spread)),
        ("device", f"{env.device} {env.dtype}"),
        ("seed", f"{env.seed}"),
        ("time", words.seconds(env.seconds)),
        ("fadeout", env.fadeout),
        ("torch", env.torch),
        ("python", env.python),
    ]
    kept = [(name, words.plain(value)) for name, value in rows if value not in ("", words.UNKNOWN)]
    body = "\n".join(f"<tr>{tag('th', name)}{tag('td', value)}</tr>" for name, value in kept)
    notes = "".join(tag("li", words.plain(note)) for note in env.notes)
    return f"<table>{body}</table>" + (f"<ul>{notes}</ul>" if notes else "")
