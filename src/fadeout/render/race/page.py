"""The page of a trial: one offline HTML file with outcome, learning curves, table and patch."""

from html import escape
from typing import Any

from fadeout.records import Trial
from fadeout.render import charts, tags, words
from fadeout.render.page import document
from fadeout.render.race import curves, said


def race_page(trial: Trial, *, title: str | None = None) -> str:
    """The whole report as one file that needs no network.

    Args:
        title: Of the page; the case's name where None.
    """
    name = words.plain(title if title is not None else trial.case) or "race"
    head = said.headline(trial)[0]
    drawn: dict[str, Any] = {}
    chart = curves.curves(trial)
    parts = [tags.tag("p", f"fadeout · {name}", of="name"), _head(trial)]
    parts += [tags.tag("p", line) for line in said.besides(trial)]
    parts.append(tags.tag("p", said.about(trial), of="dim wide"))
    if chart is not None:
        drawn["chart-curves"] = charts.spec(chart)
        note = (
            "A line is the mean over the seeds, the band their range. Arms whose line ends early were beaten or failed."
        )
        parts += ["<h2>Learning curves</h2>", tags.tag("p", note, of="dim")]
        parts.append('<div class="chart"><div id="chart-curves"></div></div>')
    parts += ["<h2>Arms</h2>", _table(trial), _change(trial), _wont_help(trial)]
    body = "\n".join(part for part in parts if part)
    return document.whole(f"{name}: {head.lower().rstrip(':')}", body, drawn)


def fragment(trial: Trial) -> str:
    """For a notebook: the outcome and the table."""
    lines = [_head(trial, tag="p"), *(tags.tag("p", line) for line in said.besides(trial)), _table(trial)]
    return '<div style="max-width: 860px">' + "\n".join([*lines, _change(trial)]) + "</div>"


def _head(trial: Trial, *, tag: str = "h1") -> str:
    head, sentence = said.headline(trial)
    of = "flows" if trial.winner is not None else "undetermined"
    first, stop, rest = sentence.partition(". ")
    shown = f'<{tag} class="{of}"><b>{escape(head)}</b> {escape(first + (stop.strip() or ""))}</{tag}>'
    return shown + (tags.tag("p", rest) if rest else "")


def _table(trial: Trial) -> str:
    rows = []
    for row in said.rows(trial):
        name = f"{row.cells[0]}, the winner" if row.mark == "winner" else row.cells[0]
        skill = row.cells[1].replace(" ", "\N{NO-BREAK SPACE}")
        rows.append((f"{name}; {row.why}" if row.why else name, skill, *row.cells[2:]))
    return tags.table(list(said.heads(trial)), rows, left=2) + tags.tag("p", said.scale(trial), of="dim")


def _change(trial: Trial) -> str:
    lines = [words.plain(line) for line in trial.patch.splitlines()] if trial.patch else list(said.recipe(trial))
    if not lines:
        return ""
    return "<h2>What to change</h2><pre>" + escape("\n".join(lines)) + "</pre>"


def _wont_help(trial: Trial) -> str:
    pairs = said.wont_help(trial)
    if not pairs:
        return ""
    return "<h2>Will not help</h2><ul>" + "".join(tags.tag("li", f"{name}: {why}") for name, why in pairs) + "</ul>"
