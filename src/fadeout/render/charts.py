"""Charts: views drawn with Altair, always over decades, so that a fade is a straight line."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from fadeout.records import Exam
from fadeout.render import sentences, views, words
from fadeout.render.drawing import Drawing, Key
from fadeout.render.tones import TONES, Tone, of_gap, trouble

HEIGHT = 300
NAMED = 25  # layers: as many have a name each on the axis, even on a phone
SHORT = 30  # stages: as many have a labelled bar of their own
TONE_COLOURS: dict[Tone, str] = {"plain": "#4878a8", "mild": "#c9a227", "warm": "#e07b39", "bad": "#d1383d"}
LINE, THEORY = "#7d8590", "#3b9dd8"  # read on white and on black
SHARES = ["#4878a8", "#e8923c", "#6aa56e", "#a0a6ae"]
THICK, THIN = {"strokeWidth": 1.5}, {"strokeWidth": 0.6, "opacity": 0.5}
RANKS = ("largest branch", "second", "third", "others")


def profile(
    depth: views.Depth,
    *,
    other: views.Depth | None = None,
    names: tuple[str, str] = ("", "other"),
    levels: tuple[float, float] | None = None,
) -> Drawing:
    """log10 gradient norm at every layer's output, data at the left, loss at the right.

    Args:
        other: A second profile, drawn as a dashed line.
        names: What the two are called.
        levels: The axis from .. to, log10; None: as the values need it.
    """
    rows = [_point(point, depth.floor) for point in depth.points]
    drawn = [row for row in rows if row["level"] is not None]
    second = [_point(point, math.nan) for point in other.points] if other else []
    band = [
        {"layer": p.index, "low": p.forecast_band[0], "high": p.forecast_band[1]}
        for p in depth.points
        if p.forecast_band is not None
    ]
    low, high = levels or shared_domain([depth, other] if other else [depth])
    x, y = layers_axis(depth), norm_axis(low, high)
    legend = []
    layers: list[alt.Chart] = []
    if len(band) > 1:  # of one layer it would be a dot
        layers.append(
            rows_of(band)
            .mark_area(opacity=0.25, color=THEORY)
            .encode(x=x, y=alt.Y("low:Q", scale=alt.Scale(domain=[low, high], nice=False)), y2="high:Q")
        )
        legend.append(Key(says=sentences.THEORY_BAND, colour=THEORY, shape="band"))
    layers.append(rows_of(drawn).mark_line(color=LINE, **THIN if len(rows) > 300 else THICK).encode(x=x, y=y))
    if second:
        layers.append(
            rows_of([row for row in second if row["level"] is not None])
            .mark_line(color=THEORY, strokeDash=[5, 3], strokeWidth=1.5)
            .encode(x=x, y=y, tooltip=[alt.Tooltip("path:N"), alt.Tooltip("says:N", title=names[1])])
        )
        legend.append(Key(says=names[1], colour=THEORY, shape="dash"))
    tooltip = [
        alt.Tooltip("layer:Q", format=",d"),
        alt.Tooltip("path:N"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("says:N", title="log10 of the norm"),
        alt.Tooltip("gap:N", title="against the last layer"),
        alt.Tooltip("trained:N", title="sees, moves"),
    ]
    size = 60 if len(rows) <= 60 else 30 if len(rows) <= 300 else 12
    points = rows_of(drawn).mark_point(filled=True, size=size, opacity=1)
    layers.append(points.encode(x=x, y=y, color=toned(), tooltip=tooltip))
    used = [tone for tone in TONES if any(row["tone"] == tone for row in drawn)]
    if len(used) > 1:
        legend += [
            Key(says=sentences.tone_words(tone, depth.trouble.sign), colour=TONE_COLOURS[tone], shape="dot")
            for tone in used
        ]
    lost = [{**row, "level": low + 0.03 * (high - low)} for row in rows if row["level"] is None]
    if lost:  # at the foot of the chart, as what they are: no gradient, not seen or not defined
        grave = TONE_COLOURS["bad"] if depth.trouble.most == "bad" else LINE
        crosses = rows_of(lost).mark_point(shape="cross", angle=45, size=max(40, size), filled=True, color=grave)
        layers.append(crosses.encode(x=x, y=y, tooltip=tooltip))
        legend.append(
            Key(says=words.series(list(dict.fromkeys(row["says"] for row in lost))), colour=grave, shape="cross")
        )
    chart = alt.layer(*layers).properties(
        height=HEIGHT, description="Gradient norm at every layer, logarithmic, from data to loss"
    )
    return Drawing(name="profile", chart=chart, legend=tuple(legend))


def layers_axis(depth: views.Depth) -> alt.X:
    """Layers by their numbers and names, data side at the left."""
    first = depth.points[0].index if depth.points else 1
    last = depth.points[-1].index if depth.points else 1
    names = {point.index: layer_name(point) for point in depth.points}
    listed = json.dumps([names.get(i, "") for i in range(first, last + 1)])
    few = len(names) <= NAMED
    ticks: dict[str, Any] = {"values": sorted(names)} if few else {"tickMinStep": 1, "tickCount": 20}
    return alt.X(
        "layer:Q",
        title="layers, from data to loss",
        scale=alt.Scale(domain=[first - 0.5, last + 0.5], nice=False, zero=False),
        axis=alt.Axis(
            **ticks,
            labelExpr=f"{listed}[datum.value - {first}] || ''",
            labelAngle=-60,
            labelLimit=130,
            labelOverlap=False if few else "greedy",
            grid=False,
        ),
    )


def layer_name(point: views.Point) -> str:
    """'[6] Linear' where the path is a bare number, else '[6] encoder.0'."""
    bare = not point.path or point.path.replace(".", "").isdigit()
    return f"[{point.index}] {words.plain(point.kind) if bare else words.shorten(point.path, 22)}"


def norm_axis(low: float, high: float) -> alt.Y:
    return alt.Y(
        "level:Q",
        title="norm of the gradient",
        scale=alt.Scale(domain=[low, high], nice=False, zero=False),
        axis=alt.Axis(labelExpr="'1e' + datum.value", tickMinStep=1, tickCount=8),
    )


def _point(point: views.Point, floor: float) -> dict[str, Any]:
    if point.state == "unseen":
        says = words.below(floor) if math.isfinite(floor) else "too small to see"
    else:
        says = words.NOT_REACHED if point.state == "outside" else words.level(point.level)
    verbs = [name for name, flag in (("sees", point.sees), ("moves", point.moves)) if flag]
    known = point.sees is not None and point.moves is not None
    return {
        "layer": point.index,
        "path": point.path or "(model)",
        "kind": point.kind,
        "level": point.level if point.state == "measured" else None,
        "says": says,
        "gap": words.decades(point.gap),
        "tone": point.tone,
        "trained": (", ".join(verbs) or "neither") if known else words.UNKNOWN,
    }


def shared_domain(depths: Sequence[views.Depth]) -> tuple[float, float]:
    """An axis that holds every level of some profiles, and the bands of theory."""
    points = [point for depth in depths for point in depth.points]
    values = [point.level for point in points if point.state == "measured"]
    return decade_domain(values + [v for point in points if point.forecast_band for v in point.forecast_band])


def decade_domain(values: list[float]) -> tuple[float, float]:
    """At least four decades: a narrower axis would make an even profile look steep."""
    finite = [value for value in values if math.isfinite(value)]
    low = math.floor(min(finite, default=0.0) - 0.2)
    high = math.ceil(max(finite, default=0.0) + 0.2)
    while high - low < 4:
        high, low = (high + 1, low) if (high - low) % 2 else (high, low - 1)
    return float(low), float(high)


def kinds(rows: Sequence[views.KindRow]) -> Drawing:
    """Decades by kind as diverging bars."""
    listed = [
        {
            "kind": ", ".join([f"{row.label} ({row.operations[0][0]:,} {row.operations[0][1]})"])
            if len(row.operations) == 1
            else row.label,
            "decades": row.decades,
            "says": words.decades(row.decades) + (f" · {words.share(row.part)}" if math.isfinite(row.part) else ""),
            "tone": row.tone,
        }
        for row in rows
        if abs(row.decades) >= 0.05
    ]
    return Drawing(name="kinds", chart=_bars(_bounded(listed), "kind", "decades by kind", below=True))


def stages(exam: Exam) -> Drawing:
    """Log gain of every stage; labelled bars while they are few, a series from data to loss else."""
    found, wrong = views.stages(exam), trouble(exam)
    rows = [
        {
            "stage": f"{row.number}. {words.shorten(words.plain(row.stage.to), 20)}",
            "number": row.number,
            "span": views.span(row.stage),
            "decades": row.stage.log_gain,
            "says": words.decades(row.stage.log_gain),
            "tone": of_gap(wrong, row.stage.log_gain),
        }
        for row in found
        if not math.isnan(row.stage.log_gain) and row.stage.start != "loss"
    ]
    rows = _bounded(rows)
    if len(rows) <= SHORT:
        return Drawing(name="stages", chart=_bars(rows, "stage", "log gain of every stage", below=False))
    chart = (
        rows_of(rows)
        .mark_bar(size=_thick(len(found)))
        .encode(
            x=_stage_axis(len(found)),
            y=alt.Y("decades:Q", title="log gain, decades"),
            color=toned(),
            tooltip=["span:N", "says:N"],
        )
        .properties(height=180, description="Log gain of every stage, from data to loss")
    )
    return Drawing(name="stages", chart=chart)


def shares(exam: Exam) -> Drawing | None:
    """What each branch carries where branches meet, from data to loss; None without branches."""
    found = views.stages(exam)
    rows = [
        {
            "number": row.number,
            "branch": RANKS[min(rank, len(RANKS) - 1)],
            "rank": rank,
            "who": who or "input",
            "share": share,
            "says": words.share(share),
            "to": words.plain(row.stage.to),
        }
        for row in found
        for rank, (who, share) in enumerate(sorted(views.branches(row.stage), key=lambda b: -b[1]))
        if math.isfinite(share)
    ]
    if not rows:
        return None
    ranks = [r for r in RANKS if any(row["branch"] == r for row in rows)]
    chart = (
        rows_of(rows)
        .mark_bar(size=_thick(len(found)))
        .encode(
            x=_stage_axis(len(found)),
            y=alt.Y("share:Q", title="share of the gradient", axis=alt.Axis(format="%")),
            color=alt.Color("branch:N", scale=alt.Scale(domain=ranks, range=SHARES), legend=None),
            order=alt.Order("rank:Q"),
            tooltip=["who:N", "says:N", "to:N"],
        )
        .properties(height=180, description="Share of the gradient that each branch carries")
    )
    legend = tuple(Key(says=r, colour=c, shape="bar") for r, c in zip(ranks, SHARES, strict=False))
    return Drawing(name="shares", chart=chart, legend=legend)


def _stage_axis(many: int) -> alt.X:
    return alt.X(
        "number:Q",
        title="stage, from data to loss",
        scale=alt.Scale(domain=[0.5, many + 0.5], nice=False, zero=False),
        axis=alt.Axis(grid=False, tickMinStep=1, format=",d", labelOverlap=True),
    )


def _thick(many: int) -> alt.ExprRef:
    """Bars that leave a gap at any width of the chart."""
    return alt.ExprRef(expr=f"max(1, min(26, 0.7 * width / {max(1, many)}))")


def _bars(rows: list[dict[str, Any]], name: str, about: str, *, below: bool) -> alt.Chart:
    """Diverging bars; the numbers stand in the labels, beside or below the names, where they never run into a bar."""
    listed = [{**row, "label": row[name] + ("\n" if below else ": ") + row["says"]} for row in rows]
    y = alt.Y(
        "label:N",
        sort=[row["label"] for row in listed],
        title=None,
        axis=alt.Axis(
            labelLimit=190,
            labelExpr="split(datum.label, '\\n')",
            labelLineHeight=14,
            labelOffset=-7 if below else 0,  # two lines around the middle of the bar
            domain=False,
            ticks=False,
        ),
    )
    low = min(0.0, *(row["decades"] for row in rows)) if rows else 0.0
    high = max(0.0, *(row["decades"] for row in rows)) if rows else 1.0
    x = alt.X(
        "decades:Q",
        title="decades",
        axis=alt.Axis(tickCount=5, labelOverlap=True),
        scale=alt.Scale(domain=[low, high], nice=False),
    )
    return (
        rows_of(listed)
        .mark_bar(height=alt.RelativeBandSize(0.7))
        .encode(x=x, y=y, color=toned(), tooltip=[f"{name}:N", "says:N"])
        .properties(height=max(1, len(rows)) * (36 if below else 22), description=about)
    )


def _bounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Infinite decades as bars half as long again as the longest finite one; the label says it."""
    longest = max((abs(row["decades"]) for row in rows if math.isfinite(row["decades"])), default=0.0)
    edge = 1.5 * max(1.0, longest)
    return [{**row, "decades": max(-edge, min(edge, row["decades"]))} for row in rows]


def toned() -> alt.Color:
    return alt.Color("tone:N", scale=alt.Scale(domain=list(TONES), range=[TONE_COLOURS[t] for t in TONES]), legend=None)


def rows_of(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def spec(chart: Any, *, width: int | None = None) -> dict[str, Any]:
    """The chart as a Vega-Lite specification that refers to nothing outside itself.

    Args:
        width: Pixels; None: as wide as its place on the page.
    """
    made: dict[str, Any] = chart.to_dict(validate=False)  # the schema check takes longer than all the rest
    made.pop("$schema", None)
    made["width"] = width or "container"
    made["autosize"] = {"type": "fit-x", "contains": "padding"}
    made["background"] = "transparent"
    made["config"] = {
        "view": {"stroke": None},
        "axis": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
        "aria": True,
    }
    return made
