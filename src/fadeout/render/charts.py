"""Charts: views drawn with Altair, always over decades, so that a fade is a straight line."""

import math
from typing import Any

import altair as alt

from fadeout.records import Exam
from fadeout.render import views, words

WIDTH, HEIGHT = 820, 300
SHORT = 30  # stages: as many have a labelled bar of their own
BAND_COLOURS: dict[views.Band, str] = {
    "near": "#2a9d6f",
    "1.3": "#c9a227",
    "2": "#e07b39",
    "4": "#d1383d",
    "up": "#9b4dca",
}
TAKES, GIVES = "#d1383d", "#2a9d6f"
LINE, THEORY = "#7d8590", "#3b7dd8"  # read on white and on black
SHARES = ["#4878a8", "#e8923c", "#6aa56e", "#a0a6ae"]
THICK, THIN = {"strokeWidth": 1.5}, {"strokeWidth": 0.6, "opacity": 0.5}
RANKS = ("largest branch", "second", "third", "others")


def profile(
    exam: Exam, *, other: Exam | None = None, names: tuple[str, str] = ("", "other"), width: int = WIDTH
) -> alt.LayerChart:
    """log10 gradient norm at every layer's output, data at the left, loss at the right.

    Args:
        other: A second exam, drawn as a dashed line.
        names: What the two exams are called.
    """
    depth = views.depth(exam)
    rows = [_point(point, depth.floor) for point in depth.points]
    drawn = [row for row in rows if row["level"] is not None]
    shared = [row["level"] for row in drawn]
    layers: list[alt.Chart] = []
    band = [
        {"layer": p.index, "low": p.forecast_band[0], "high": p.forecast_band[1]}
        for p in depth.points
        if p.forecast_band is not None
    ]
    x = alt.X(
        "layer:Q",
        title="layer, from data to loss",
        scale=alt.Scale(domain=[0.5, max(1, len(rows)) + 0.5], nice=False, zero=False),
        axis=alt.Axis(
            # few layers: a tick each, or a short axis repeats its numbers
            **({"values": list(range(1, len(rows) + 1))} if len(rows) <= 25 else {"tickMinStep": 1}),
            format=",d",
            grid=False,
            labelOverlap=True,
        ),
    )
    second = [_point(point, math.nan) for point in views.depth(other).points] if other else []
    shared += [row["level"] for row in second if row["level"] is not None]
    shared += [value for row in band for value in (row["low"], row["high"])]
    low, high = _domain(shared)
    y = alt.Y(
        "level:Q",
        title="gradient norm at the layer's output",
        scale=alt.Scale(domain=[low, high], nice=False, zero=False),
        axis=alt.Axis(labelExpr="'1e' + datum.value", tickMinStep=1, tickCount=8),
    )
    if band:
        layers.append(
            _chart(band)
            .mark_area(opacity=0.25, color=THEORY)
            .encode(x=x, y=alt.Y("low:Q", scale=alt.Scale(domain=[low, high], nice=False)), y2="high:Q")
        )
    layers.append(_chart(drawn).mark_line(color=LINE, **THIN if len(rows) > 300 else THICK).encode(x=x, y=y))
    if second:
        layers.append(
            _chart([row for row in second if row["level"] is not None])
            .mark_line(color=THEORY, strokeDash=[5, 3], strokeWidth=1.5)
            .encode(x=x, y=y, tooltip=[alt.Tooltip("path:N"), alt.Tooltip("says:N", title=names[1])])
        )
    lost = [{**row, "level": low + 0.03 * (high - low)} for row in rows if row["level"] is None]
    domain = [(views.BAND_WORDS[b], BAND_COLOURS[b]) for b in views.BANDS]
    domain = [pair for pair in domain if any(row["band"] == pair[0] for row in drawn)]
    domain += [(said, LINE) for said in dict.fromkeys(row["band"] for row in lost)]
    colour = alt.Color(
        "band:N",
        title=None,
        scale=alt.Scale(domain=[name for name, _ in domain], range=[value for _, value in domain]),
        legend=alt.Legend(orient="top", symbolType="circle", labelLimit=0),
    )
    tooltip = [
        alt.Tooltip("layer:Q", format=",d"),
        alt.Tooltip("path:N"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("says:N", title="log10 of the norm"),
        alt.Tooltip("gap:N", title="below the last layer"),
        alt.Tooltip("trained:N", title="sees, moves"),
    ]
    size = 60 if len(rows) <= 60 else 30 if len(rows) <= 300 else 12
    points = _chart(drawn).mark_point(filled=True, size=size, opacity=1)
    layers.append(points.encode(x=x, y=y, color=colour, tooltip=tooltip))
    if lost:  # at the foot of the chart, as what they are: no gradient, not seen or not defined
        crosses = _chart(lost).mark_point(shape="cross", angle=45, size=max(40, size), filled=True)
        layers.append(crosses.encode(x=x, y=y, color=colour, tooltip=tooltip))
    return alt.layer(*layers).properties(
        width=width, height=HEIGHT, description="Gradient norm at every layer, logarithmic, from data to loss"
    )


def _point(point: views.Point, floor: float) -> dict[str, Any]:
    if point.state == "unseen":
        says = words.below(floor) if math.isfinite(floor) else "too small to see"
    else:
        says = words.level(point.level)
    verbs = [name for name, flag in (("sees", point.sees), ("moves", point.moves)) if flag]
    known = point.sees is not None and point.moves is not None
    return {
        "layer": point.index,
        "path": point.path or "(model)",
        "kind": point.kind,
        "level": point.level if point.state == "measured" else None,
        "says": says,
        "gap": words.decades(point.gap),
        "band": views.BAND_WORDS[point.band] if point.state == "measured" else says,
        "trained": (", ".join(verbs) or "neither") if known else words.UNKNOWN,
    }


def _domain(values: list[float]) -> tuple[float, float]:
    """At least four decades: a narrower axis would make an even profile look steep."""
    finite = [value for value in values if math.isfinite(value)]
    low = math.floor(min(finite, default=0.0) - 0.2)
    high = math.ceil(max(finite, default=0.0) + 0.2)
    while high - low < 4:
        high, low = (high + 1, low) if (high - low) % 2 else (high, low - 1)
    return float(low), float(high)


def kinds(exam: Exam, *, width: int = WIDTH) -> alt.LayerChart:
    """Decades by kind on the trunk as diverging bars, the loss left out."""
    rows = [
        {
            "kind": ", ".join([f"{row.label} ({row.operations[0][0]:,} {row.operations[0][1]})"])
            if len(row.operations) == 1
            else row.label,
            "decades": row.decades,
            "says": words.decades(row.decades)
            + (f" · {words.share(row.part)}" if row.decades < 0 and math.isfinite(row.part) else ""),
            "does": "takes" if row.decades < 0 else "gives",
        }
        for row in views.kinds(exam)
        if row.kind != "loss" and abs(row.decades) >= 0.05
    ]
    return _bars(_bounded(rows), "kind", width, "decades by kind")


def stages(exam: Exam, *, width: int = WIDTH) -> alt.LayerChart | alt.Chart:
    """Log gain of every stage; labelled bars while they are few, a series from data to loss else."""
    found = views.stages(exam)
    rows = [
        {
            "stage": f"{row.number}. {words.shorten(words.plain(row.stage.to), 28)}",
            "number": row.number,
            "span": f"{words.plain(row.stage.start)} → {words.plain(row.stage.to)}",
            "decades": row.stage.log_gain,
            "says": words.decades(row.stage.log_gain),
            "does": "takes" if row.stage.log_gain < 0 else "gives",
        }
        for row in found
        if not math.isnan(row.stage.log_gain) and row.stage.start != "loss"
    ]
    rows = _bounded(rows)
    if len(rows) <= SHORT:
        return _bars(rows, "stage", width, "log gain of every stage")
    x = alt.X(
        "number:Q",
        title="stage, counted from the loss",
        scale=alt.Scale(domain=[0.5, len(found) + 0.5], nice=False, zero=False, reverse=True),
        axis=alt.Axis(grid=False, tickMinStep=1, format=",d", labelOverlap=True),
    )
    return (
        _chart(rows)
        .mark_bar(size=max(1.0, 0.8 * width / len(found)))
        .encode(x=x, y=alt.Y("decades:Q", title="log gain, decades"), color=_does(), tooltip=["span:N", "says:N"])
        .properties(width=width, height=180, description="Log gain of every stage, from data to loss")
    )


def shares(exam: Exam, *, width: int = WIDTH) -> alt.Chart | None:
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
    x = alt.X(
        "number:Q",
        title="stage, counted from the loss",
        scale=alt.Scale(domain=[0.5, len(found) + 0.5], nice=False, zero=False, reverse=True),
        axis=alt.Axis(grid=False, tickMinStep=1, format=",d", labelOverlap=True),
    )
    colour = alt.Color(
        "branch:N",
        title=None,
        scale=alt.Scale(domain=[r for r in RANKS if any(row["branch"] == r for row in rows)], range=SHARES),
        legend=alt.Legend(orient="top", direction="horizontal"),
    )
    return (
        _chart(rows)
        .mark_bar(size=max(1.0, min(26.0, 0.8 * width / len(found))))
        .encode(
            x=x,
            y=alt.Y("share:Q", title="share of the gradient", axis=alt.Axis(format="%")),
            color=colour,
            order=alt.Order("rank:Q"),
            tooltip=["who:N", "says:N", "to:N"],
        )
        .properties(width=width, height=180, description="Share of the gradient that each branch carries")
    )


def _bars(rows: list[dict[str, Any]], name: str, width: int, about: str) -> alt.LayerChart:
    y = alt.Y(f"{name}:N", sort=[row[name] for row in rows], title=None, axis=alt.Axis(labelLimit=240))
    most = max((abs(row["decades"]) for row in rows), default=1.0)
    low = min(0.0, *(row["decades"] for row in rows)) if rows else 0.0
    high = max(0.0, *(row["decades"] for row in rows)) if rows else 1.0
    room = 0.2 * max(most, high - low)
    x = alt.X(
        "decades:Q",
        title="decades",
        axis=alt.Axis(tickCount=6, labelOverlap=True),
        scale=alt.Scale(domain=[low - (room if low < 0 else 0), high + (room if high > 0 else 0)], nice=False),
    )
    bars = (
        _chart(rows)
        .mark_bar(height=alt.RelativeBandSize(0.7))
        .encode(x=x, y=y, color=_does(), tooltip=[f"{name}:N", "says:N"])
    )
    parts = [bars]
    for side, test in (("right", "datum.decades < 0"), ("left", "datum.decades >= 0")):
        parts.append(
            _chart(rows)
            .transform_filter(test)
            .mark_text(align=side, dx=-5 if side == "right" else 5, color=LINE)
            .encode(x=x, y=y, text="says:N")
        )
    return alt.layer(*parts).properties(width=width, height=alt.Step(22), description=about)


def _bounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Infinite decades as bars half as long again as the longest finite one; the label says it."""
    longest = max((abs(row["decades"]) for row in rows if math.isfinite(row["decades"])), default=0.0)
    edge = 1.5 * max(1.0, longest)
    return [{**row, "decades": max(-edge, min(edge, row["decades"]))} for row in rows]


def _does() -> alt.Color:
    return alt.Color("does:N", scale=alt.Scale(domain=["takes", "gives"], range=[TAKES, GIVES]), legend=None)


def _chart(rows: list[dict[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


def spec(chart: alt.LayerChart | alt.Chart) -> dict[str, Any]:
    """The chart as a Vega-Lite specification that refers to nothing outside itself."""
    made: dict[str, Any] = chart.to_dict(validate=False)  # the schema check takes longer than all the rest
    made.pop("$schema", None)
    made["background"] = "transparent"
    made["config"] = {
        "view": {"stroke": None},
        "axis": {"labelFontSize": 12, "titleFontSize": 12},
        "aria": True,
    }
    return made
