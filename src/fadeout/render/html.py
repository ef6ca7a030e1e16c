"""The HTML report: one file that needs no network; and a fragment for notebooks."""

import json
import math
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from fadeout.errors import FadeoutError
from fadeout.records import Exam
from fadeout.render import across_tokens, along_tags, along_time, sentences, tags, views, words

vl_convert: Any
try:
    import vl_convert

    from fadeout.render import along_charts, charts
except ImportError:  # both come with fadeout; a notebook without them still gets text and table
    vl_convert = None

FEW = 60  # layers: as many stand open in the page
SOME = 8  # recurrent layers or unusual attentions: as many are spelled out


def page(exam: Exam, *, title: str | None = None) -> str:
    """The whole report as one offline HTML file.

    Args:
        title: Of the page; the model's name where None.
    """
    if vl_convert is None:
        raise FadeoutError("page: charts need altair and vl-convert-python; pip install altair vl-convert-python")
    name = words.plain(title if title is not None else exam.environment.model) or "exam"
    drawn: dict[str, Any] = {}
    body = "\n".join(
        part
        for part in (
            tags.tag("p", f"fadeout · {name}", of="name"),
            _head(exam),
            _profile(exam, drawn),
            _time(exam, drawn),
            _tokens(exam, drawn),
            _account(exam, drawn),
            _stages(exam, drawn),
            _findings(exam),
            _layers(exam),
            "<h2>How it was measured</h2>" + tags.environment(exam) + _closing(exam),
        )
        if part
    )
    template = Template(files("fadeout.render").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"{name}: {words.VERDICT_WORDS[exam.verdict].lower()}"),
        body=body,
        library=library(),
        charts=json_of(drawn),
    )


def fragment(exam: Exam) -> str:
    """Verdict, profile and a small table for a notebook: no script, and SVG only where it can be made."""
    head, rest = sentences.headline(exam)
    colour = {"flows": "#2a9d6f", "undetermined": "#b98a10"}.get(exam.verdict, "#db4b4f")
    parts = [
        '<div style="max-width: 860px">',
        f'<p style="font-size: 110%"><b style="color: {colour}">{escape(head)}</b> {escape(rest)}</p>',
        *(tags.tag("p", s) for s in (sentences.effective_depth(exam), sentences.effective_blocks(exam)) if s),
        f'<p style="opacity: 0.7">{escape(" · ".join(sentences.about(exam)))}</p>',
    ]
    if vl_convert is not None and views.depth(exam).points:
        spec = charts.spec(charts.profile(exam, width=620))
        grey = "#808891"  # reads on white and on black
        spec["config"]["aria"] = False
        spec["config"]["axis"] |= {"labelColor": grey, "titleColor": grey, "gridColor": "#80889140"}
        spec["config"]["legend"] = {"labelColor": grey}
        parts.append(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))
    parts += [tags.tag("p", said) for said in (along_time.short(exam), across_tokens.short(exam)) if said]
    rows = [(row.label, words.decades(row.decades)) for row in views.operations(exam) if row.kind != "loss"]
    if rows and not views.carried_by_skips(views.kinds(exam)):
        parts.append(tags.table(["on the way from the last layer to the data", "decades"], rows[:4]))
    for item in exam.findings[:3]:
        place = " · ".join(filter(None, (*sentences.where(item, exam), sentences.causes(item))))
        text = words.VERDICT_WORDS[item.label].lower() + (f" · {place}" if place else "")
        parts.append(f"<p><b>{escape(item.code)}</b> {escape(text)}</p>")
    return "\n".join([*parts, "</div>"])


