"""Figures of the lab, drawn with Altair: measured rows over what was varied, with the range of the seeds."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from fadeout.records import Figure, Table
from fadeout.render import words
from fadeout.render.charts import LINE, rows_of
from fadeout.render.drawing import Drawing, Key

COLOURS = ("#3b7dd8", "#e8923c", "#1f9d6b", "#d1383d", "#9b5fc0", "#b98a10", "#5b8a9a", "#c0648f", "#7a8a3c", "#8a929b")
HEIGHT = 300
BAR = 30  # pixels of height for each bar
Rows = list[dict[str, Any]]


def drawing(figure: Figure, table: Table, *, name: str) -> Drawing | None:
    """The figure as a drawing; None where nothing of it was measured."""
    arms = figure.arms or table.arms(figure.quantity)
    arms = tuple(arm for arm in arms if arm in table.arms(figure.quantity))
    if not arms:
        return None
    draw = {"lines": _lines, "points": _points, "bars": _bars, "heat": _heat}[figure.mark]
    return draw(figure, table, arms, name)


def _said(figure: Figure, value: float) -> str:
    if figure.percent and math.isfinite(value):
        return f"{100 * value:.1f} %"
    return words.number(value)


def _points_of(figure: Figure, table: Table, quantity: str, arms: Sequence[str]) -> Rows:
    """A row for each arm and x: mean and range over the seeds."""
    found: Rows = []
    for arm in arms:
        for x in table.xs(quantity, arm):
            values = [v for v in table.values(quantity, arm, x) if not math.isnan(v)]
            finite = [v for v in values if math.isfinite(v)]
            if not values or (figure.x_log and not x > 0):
                continue
            mean = table.mean(quantity, arm, x)
            low, high = (min(finite), max(finite)) if finite else (mean, mean)
            said = _said(figure, mean) if math.isfinite(mean) else "nothing" if mean < 0 else "infinite"
            span = f"{_said(figure, low)} to {_said(figure, high)}" if len(finite) > 1 else ""
            found.append({"arm": words.plain(arm), "x": x, "value": mean, "low": low, "high": high,
                          "says": said, "range": span})  # fmt: skip
    return found


def _x(figure: Figure, rows: Rows) -> alt.X:
    values = sorted({row["x"] for row in rows})
    edge = {"nice": False, "padding": 7}  # pixels, so that no mark is cut in half
    scale = alt.Scale(type="log", **edge) if figure.x_log else alt.Scale(zero=False, **edge)
    ticks: dict[str, Any] = {"values": values} if len(values) <= 10 else {"tickCount": 8}
    return alt.X("x:Q", title=figure.x, scale=scale,
                 axis=alt.Axis(grid=False, labelOverlap="greedy", format=".6~g", **ticks))  # fmt: skip


def _domain(figure: Figure, rows: Rows) -> list[float]:
    """Ends of the axis of values; what lies outside is drawn at its edge."""
    finite = [v for row in rows for v in (row["low"], row["high"]) if math.isfinite(v) and (v > 0 or not figure.y_log)]
    level = [r.value for r in figure.references if not r.upright]
    low = figure.low if not math.isnan(figure.low) else min(finite + level, default=0.0)
    high = figure.high if not math.isnan(figure.high) else max(finite + level, default=1.0)
    if math.isnan(figure.low) and finite and not figure.y_log:
        low -= 0.04 * (high - low)
    if not math.isnan(figure.low) and finite and math.isnan(figure.high):
        low = max(low, min(finite + level) - 0.04 * (high - min(finite + level)))
    if math.isnan(figure.high) and not figure.y_log:
        high += 0.04 * (high - low)
    return [low, high] if high > low else [low - 1.0, high + 1.0]


def _y(figure: Figure, domain: list[float]) -> alt.Y:
    kind = {"type": "log"} if figure.y_log else {"zero": False}
    wide = figure.y_log and domain[0] > 0 and domain[1] / domain[0] > 1e4
    form = {"format": "%"} if figure.percent else {"format": "~e" if wide else ".6~g"}
    return alt.Y("value:Q", title=figure.y, scale=alt.Scale(domain=domain, nice=False, clamp=True, **kind),
                 axis=alt.Axis(tickCount=6, **form))  # fmt: skip


def _colour(arms: Sequence[str]) -> alt.Color:
    names = [words.plain(arm) for arm in arms]
    return alt.Color("arm:N", scale=alt.Scale(domain=names, range=_colours(arms)), legend=None)


def _colours(arms: Sequence[str]) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(arms))]


def _tips(figure: Figure, *, x: bool = True) -> list[Any]:
    tips = [alt.Tooltip("arm:N", title="network")]
    if x:
        tips.append(alt.Tooltip("x:Q", title=figure.x.split(",")[0] or "x", format=".6~g"))
    return [*tips, alt.Tooltip("says:N", title=figure.y or figure.quantity), alt.Tooltip("range:N", title="seeds")]


def _lines(figure: Figure, table: Table, arms: tuple[str, ...], name: str) -> Drawing:
    rows = _points_of(figure, table, figure.quantity, arms)
    theory = _points_of(figure, table, figure.theory, arms) if figure.theory else []
    domain = _domain(figure, rows + theory)
    x, y, colour = _x(figure, rows), _y(figure, domain), _colour(arms)
    inside = [row for row in rows if math.isfinite(row["value"])]
    lost = [{**row, "value": domain[0]} for row in rows if row["value"] == -math.inf]
    layers: list[Any] = list(_references(figure, x, y))
    layers.append(
        rows_of(inside).mark_area(opacity=0.16, clip=True)
        .encode(x=x, y=alt.Y("low:Q", scale=y["scale"], title=figure.y), y2="high:Q", color=colour)
    )  # fmt: skip
    if theory:
        known = [row for row in theory if math.isfinite(row["value"])]
        layers.append(rows_of(known).mark_line(strokeDash=[5, 4], strokeWidth=1.6, clip=True)
                      .encode(x=x, y=y, color=colour, detail="arm:N"))  # fmt: skip
    layers.append(rows_of(inside).mark_line(strokeWidth=2.2, clip=True).encode(x=x, y=y, color=colour, detail="arm:N"))
    few = len({row["x"] for row in rows}) <= 60
    if few:
        layers.append(rows_of(inside).mark_point(filled=True, size=36, opacity=1, clip=True)
                      .encode(x=x, y=y, color=colour, tooltip=_tips(figure)))  # fmt: skip
    if lost:
        layers.append(rows_of(lost).mark_point(shape="cross", angle=45, size=70, filled=True)
                      .encode(x=x, y=y, color=colour, tooltip=_tips(figure)))  # fmt: skip
    chart = alt.layer(*layers).properties(height=HEIGHT, description=figure.title)
    return Drawing(name=name, chart=chart, legend=_legend(figure, arms, "line"))


def _points(figure: Figure, table: Table, arms: tuple[str, ...], name: str) -> Drawing:
    rows: Rows = [
        {"arm": words.plain(row.arm), "x": row.x, "value": row.value, "low": row.value, "high": row.value,
         "says": _said(figure, row.value), "range": f"seed {row.seed}"}
        for row in table.rows
        if row.quantity == figure.quantity and row.arm in arms and math.isfinite(row.value)
        and not (figure.x_log and not row.x > 0)
    ]  # fmt: skip
    x, y = _x(figure, rows), _y(figure, _domain(figure, rows))
    layers = [*_references(figure, x, y),
              rows_of(rows).mark_point(filled=True, size=60, opacity=0.75, clip=True)
              .encode(x=x, y=y, color=_colour(arms), tooltip=_tips(figure))]  # fmt: skip
    chart = alt.layer(*layers).properties(height=HEIGHT, description=figure.title)
    return Drawing(name=name, chart=chart, legend=_legend(figure, arms, "dot"))


def _bars(figure: Figure, table: Table, arms: tuple[str, ...], name: str) -> Drawing:
    """A bar an arm, the name and the number beside it; with several x, one group for each x."""
    rows: Rows = []
    for arm in arms:
        for x in table.xs(figure.quantity, arm) or (math.nan,):
            values = table.values(figure.quantity, arm, None if math.isnan(x) else x)
            finite = [v for v in values if math.isfinite(v)]
            if finite:
                mean = table.mean(figure.quantity, arm, None if math.isnan(x) else x)
                group = "" if math.isnan(x) else f"{x:g}"
                said = _said(figure, mean)
                rows.append({"arm": words.plain(arm), "group": group, "value": mean, "low": min(finite),
                             "high": max(finite), "says": said,
                             "range": f"{_said(figure, min(finite))} to {_said(figure, max(finite))}"})  # fmt: skip
            if math.isnan(x):
                break
    for row in rows:
        row["label"] = f"{row['arm']}\n{row['says']}"
    low, high = _domain(figure, rows)
    if math.isnan(figure.low) and not figure.y_log:
        low = min(0.0, low)
    if math.isnan(figure.high) and not figure.y_log:
        high = max(0.0, high)
    kind = {"type": "log"} if figure.y_log else {}
    scale = alt.Scale(domain=[low, high], nice=False, clamp=True, **kind)
    x_axis = alt.X("value:Q", title=figure.y, scale=scale,
                   axis=alt.Axis(tickCount=5, format="%" if figure.percent else ".6~g", labelOverlap=True))  # fmt: skip
    y_axis = alt.Y("label:N", sort=[row["label"] for row in rows], title=None,
                   axis=alt.Axis(labelLimit=230, labelExpr="split(datum.label, '\\n')", labelLineHeight=14,
                                 labelOffset=-7, domain=False, ticks=False))  # fmt: skip
    tips = _tips(figure, x=False)
    grouped = len({row["group"] for row in rows}) > 1
    colour = _colour(arms)
    if grouped:
        for row in rows:
            row["label"] = f"{row['arm']}, {row['group']}\n{row['says']}"
        y_axis["sort"] = [row["label"] for row in rows]
    drawn = rows_of(rows).mark_bar(height=alt.RelativeBandSize(0.62), clip=True)
    layers = [drawn.encode(x=x_axis, y=y_axis, color=colour, tooltip=tips),
              rows_of(rows).mark_rule(strokeWidth=1.4, color=LINE, clip=True)
              .encode(x=alt.X("low:Q", scale=scale, title=figure.y), x2="high:Q", y=y_axis)]  # fmt: skip
    for reference in figure.references:
        rule = rows_of([{"value": reference.value}]).mark_rule(strokeDash=[5, 4], color=LINE, strokeWidth=1.4)
        layers.append(rule.encode(x=x_axis))
    chart = alt.layer(*layers).properties(height=max(2, len(rows)) * (BAR + 6), description=figure.title)
    return Drawing(name=name, chart=chart, legend=_legend(figure, (), "bar"))


def _heat(figure: Figure, table: Table, arms: tuple[str, ...], name: str) -> Drawing:
    rows: Rows = [
        {**row, "x": f"{row['x']:g}"} for row in _points_of(figure, table, figure.quantity, arms)
        if math.isfinite(row["value"])
    ]  # fmt: skip
    xs = sorted({row["x"] for row in rows}, key=float)
    names = [words.plain(arm) for arm in arms]
    low, high = _domain(figure, rows)
    x = alt.X("x:N", title=figure.x, sort=xs, axis=alt.Axis(labelAngle=0, labelOverlap="greedy", ticks=False))
    y = alt.Y("arm:N", title=figure.y, sort=names[::-1], axis=alt.Axis(labelOverlap="greedy", ticks=False))
    form = "%" if figure.percent else ".6~g"
    colour = alt.Color("value:Q", scale=alt.Scale(domain=[low, high], scheme="viridis", clamp=True),
                       legend=alt.Legend(title=None, format=form, orient="top", gradientLength=180))  # fmt: skip
    tips = [alt.Tooltip("arm:N", title=figure.y.split(",")[0]), alt.Tooltip("x:N", title=figure.x.split(",")[0]),
            alt.Tooltip("says:N", title=figure.quantity)]  # fmt: skip
    layers: list[Any] = [rows_of(rows).mark_rect().encode(x=x, y=y, color=colour, tooltip=tips)]
    if figure.theory:
        edge = _edges(figure, table, arms, xs)
        if edge:
            mark = rows_of(edge).mark_tick(color="#ff4d4d", thickness=3, orient="vertical",
                                           height=alt.RelativeBandSize(1))  # fmt: skip
            layers.append(mark.encode(x=x, y=y, tooltip=[alt.Tooltip("says:N", title=figure.theory)]))
    chart = alt.layer(*layers).properties(height=max(160, 24 * len(names)), description=figure.title)
    legend = (Key(says=figure.theory, colour="#ff4d4d", shape="bar"),) if figure.theory else ()
    return Drawing(name=name, chart=chart, legend=legend)


def _edges(figure: Figure, table: Table, arms: tuple[str, ...], xs: list[str]) -> Rows:
    """Where theory draws a line through the map: the nearest column to its value in each row."""
    found: Rows = []
    for arm in arms:
        if arm not in table.arms(figure.theory):
            continue
        value = table.mean(figure.theory, arm)
        if math.isfinite(value) and value <= 1.5 * float(xs[-1]):
            nearest = min(xs, key=lambda x: abs(math.log(float(x) / value)) if value > 0 else math.inf)
            found.append({"arm": words.plain(arm), "x": nearest, "says": words.number(value)})
    return found


def _references(figure: Figure, x: alt.X, y: alt.Y) -> list[Any]:
    made = []
    for reference in figure.references:
        across = {"x": x} if reference.upright else {"y": y}
        row = {"x": reference.value} if reference.upright else {"value": reference.value}
        made.append(
            rows_of([row]).mark_rule(strokeDash=[5, 4], color=LINE, strokeWidth=1.4, clip=True).encode(**across)
        )
    return made


def _legend(figure: Figure, arms: Sequence[str], shape: Any) -> tuple[Key, ...]:
    keys = [Key(says=arm, colour=c, shape=shape) for arm, c in zip(arms, _colours(arms), strict=True)]
    if len(keys) == 1 and not figure.references and not figure.theory:
        return ()
    if figure.theory:
        keys.append(Key(says="dashed: theory", colour=LINE, shape="dash"))
    return (*keys, *(Key(says=r.says, colour=LINE, shape="dash") for r in figure.references))
