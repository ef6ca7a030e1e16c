"""Charts of a run: every layer over every step as a map, the loss, and how far each step moves."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import altair as alt

from fadeout.records import Samples, Track
from fadeout.records.decades import log10
from fadeout.render import charts, words
from fadeout.render.drawing import Drawing, Key
from fadeout.render.training_charts import DATA, LOSS, MIDDLE

COLUMNS = 140  # of the map
ROWS = 80  # layers of the map; of more, evenly spread ones are drawn
CELL = 15  # pixels of height for a layer
MARK = "#ff5a5f"


def matrices(samples: Samples) -> list[int]:
    """Places of the parameters that are shown: weights of layers, or all where there are none."""
    found = [i for i, name in enumerate(samples.names) if name.rpartition(".")[2].startswith("weight")]
    chosen = found or list(range(len(samples.names)))
    return chosen if len(chosen) <= ROWS else [chosen[round(i * (len(chosen) - 1) / (ROWS - 1))] for i in range(ROWS)]


def columns(samples: Samples) -> list[tuple[int, int, list[int]]]:
    """(first step, last step, bins) of each column: bins side by side, so that at most COLUMNS remain."""
    count = len(samples.first)
    size = max(1, math.ceil(count / COLUMNS))
    found = []
    for start in range(0, count, size):
        bins = list(range(start, min(count, start + size)))
        after = bins[-1] + 1  # a sample stands for the steps up to the next one
        last = samples.first[after] - 1 if after < count else samples.last[bins[-1]]
        found.append((samples.first[bins[0]], last, bins))
    return found


def heat(track: Track) -> Drawing | None:
    """Gradient norm of every layer over the steps; findings stand as lines at the step where they were told."""
    samples = track.of("gradient")
    if samples is None or not samples.names:
        return None
    rows: list[dict[str, Any]] = []
    shown, cells = matrices(samples), columns(samples)
    names = [f"{words.shorten(words.plain(samples.names[i].removesuffix('.weight')), 26)}" for i in shown]
    names = _unique(names)
    for first, last, bins in cells:
        for place, name in zip(shown, names, strict=True):
            levels = [log10(samples.low[b][place]) for b in bins if place < len(samples.low[b])]
            levels += [log10(samples.high[b][place]) for b in bins if place < len(samples.high[b])]
            finite = [v for v in levels if math.isfinite(v)]
            if finite:
                level: float | None = statistics.median(finite)
                said = words.level(statistics.fmean(finite))
            elif -math.inf in levels:
                level, said = None, "none"
            else:
                continue
            steps = f"{first:,} to {last:,}" if last > first else f"{first:,}"
            rows.append(
                {"layer": name, "from": first - 0.5, "to": last + 0.5, "level": level, "says": said, "steps": steps}
            )
    known = [row["level"] for row in rows if row["level"] is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    x = alt.X("from:Q", title="optimizer steps", scale=alt.Scale(domain=[0.5, cells[-1][1] + 0.5], nice=False),
              axis=alt.Axis(grid=False, tickMinStep=1, format=",d", labelOverlap=True))  # fmt: skip
    y = alt.Y("layer:N", sort=names, title=None, axis=alt.Axis(labelLimit=190, labelOverlap="greedy", ticks=False))
    scale = alt.Scale(domain=[low, high if high > low else low + 1], scheme="viridis")
    colour = alt.Color("level:Q", scale=scale, legend=alt.Legend(
        title="log10 of the gradient's norm", orient="top", gradientLength=220, titleFontWeight="normal"))  # fmt: skip
    tips = [alt.Tooltip("layer:N"), alt.Tooltip("steps:N"), alt.Tooltip("says:N", title="log10 of the norm")]
    layers = [charts.rows_of([r for r in rows if r["level"] is not None])
              .mark_rect().encode(x=x, x2="to:Q", y=y, color=colour, tooltip=tips)]  # fmt: skip
    none = [r for r in rows if r["level"] is None]
    if none:
        layers.append(charts.rows_of(none).mark_rect(color="#7d8590", opacity=0.5)
                      .encode(x=x, x2="to:Q", y=y, tooltip=tips))  # fmt: skip
    marks = _marks(track)
    if marks:
        layers.append(charts.rows_of(marks).mark_rule(color=MARK, strokeWidth=2)
                      .encode(x=alt.X("from:Q"), tooltip=[alt.Tooltip("says:N", title="told here")]))  # fmt: skip
    chart = alt.layer(*layers).properties(height=max(90, CELL * len(names)),
                                          description="Gradient norm of every layer over the steps")  # fmt: skip
    legend = [Key(says="a finding was told", colour=MARK, shape="line")] if marks else []
    if none:
        legend.append(Key(says="no gradient at all", colour="#7d8590", shape="bar"))
    return Drawing(name="heat", chart=chart, legend=tuple(legend))


def _unique(names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _marks(track: Track) -> list[dict[str, Any]]:
    return [
        {"from": n.step, "says": f"step {n.step:,}: {n.code} {words.clip(words.plain(n.text), 90)}"}
        for n in track.noticed
        if n.code and n.level != "gone"
    ]


def loss(track: Track) -> Drawing | None:
    """The loss of every step, a band where steps were joined; None where no loss was seen."""
    samples = track.of("loss")
    if samples is None:
        return None
    rows = [
        {"step": first, "low": low[0], "high": high[0], "middle": (low[0] + high[0]) / 2}
        for first, low, high in zip(samples.first, samples.low, samples.high, strict=True)
        if low and math.isfinite(low[0]) and math.isfinite(high[0])
    ]
    if len(rows) < 2:
        return None
    smooth = _smoothed([row["middle"] for row in rows])
    for row, value in zip(rows, smooth, strict=True):
        row["smooth"] = value
    x = alt.X("step:Q", title="optimizer steps", axis=alt.Axis(grid=False, format=",d", tickMinStep=1),
              scale=alt.Scale(nice=False))  # fmt: skip
    values = [row["middle"] for row in rows]
    wide = min(values) > 0 and max(values) / min(values) > 20
    scale = alt.Scale(type="log") if wide else alt.Scale(zero=False)
    y = alt.Y("middle:Q", title="loss", scale=scale, axis=alt.Axis(tickCount=5))
    plain = charts.TONE_COLOURS["plain"]
    chart = alt.layer(
        charts.rows_of(rows).mark_line(color=plain, opacity=0.35, strokeWidth=1).encode(x=x, y=y),
        charts.rows_of(rows).mark_line(color=plain, strokeWidth=2)
        .encode(x=x, y=alt.Y("smooth:Q", scale=scale, title="loss")),
    ).properties(height=170, description="Loss over the steps")  # fmt: skip
    return Drawing(name="run-loss", chart=chart)


def _smoothed(values: Sequence[float]) -> list[float]:
    out, kept = [], values[0]
    weight = min(0.5, 6 / max(6, len(values)) * 3)
    for value in values:
        kept += weight * (value - kept)
        out.append(kept)
    return out


def updates(track: Track) -> Drawing | None:
    """The true update ratio of every layer, at the steps where it was measured."""
    samples = track.of("update")
    if samples is None or len(samples.first) < 2:
        return None
    shown = matrices(samples)
    rows = [
        {"step": first, "layer": samples.names[place], "number": n, "level": log10(row[place])}
        for first, row in zip(samples.first, samples.high, strict=True)
        for n, place in enumerate(shown)
        if place < len(row) and row[place] > 0 and math.isfinite(row[place])
    ]
    if not rows:
        return None
    colour = alt.Color("number:Q", legend=None, scale=alt.Scale(
        domain=[0, max(1, len(shown) - 1)], range=[DATA, MIDDLE, LOSS], interpolate="lab"))  # fmt: skip
    x = alt.X("step:Q", title="optimizer steps", axis=alt.Axis(grid=False, format=",d", tickMinStep=1))
    y = alt.Y("level:Q", title="update over weight", axis=alt.Axis(labelExpr="'1e' + datum.value", tickMinStep=1))
    chart = (
        charts.rows_of(rows).mark_line(strokeWidth=1.4, point=alt.OverlayMarkDef(size=18))
        .encode(x=x, y=y, color=colour, detail="number:Q", tooltip=["layer:N", "step:Q"])
        .properties(height=190, description="Update ratio of every layer over the steps")
    )  # fmt: skip
    legend = (
        Key(says="nearest the data", colour=DATA, shape="line"), Key(says="nearest the loss", colour=LOSS, shape="line")
    )  # fmt: skip
    return Drawing(name="run-updates", chart=chart, legend=legend)