@cache
def library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script.

    The three addresses inside (a help page, a schema, an editor that is switched off) lose
    their scheme: nothing in the file may point outside.
    """
    bundle: str = vl_convert.javascript_bundle()
    return bundle.replace("https://", "").replace("</script", "<\\/script")


def json_of(value: Any) -> str:
    """JSON that can stand inside a script tag; what is no number for a chart is null."""
    text = json.dumps(_drawable(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _drawable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _drawable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_drawable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _chart(drawn: dict[str, Any], name: str, chart: Any) -> str:
    if chart is None:
        return ""
    drawn[f"chart-{name}"] = charts.spec(chart)
    return f'<div class="chart"><div id="chart-{name}"></div></div>'


def _head(exam: Exam) -> str:
    head, rest = sentences.headline(exam)
    said, *more = sentences.lines_of(rest)
    parts = [f'<h1 class="{escape(exam.verdict)}"><b>{escape(head)}</b> {escape(said)}</h1>']
    parts += [tags.tag("p", s) for s in more]
    parts += [
        tags.tag("p", s)
        for s in (sentences.effective_depth(exam), sentences.effective_blocks(exam), sentences.forecast(exam))
        if s
    ]
    return "\n".join([*parts, tags.tag("p", " · ".join(sentences.about(exam)), of="dim wide")])


def _profile(exam: Exam, drawn: dict[str, Any]) -> str:
    if not views.depth(exam).points:
        return ""
    note = "Every tick is a power of ten: a steady fade is a straight line. The gradient comes from the right."
    return (
        "<h2>Gradient from data to loss</h2>"
        + tags.tag("p", note, of="dim")
        + _chart(drawn, "profile", charts.profile(exam))
    )


def _time(exam: Exam, drawn: dict[str, Any]) -> str:
    rows, gates = along_time.measured(exam), along_time.gates_only(exam)
    if not rows and not gates:
        return ""
    parts = ["<h2>Gradient along time</h2>"]
    several = [row for row in rows if len(row.lags) > 1]
    if several:
        said = along_time.about_lines(several)
        if len(several) > along_charts.LINES:
            said += f" The {along_charts.LINES} longest of {len(several):,} layers are drawn."
        parts.append(tags.tag("p", said, of="dim") + _chart(drawn, "time", along_charts.lines(several)))
        first = next((row for row in several if row.paths), None)
        if first is not None:
            parts.append(tags.tag("p", along_time.about_paths(first), of="dim"))
            parts.append(_chart(drawn, "paths", along_charts.paths(first)))
    shown = along_tags.recurrent(rows, gates)
    if len(rows) + len(gates) > SOME:
        title = f"All {words.count(len(rows) + len(gates), 'recurrent layer')}"
        shown = f"<details><summary>{title}</summary>{shown}</details>"
    return "\n".join([*parts, shown])


def _tokens(exam: Exam, drawn: dict[str, Any]) -> str:
    rows, maps = across_tokens.attentions(exam), across_tokens.reaches(exam)
    parts = []
    if exam.streams is not None:
        parts += ["<h2>Residual streams</h2>", tags.tag("p", across_tokens.streams(exam.streams))]
    if not rows and not maps:
        return "\n".join(parts)
    parts.append("<h2>Gradient across tokens</h2>")
    for i, reach in enumerate(maps):
        name = f"-{i + 1}" if i else ""
        if reach.cells:
            said = (
                f"What each input position at {reach.path} receives from the sampled output positions; blank: nothing."
            )
            parts.append(tags.tag("p", said, of="dim") + _chart(drawn, "reach" + name, along_charts.reach_map(reach)))
        if len(reach.curve) > 1:
            said = f"With distance the reach {across_tokens.about(reach)}."
            parts.append(tags.tag("p", said, of="dim") + _chart(drawn, "far" + name, along_charts.distance(reach)))
    if rows:
        parts.append(tags.tag("p", across_tokens.folded(rows) + "."))
        parts += [tags.tag("p", f"{row.path}: {row.unusual}.") for row in rows if row.unusual][:SOME]
        shown = along_tags.attentions(rows)
        parts.append(f"<details><summary>{words.count(len(rows), 'attention')}</summary>{shown}</details>")
    return "\n".join(parts)


def _account(exam: Exam, drawn: dict[str, Any]) -> str:
    rows = views.kinds(exam)
    shown = "<h2>Where the decades go</h2>"
    if views.carried_by_skips(rows):
        shown += tags.tag(
            "p",
            "Skips send the gradient two ways and add it up again: what they give cancels what the branches "
            "take. The stages below say what each branch carries.",
            of="dim",
        )
    elif any(row.kind != "loss" and abs(row.decades) >= 0.05 for row in rows):
        shown += tags.tag("p", "On the way from the last layer to the data.", of="dim")
        shown += _chart(drawn, "kinds", charts.kinds(exam, width=560))
    missing = "".join(tags.tag("li", line) for line in sentences.unaccounted(exam))
    if missing:
        missing = f"<h2>Not in the account</h2><ul>{missing}</ul>"
    return shown + f'<div class="columns">{tags.operations(exam)}{tags.ends(exam)}</div>' + missing


def _stages(exam: Exam, drawn: dict[str, Any]) -> str:
    total = len(exam.ledger.stages)
    if total < 2:
        return ""
    note = "The network cut where the fewest gradients are in flight, counted from the loss."
    own = [stage.log_gain for stage in exam.ledger.stages if stage.start == "loss"]
    if own:
        note += f" The loss's own stage ({words.decades(own[0])}) is not drawn."
    shown = tags.stages(exam)
    most = 40
    title = f"The {most} largest of {total:,} stages" if total > most else f"All {total} stages"
    return (
        "<h2>Stages</h2>"
        + tags.tag("p", note, of="dim")
        + _chart(drawn, "stages", charts.stages(exam, width=560 if total <= charts.SHORT else charts.WIDTH))
        + _chart(drawn, "shares", charts.shares(exam))
        + f"<details><summary>{title}</summary>{shown}</details>"
    )


def _findings(exam: Exam) -> str:
    if not exam.findings:
        return ""
    parts = ["<h2>Findings</h2>", *(tags.finding(item, exam) for item in exam.findings)]
    helps, wont = sentences.helps(exam), sentences.wont_help(exam)
    if helps:
        parts.append("<p><b>Will help</b></p><ol>" + "".join(tags.tag("li", what) for what in helps) + "</ol>")
    if wont:
        items = "".join(tags.tag("li", f"{what}: {why}") for what, why in wont)
        parts.append(f"<p><b>Will not help</b></p><ul>{items}</ul>")
    return "\n".join(parts)


def _layers(exam: Exam) -> str:
    if not exam.layers:
        return ""
    shown = tags.layers(exam)
    if len(exam.layers) > FEW:
        shown = f"<details><summary>All {len(exam.layers):,} layers</summary>{shown}</details>"
    return "<h2>Layers, data side first</h2>" + shown


def _closing(exam: Exam) -> str:
    error = exam.ledger.closing_error
    if not error >= 0:
        return ""
    text = f"The account differs from autograd's own end gradients by {words.number(error)} decades"
    return tags.tag("p", f"{text}, over {words.count(exam.ledger.nodes, 'operation')}.", of="dim")
