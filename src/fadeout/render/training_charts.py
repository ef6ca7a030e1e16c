"""Training as charts: the loss of every step, and the gradient of every layer at the probes."""

import math
from typing import Any

import altair as alt

from fadeout.records import Exam, Training
from fadeout.records.decades import log10
from fadeout.render import charts, sentences, views, words
from fadeout.render.drawing import Drawing, Key

LINES = 30  # layers: of more, evenly spread ones are drawn
WIDE = 20.0  # largest loss over the smallest, from which the axis is logarithmic
DATA, MIDDLE, LOSS = "#e8923c", "#9b5fc0", "#3b7dd8"


def losses(course: Training) -> Drawing:
    """The loss of every step's own batch, and that of the best constant output."""
    rows: list[dict[str, Any]] = [
        {"step": i + 1, "loss": value, "says": words.number(value)}
        for i, value in enumerate(course.losses)
        if math.isfinite(value)
    ]
    values = [float(row["loss"]) for row in rows]
    known = math.isfinite(course.constant)
    wide = bool(values) and min(values) > 0 and max(values) / min(values) > WIDE
    scale = alt.Scale(type="log") if wide else alt.Scale(zero=False, nice=True)
    y = alt.Y("loss:Q", title="loss", scale=scale, axis=alt.Axis(tickCount=5))
    drawn = charts.rows_of(rows).mark_line(color=charts.TONE_COLOURS["plain"], strokeWidth=1.8)
    layers = [drawn.encode(x=_steps(course), y=y, tooltip=["step:Q", alt.Tooltip("says:N", title="loss")])]
    legend = [Key(says="loss of each step's batch", colour=charts.TONE_COLOURS["plain"], shape="line")]
    if known and not (wide and course.constant <= 0):
        rule = charts.rows_of([{"loss": course.constant}]).mark_rule(strokeDash=[5, 4], color=charts.LINE)
        layers.append(rule.encode(y=y))
        said = f"best constant output: {words.number(course.constant)}"
        legend.append(Key(says=said, colour=charts.LINE, shape="dash"))
    chart = alt.layer(*layers).properties(height=180, description="Loss over the steps that a copy was trained for")
    return Drawing(name="losses", chart=chart, legend=tuple(legend))


def gradients(exam: Exam) -> Drawing | None:
    """log10 gradient norm of every layer at every probe, a line a layer; None where it was not kept."""
    course = exam.course
    if course is None or not course.layers or len(course.probes) < 2:
        return None
    named = {point.path: charts.layer_name(point) for point in views.depth(exam).points}
    every = list(enumerate(course.layers, start=1))
    shown = every if len(every) <= LINES else [every[round(i * (len(every) - 1) / (LINES - 1))] for i in range(LINES)]
    rows: list[dict[str, Any]] = [
        {
            "step": step,
            "number": number,
            "layer": named.get(words.plain(trace.path), words.plain(trace.path)),
            "level": level if math.isfinite(level) else None,
            "says": words.level(level),
        }
        for number, trace in shown
        for step, level in zip(course.probes, map(log10, trace.gradient_norm), strict=False)
    ]
    known = [row["level"] for row in rows if row["level"] is not None]
    if not known:
        return None
    low, high = charts.decade_domain(known)
    colour = alt.Color(
        "number:Q",
        legend=None,
        scale=alt.Scale(domain=[1, max(2, len(every))], range=[DATA, MIDDLE, LOSS], interpolate="lab"),
    )
    drawn = (
        charts.rows_of(rows)
        .mark_line(strokeWidth=1.6, point=alt.OverlayMarkDef(size=22))
        .encode(
            x=_steps(course),
            y=charts.norm_axis(low, high),
            color=colour,
            detail="number:Q",
            tooltip=[
                "layer:N",
                alt.Tooltip("step:Q", title="after step"),
                alt.Tooltip("says:N", title="log10 of the norm"),
            ],
        )
        .properties(height=240, description="Gradient norm of every layer over the training steps, logarithmic")
    )
    first, last = (named.get(words.plain(t.path), words.plain(t.path)) for _, t in (every[0], every[-1]))
    legend = [
        Key(says=f"{first}, nearest the data", colour=DATA, shape="line"),
        Key(says=f"{last}, nearest the loss", colour=LOSS, shape="line"),
    ]
    if len(shown) < len(every):
        legend.append(Key(says=sentences.some_of(len(shown), len(every), "layer"), colour=MIDDLE, shape="line"))
    return Drawing(name="gradients", chart=drawn, legend=tuple(legend))


def _steps(course: Training) -> alt.X:
    return alt.X(
        "step:Q",
        title="steps",
        scale=alt.Scale(domain=[0, max(1, course.steps)], nice=False),
        axis=alt.Axis(grid=False, tickMinStep=1, format=",d", labelOverlap=True),
    )
