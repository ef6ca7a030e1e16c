"""Learning curves of a race, drawn with Altair: skill on held-out rows over steps, with the range of the seeds."""

import math
import statistics
from typing import Any

import altair as alt

from fadeout.records import Arm, Trial
from fadeout.render import words

WIDTH, HEIGHT = 820, 340
WINNER, CONTROL, RANDOM, OTHER = "#1f8a5f", "#d1383d", "#b98a10", "#8a929b"


def curves(trial: Trial) -> alt.LayerChart | None:
    """One line an arm; None where nothing was measured."""
    rows = [row for arm in trial.arms for row in _points(arm, trial)]
    if not rows:
        return None
    kinds = [("winner", WINNER), ("no treatment", CONTROL), ("drawn at random", RANDOM), ("other arms", OTHER)]
    kinds = [pair for pair in kinds if any(row["kind"] == pair[0] for row in rows)]
    low = max(-0.25, min(0.0, *(row["skill"] for row in rows)))
    x = alt.X("step:Q", title="optimizer steps", axis=alt.Axis(format=",d", grid=False))
    scale = alt.Scale(domain=[low, 1.0], clamp=True)
    title = "skill, from what the script shows" if trial.scale else "skill on held-out rows: 0 best constant, 1 perfect"
    y = alt.Y("skill:Q", title=title, scale=scale)
    colour = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=[k for k, _ in kinds], range=[c for _, c in kinds]),
        legend=alt.Legend(orient="top", labelLimit=0, symbolOpacity=1, symbolType="circle"),
    )
    tooltip = [
        alt.Tooltip("arm:N"), alt.Tooltip("step:Q", format=",d"), alt.Tooltip("skill:Q", format=".2f"),
        alt.Tooltip("range:N", title="over the seeds"),
    ]  # fmt: skip
    main = [row for row in rows if row["kind"] != "other arms"]
    base = alt.Chart(alt.InlineData(values=rows))
    layers = [
        alt.Chart(alt.InlineData(values=main))
        .mark_area(opacity=0.15, clip=True)
        .encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q", color=colour, detail="arm:N"),
        base.mark_line(clip=True).encode(
            x=x,
            y=y,
            color=colour,
            detail="arm:N",
            strokeWidth=alt.condition("datum.kind == 'other arms'", alt.value(1.2), alt.value(2.4)),
        ),
        base.mark_point(filled=True, size=30, opacity=1, clip=True).encode(x=x, y=y, color=colour, tooltip=tooltip),
    ]
    where = "" if trial.scale else " on held-out rows"
    return alt.layer(*layers).properties(
        width=WIDTH, height=HEIGHT, description=f"Skill{where} of every arm over optimizer steps"
    )


def _points(arm: Arm, trial: Trial) -> list[dict[str, Any]]:
    kind = "other arms"
    if arm.treatment == trial.winner:
        kind = "winner"
    elif arm.role == "control":
        kind = "no treatment"
    elif arm.role == "random":
        kind = "drawn at random"
    found = []
    for step, values in arm.curve:
        kept = [v for v in values if math.isfinite(v)]
        if kept:
            found.append(
                {
                    "arm": words.plain(arm.title), "kind": kind, "step": step, "skill": statistics.fmean(kept),
                    "low": min(kept), "high": max(kept), "range": f"{min(kept):.2f} to {max(kept):.2f}",
                }
            )  # fmt: skip
    return found
