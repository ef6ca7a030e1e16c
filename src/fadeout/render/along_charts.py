"""Time and tokens as charts: decades over lag and distance, shares of paths, the reach map."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from fadeout.render import across_tokens, along_time, words
from fadeout.render.charts import LINE, THEORY, rows_of
from fadeout.render.drawing import Drawing, Key

LINES = 8  # layers with a line of their own: more colours can't be told apart
LAYERS = ["#4878a8", "#e8923c", "#6aa56e", "#a5673f", "#9b4dca", "#b98a10", "#4aa3a2", "#a0a6ae"]
PATHS = {"cell": "#4878a8", "hidden": "#e8923c", "above": "#6aa56e"}
_ONE_DECADE = Key(says="one decade lost", colour=LINE, shape="dash")
POWERS = "datum.value == 0 ? '1' : '1e' + datum.value"


def lines(rows: Sequence[along_time.TimeRow]) -> Drawing:
    """Decades of the gradient over the lag, a line a layer, the longest horizons first."""
    shown = rows[:LINES]
    points: list[dict[str, Any]] = [
        {
            "lag": lag.steps,
            "decades": lag.decades if math.isfinite(lag.decades) else None,
            "layer": row.path,
            "says": words.decades(lag.decades),
        }
        for row in shown
        for lag in along_time.thinned(row)
    ]
    last = max((point["lag"] for point in points), default=1)
    low, high = _domain([point["decades"] for point in points if point["decades"] is not None])
    y = alt.Y(
        "decades:Q",
        title="gradient norm, last step = 1",
        scale=alt.Scale(domain=[low, high], nice=False),
        axis=_powers(low, high),
    )
    colour = alt.Color(
        "layer:N",
        title=None,
        scale=alt.Scale(domain=[row.path for row in shown], range=LAYERS[: len(shown)]),
        legend=None,
    )
    drawn = (
        rows_of(points)
        .mark_line(strokeWidth=1.8)
        .encode(
            x=_back("lag", last, "steps back from the last"), y=y, color=colour, tooltip=["layer:N", "lag:Q", "says:N"]
        )
    )
    chart = alt.layer(_decade(), drawn).properties(
        height=240, description="Gradient norm over steps back in time, logarithmic, one line a layer"
    )
    legend = tuple(Key(says=row.path, colour=c, shape="line") for row, c in zip(shown, LAYERS, strict=False))
    return Drawing(name="time", chart=chart, legend=(*legend, _ONE_DECADE))


def paths(row: along_time.TimeRow) -> Drawing:
    """How the gradient of one layer splits between its paths at each lag, stacked to 1."""
    lags = [lag for lag in along_time.thinned(row) if lag.steps > 0]
    points: list[dict[str, Any]] = [
        {"lag": lag.steps, "path": name, "order": i, "share": share if math.isfinite(share) else None}
        for lag in lags
        for i, (name, share) in enumerate(zip(row.paths, lag.shares, strict=True))
    ]
    colours = [PATHS.get(name, LAYERS[(i + 3) % len(LAYERS)]) for i, name in enumerate(row.paths)]
    colour = alt.Color(
        "path:N",
        title=None,
        scale=alt.Scale(domain=list(row.paths), range=colours),
        legend=None,
    )
    y = alt.Y("share:Q", title="share of the gradient", axis=alt.Axis(format="%"), stack="zero")
    chart = (
        rows_of(points)
        .mark_area(opacity=0.9)
        .encode(
            x=_back("lag", row.lags[-1].steps, "steps back from the last"),
            y=y,
            color=colour,
            order=alt.Order("order:Q"),
            tooltip=["path:N", "lag:Q", alt.Tooltip("share:Q", format=".0%")],
        )
        .properties(height=180, description="Share of the gradient by path over steps back in time")
    )
    legend = tuple(Key(says=name, colour=c, shape="bar") for name, c in zip(row.paths, colours, strict=True))
    return Drawing(name="paths", chart=chart, legend=legend)


def reach_map(reach: across_tokens.Reach, *, name: str = "reach") -> Drawing:
    """log10 of what each input position receives from each sampled output position."""
    points: list[dict[str, Any]] = [
        {
            "p": cell.position,
            "a": cell.first - 0.5,
            "b": cell.last + 0.5,
            "v": cell.level,
            "i": f"{cell.first}" if cell.first == cell.last else f"{cell.first} to {cell.last}",
        }
        for cell in reach.cells
    ]
    chart = (
        rows_of(points)
        .mark_rect()
        .encode(
            x=alt.X(
                "a:Q",
                title="input position",
                scale=alt.Scale(domain=[-0.5, reach.inputs - 0.5], nice=False, zero=False),
                axis=alt.Axis(grid=False, tickMinStep=1, format=",d"),
            ),
            x2="b:Q",
            y=alt.Y("p:O", title="output position", sort="ascending", axis=alt.Axis(labelOverlap=True)),
            color=alt.Color(
                "v:Q",
                title="log10 of the gradient",
                scale=alt.Scale(scheme="viridis", zero=False, nice=False),
                legend=alt.Legend(orient="top", gradientLength=200, titleFontWeight="normal"),
            ),
            tooltip=[
                alt.Tooltip("p:Q", title="output position"),
                alt.Tooltip("i:N", title="input position"),
                alt.Tooltip("v:Q", title="log10 of the gradient", format=".1f"),
            ],
        )
        .properties(
            height=max(80, min(300, 22 * len(reach.positions))),
            description="Gradient of sampled output positions at every input position",
        )
    )
    return Drawing(name=name, chart=chart)


def distance(reach: across_tokens.Reach, *, name: str = "far") -> Drawing:
    """The mean reach over the distance back, decades below distance 0."""
    points: list[dict[str, Any]] = [
        {"back": d, "decades": value if math.isfinite(value) else None, "says": words.decades(value)}
        for d, value in reach.curve
    ]
    low, high = _domain([value for _, value in reach.curve if math.isfinite(value)])
    y = alt.Y(
        "decades:Q",
        title="mean gradient, itself = 1",
        scale=alt.Scale(domain=[low, high], nice=False),
        axis=_powers(low, high),
    )
    drawn = (
        rows_of(points)
        .mark_line(strokeWidth=1.8, color=THEORY, point=len(points) <= 60)
        .encode(x=_back("back", max(1, len(points) - 1), "tokens back"), y=y, tooltip=["back:Q", "says:N"])
    )
    chart = alt.layer(_decade(), drawn).properties(
        height=180, description="Mean gradient over the distance back in tokens, logarithmic"
    )
    return Drawing(name=name, chart=chart, legend=(_ONE_DECADE,))


def _back(field: str, last: int, title: str) -> alt.X:
    return alt.X(
        f"{field}:Q",
        title=title,
        scale=alt.Scale(domain=[0, max(1, last)], nice=False),
        axis=alt.Axis(grid=False, tickMinStep=1, format=",d", labelOverlap=True),
    )


def _powers(low: float, high: float) -> alt.Axis:
    """Ticks at whole decades only, about eight of them."""
    step = max(1, math.ceil((high - low) / 8))
    values = list(range(math.floor(high), math.ceil(low) - 1, -step))
    return alt.Axis(labelExpr=POWERS, values=values, labelOverlap=False)


def _decade() -> alt.Chart:
    return rows_of([{"decades": -1.0}]).mark_rule(strokeDash=[4, 4], color=LINE).encode(y="decades:Q")


def _domain(values: Sequence[float]) -> tuple[float, float]:
    """Whole decades, at least two of them below the start: a flat curve shall look flat."""
    low = math.floor(min(values, default=0.0) - 0.1)
    high = math.ceil(max(values, default=0.0))
    return float(min(low, high - 2)), float(high)
