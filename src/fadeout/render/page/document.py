"""A document: the page of one exam, or of several side by side, as one offline HTML file.

Nothing in it points outside, and its Content-Security-Policy lets two scripts run, by their hashes:
the library and the file that draws. A name from a model that got past the escaping could still not run.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from fadeout.records import Exam
from fadeout.render import charts, comparison, comparison_tags, sentences, tags, tones, views, words
from fadeout.render.definitions import marked, once
from fadeout.render.drawing import Drawing
from fadeout.render.page import sections, vega
from fadeout.render.page.section import Section


def page(exam: Exam, *, title: str | None = None) -> str:
    """The whole report of one exam.

    Args:
        title: Of the page; the model's name where None.
    """
    name = words.plain(title if title is not None else exam.environment.model) or "exam"
    drawn: dict[str, Any] = {}
    body = tags.tag("p", f"fadeout · {name}", of="name") + placed(sections(exam), drawn, "")
    return whole(f"{name}: {words.VERDICT_WORDS[exam.verdict].lower()}", body, drawn)


def side_by_side(
    exams: Sequence[Exam],
    names: Sequence[str],
    *,
    extra: Mapping[str, Sequence[str]] | None = None,
    title: str = "networks side by side",
) -> str:
    """Several exams on one page: verdicts and profiles beside each other, the comparison, and each one's report.

    Args:
        names: One for each exam.
        extra: More rows of the comparison, "test accuracy" -> one word for each exam.
    """
    view = comparison.compare(exams, names, extra=extra)
    depths = [views.depth(exam) for exam in exams]
    levels = charts.shared_domain(depths)
    drawn: dict[str, Any] = {}
    cards = []
    for i, (exam, name, depth) in enumerate(zip(exams, view.names, depths, strict=True)):
        word, rest = sentences.headline(exam)
        colour = tones.verdict_tone(exam)
        chart = (
            _drawing(charts.profile(depth, levels=levels), drawn, f"{i + 1}-", legend_last=True) if depth.points else ""
        )
        said = sentences.lines_of(rest)[0]
        cards.append(
            f'<div class="card">{tags.tag("h2", name)}'
            f'<p><b class="{colour}">{escape(word)}</b> {marked(said)}</p>{chart}</div>'
        )
    reports = [
        tags.folded(f"The whole report of {name}", placed(sections(exam), drawn, f"{i + 1}-"))
        for i, (exam, name) in enumerate(zip(exams, view.names, strict=True))
    ]
    body = "\n".join(
        [
            tags.tag("p", "fadeout", of="name"),
            tags.tag("h1", title),
            f'<div class="cards">{"".join(cards)}</div>',
            "<h2>Compared</h2>" + comparison_tags.table(view),
            "<h2>Each network</h2>",
            *reports,
        ]
    )
    return whole(title, body, drawn, kind="several")


def placed(made: Iterable[Section], drawn: dict[str, Any], prefix: str) -> str:
    """Sections as HTML; their charts are added to `drawn`.

    Args:
        prefix: Of the charts' ids.
    """
    parts = []
    for section in made:
        if section.title:
            parts.append(f"<h2>{marked(section.title)}</h2>")
        parts += [_drawing(part, drawn, prefix) if isinstance(part, Drawing) else part for part in section.parts]
    return "\n".join(part for part in parts if part)


def _drawing(drawing: Drawing, drawn: dict[str, Any], prefix: str, *, legend_last: bool = False) -> str:
    name = f"chart-{prefix}{drawing.name}"
    while name in drawn:
        name += "-again"
    drawn[name] = charts.spec(drawing.chart)
    parts = [tags.legend(drawing.legend), f'<div class="chart"><div id="{name}"></div></div>']
    return "".join(reversed(parts) if legend_last else parts)


def whole(title: str, body: str, drawn: dict[str, Any], *, kind: str = "one") -> str:
    """A file that needs no network: the body, and charts for the places in it by their ids."""
    here = files("fadeout.render.page")
    draw = here.joinpath("draw.js").read_text(encoding="utf-8").strip()
    library = vega.library()
    return Template(here.joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        kind=kind,
        body=once(body),
        library=library,
        draw=draw,
        charts=_json(drawn),
        scripts=" ".join(_hash(script) for script in (library, draw)),
    )


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _json(value: Any) -> str:
    """JSON that can stand inside a script tag; what is no number for a chart is null."""
    text = json.dumps(_drawable(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _drawable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _drawable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_drawable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
