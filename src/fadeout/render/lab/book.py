"""The lab book: the whole story on one offline page, in the reader's order, with every chart and number."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from fadeout.records import LabReport
from fadeout.render import charts, tags
from fadeout.render.lab import figures, said
from fadeout.render.page import document
from fadeout.version import VERSION

TITLE = "The vanishing gradient, measured"
LEAD = (
    "Neural networks learn by sending an error backwards through their layers. For twenty years that signal faded on "
    "its way, and deep networks could not be trained. This book runs the whole story on an ordinary computer: what "
    "went wrong, what it did, and which ideas brought the signal back.",
    "Every chapter begins with a claim from the literature. What had to come out if the claim is true was written "
    "down before the run. Then it was measured, several times with other random numbers, and each page says whether "
    "the claim held, and where it did not.",
)
CHAPTERS = {
    "The disease": "What a gradient is, how it fades, and what a network is like whose first layers get none.",
    "The cures": "Four ideas brought depth back: other activations, better starting weights, normalisation, and a way "
    "around each layer.",
    "Along time": "A network that reads a sequence step by step is as deep as the sequence is long, and has the same "
    "disease along time.",
    "In practice": "Numbers with few digits lose small gradients altogether, and some optimizers hide that they are "
    "small.",
    "Today": "The problem has not gone away. It has moved to places where a norm of the gradient does not show it.",
}
LEGEND = "Lines and bars are means over the seeds; bands and thin lines show the range of the seeds."


def book(reports: Sequence[LabReport]) -> str:
    """The page of all experiments that were run."""
    drawn: dict[str, Any] = {}
    shown = [report for report in reports if report.status != "not run"]
    parts = [
        tags.tag("p", "fadeout lab", of="name"),
        tags.tag("h1", TITLE),
        *(tags.tag("p", text, of="lead") for text in LEAD),
        _factors(),
        _contents(shown),
    ]
    chapter = ""
    for report in shown:
        if report.chapter != chapter:
            chapter = report.chapter
            parts.append(f'<div class="chapter"><h2>{escape(chapter)}</h2>')
            parts.append(tags.tag("p", CHAPTERS.get(chapter, ""), of="lead") + "</div>")
        parts += _experiment(report, drawn)
    parts.append(tags.tag("p", f"Made by fadeout {VERSION}. {LEGEND}", of="dim foot"))
    return document.whole(TITLE, "\n".join(part for part in parts if part), drawn, kind="book")


def _factors() -> str:
    """The one picture that needs no data: what ten factors of a tenth leave."""
    cells = []
    for i in range(10, -1, -1):
        number = "1" if i == 0 else f"0.{'0' * (i - 1)}1" if i <= 3 else f"10<sup>−{i}</sup>"
        name = "error" if i == 0 else f"layer {11 - i}"
        cells.append(f'<span style="--left:{max(0.0, 1 - i / 10):.2f}"><b>{number}</b>{name}</span>')
    said_ = (
        "The error sends a signal back, layer by layer. Each layer passes on a tenth of what it gets. "
        "The first layer gets one ten-billionth."
    )
    return f'<figure class="factors"><div>{"".join(cells)}</div><figcaption>{said_}</figcaption></figure>'


def _contents(reports: Sequence[LabReport]) -> str:
    rows = []
    for report in reports:
        state = said.verdict(report)
        tone = said.TONES.get(report.verdict, "dim")
        rows.append(
            f'<li><a href="#{escape(report.name)}">{escape(report.title)}</a> '
            f'<b class="{tone}">{escape(state)}</b><br>{escape(report.claim)}</li>'
        )
    return f'<h2>The claims</h2><ol class="claims">{"".join(rows)}</ol>'


def _experiment(report: LabReport, drawn: dict[str, Any]) -> Iterator[str]:
    state, tone = said.verdict(report), said.TONES.get(report.verdict, "dim")
    yield f'<section id="{escape(report.name)}">{tags.tag("h2", report.title)}'
    yield f'<p class="claim">{escape(report.claim)} <b class="{tone}">{escape(state)}</b></p>'
    yield tags.tag("p", f"{report.source}.", of="dim source")
    if report.why:
        yield tags.tag("p", report.why, of="bad")
    yield from (tags.prose(text) for text in report.story)
    for number in range(len(report.figures)):
        yield _figure(report, number, drawn)
    yield from (tags.prose(text) for text in report.lesson)
    yield _outcomes(report)
    yield _compared(report)
    told = f"{report.setting} {said.about(report).capitalize()}."
    yield tags.tag("p", told, of="dim source") + "</section>"


def _figure(report: LabReport, number: int, drawn: dict[str, Any]) -> str:
    figure = report.figures[number]
    made = figures.drawing(figure, report.table, name=f"{report.name}-{number + 1}")
    if made is None:
        return ""
    name = f"chart-{made.name}"
    drawn[name] = charts.spec(made.chart)
    return (
        f"<figure><h3>{escape(figure.title)}</h3>{tags.legend(made.legend)}"
        f'<div class="chart"><div id="{escape(name)}"></div></div>'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _outcomes(report: LabReport) -> str:
    asked = [outcome for outcome in report.outcomes if outcome.held is not None]
    if not asked:
        return ""
    rows = "".join(
        f"<tr><td>{escape(o.expected)}</td><td>{escape(o.measured)}</td>"
        f'<td><b class="{"good" if o.held else "bad"}">{said.MARKS[o.held]}</b></td></tr>'
        for o in asked
    )
    heads = "<tr><th>expected, written down before the run</th><th>measured</th><th></th></tr>"
    return f'<div class="scroll"><table class="words"><thead>{heads}</thead><tbody>{rows}</tbody></table></div>'


def _compared(report: LabReport) -> str:
    if not report.compared:
        return ""
    rows = "".join(
        "<tr>" + "".join(tags.tag("td", t) for t in (f"{c.source}: {c.what}", c.theirs, c.ours, c.differs)) + "</tr>"
        for c in report.compared
    )
    heads = "<tr><th>paper</th><th>theirs</th><th>ours</th><th>what differs</th></tr>"
    return f'<div class="scroll"><table class="words"><thead>{heads}</thead><tbody>{rows}</tbody></table></div>'
