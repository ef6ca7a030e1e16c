"""A notebook's cell: what the page shows, without a script, and readable on white and on black."""

from collections.abc import Iterable

from fadeout.records import Exam, Forecast, Ledger
from fadeout.render import charts, comparison, comparison_tags, forecast_text, sentences, tags, views
from fadeout.render.definitions import marked, once
from fadeout.render.drawing import Drawing
from fadeout.render.page import account, sections, vega

# No colours of its own but those that read on both: a notebook's theme decides ink and paper.
STYLE = """<style>
.fadeout { max-width: 860px; line-height: 1.45; }
.fadeout h1 { font-size: 125%; font-weight: 600; margin: 4px 0; }
.fadeout h2 { font-size: 108%; margin: 16px 0 4px; }
.fadeout h3 { font-size: 100%; margin: 0 0 2px; }
.fadeout p { margin: 3px 0; } .fadeout .dim, .fadeout .legend { opacity: 0.75; }
.fadeout .bad { color: #db4b4f; } .fadeout .good { color: #2a9d6f; } .fadeout .open { color: #b98a10; }
.fadeout .finding { border-left: 4px solid #80889180; padding: 4px 12px; margin: 8px 0; }
.fadeout .finding.alarm { border-color: #db4b4f; } .fadeout .finding.warning { border-color: #b98a10; }
.fadeout table { border-collapse: collapse; font-size: 92%; margin: 6px 0; color: inherit; }
.fadeout th, .fadeout td { text-align: left; padding: 2px 12px 2px 0; border-bottom: 1px solid #80889140;
  background: transparent; color: inherit; }
.fadeout .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.fadeout .path, .fadeout code, .fadeout pre { font-family: ui-monospace, monospace; background: transparent;
  color: inherit; }
.fadeout pre { white-space: pre-wrap; border: 1px solid #80889140; padding: 5px 8px; margin: 4px 0; }
.fadeout .columns { display: flex; flex-wrap: wrap; gap: 4px 40px; } .fadeout .scroll { overflow-x: auto; }
.fadeout dfn { font-style: inherit; border-bottom: 1px dotted #808891; cursor: help; }
.fadeout svg { max-width: 100%; height: auto; } .fadeout summary { cursor: pointer; }
.fadeout ol, .fadeout ul { margin: 2px 0; padding-left: 22px; }
</style>"""


def fragment(exam: Exam) -> str:
    """An exam: every section of its page; the long ones folded away."""
    parts = []
    for section in sections(exam):
        shown = _shown(section.parts)
        if section.aside:
            parts.append(tags.folded(section.title, shown))
        else:
            parts.append((f"<h2>{marked(section.title)}</h2>" if section.title else "") + shown)
    return _cell(parts)


def comparison_fragment(view: comparison.Comparison) -> str:
    """What `compare` returns."""
    return _cell([comparison_tags.table(view)])


def ledger_fragment(ledger: Ledger) -> str:
    """What `measure` returns: the account, and the gradient at every use of a weight."""
    depth, rows = views.weights(ledger), views.every_kind(ledger)
    parts: list[str | Drawing] = [tags.prose(sentences.ledger(ledger))]
    if any(abs(row.decades) >= 0.05 for row in rows):
        parts += ["<h2>Where the decades go</h2>", charts.kinds(rows)]
    if depth.points:
        parts += ["<h2>Gradient from data to loss</h2>", charts.profile(depth)]
    parts += [account.ends(ledger), account.unaccounted(ledger)]
    return _cell([_shown(parts)])


def forecast_fragment(forecast: Forecast) -> str:
    """What `predict` returns: what theory expects of every layer."""
    rows = forecast_text.rows(forecast)
    reasons = any(row.why for row in rows)
    heads = ["", "layer", "decades", "band", "q", *([""] if reasons else [])]
    body = [
        (f"[{row.number}]", row.path, row.decades, row.band, row.q, *([row.why] if reasons else [])) for row in rows
    ]
    shown = tags.table(heads, body, left=2, paths=(1,))
    if len(rows) > forecast_text.ROWS:
        shown = tags.folded(f"All {len(forecast.layers):,} layers", shown)
    return _cell([tags.prose(sentences.foreseen(forecast)), shown, tags.prose(sentences.FORECAST_LEGEND, of="dim")])


def _shown(parts: Iterable[str | Drawing]) -> str:
    return "\n".join(
        tags.legend(part.legend) + vega.picture(part) if isinstance(part, Drawing) else part for part in parts if part
    )


def _cell(parts: Iterable[str]) -> str:
    return once("\n".join(['<div class="fadeout">', STYLE, *(part for part in parts if part), "</div>"]))
