"""Theory on a page: the profile of an initialisation, a critical point, a phase diagram."""

import json
import math
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert
from rich.text import Text

from fadeout.errors import FadeoutError
from fadeout.render import words

ROWS = 12  # layers of a deep profile that are printed
SUFFIXES = (".html", ".svg", ".png", ".json")


def profile(found: dict[str, Any]) -> Text:
    """Fixed point, phase and the gradient's decades over depth, as lines of text."""
    text = Text()
    phase = {
        "ordered": "ordered, the gradient fades",
        "chaotic": "chaotic, the gradient blows up",
        "critical": "critical, the gradient keeps its size",
    }[found["phase"]]
    text.append(f"\n  {found['activation']}, sigma_w {found['sigma_w']:g}, sigma_b {found['sigma_b']:g}\n", "bold")
    text.append(f"  {phase}, {found['decades_per_layer']:+.3f} decades a layer at depth\n\n")
    text.append(f"  variance q*       {_number(found['q'])}" + ("\n" if found["stable"] else "   (not stable)\n"))
    text.append(f"  chi               {_number(found['chi'])}\n")
    text.append(f"  depth scales      xi_q {_number(found['xi_q'])}   xi_c {_number(found['xi_c'])} layers\n")
    text.append(f"  trainable depth   {_number(found['trainable_depth'])} layers (6 xi_c)\n")
    text.append(f"  over {found['depth']} layers    {words.decades(found['decades'])} decades")
    if "band" in found:
        low, high = found["band"]
        text.append(f"   band {low:.1f} .. {high:.1f} at width {found['width']}")
    text.append("\n\n  layer      q        decades below the last layer\n")
    levels = found["profile"]
    most = max((abs(v) for v in levels if math.isfinite(v)), default=0.0)
    count = len(levels)
    shown = range(count) if count <= ROWS else sorted({round(i * (count - 1) / (ROWS - 1)) for i in range(ROWS)})
    for i in shown:
        bar = "#" * round(40 * abs(levels[i]) / max(most, 0.05)) if math.isfinite(levels[i]) else ""
        text.append(f"  {i + 1:>5}  {_number(found['variances'][i]):>9}  {words.decades(levels[i]):>7}  {bar}\n")
    return text


def critical_words(found: dict[str, Any]) -> Text:
    """A critical point, or why there is none and what comes nearest."""
    text = Text()
    if found["sigma_w"] is None:
        text.append(f"\n  {found['activation']} has no critical initialisation\n", "bold")
    else:
        text.append(
            f"\n  {found['activation']}: sigma_w {found['sigma_w']:.5f}, sigma_b {found['sigma_b']:.5f}\n", "bold"
        )
        text.append(f"  variance q* {_number(found['q'])}, {'stable' if found['stable'] else 'not stable'}\n")
        text.append("  weights N(0, sigma_w^2 / fan_in), biases N(0, sigma_b^2)\n")
    if found.get("reason"):
        text.append(f"  {found['reason']}\n")
    near = found.get("nearest")
    if near:
        text.append(
            f"  nearest stable choice: sigma_w {near['sigma_w']:.5f}, sigma_b {near['sigma_b']:.5f}, "
            f"chi {_number(near['chi'])}\n"
        )
    centred = found.get("centred")
    if centred:
        text.append(
            f"  or centred, {centred['what']}: sigma_w {centred['sigma_w']:.5f}, sigma_b {centred['sigma_b']:.5f}\n"
        )
    return text


def phase_chart(found: dict[str, Any], *, point: tuple[float, float] | None = None) -> alt.LayerChart:
    """The phase diagram: decades a layer over sigma_w and sigma_b, the edge of chaos, your network as a point."""
    rows = []
    columns, lines = found["sigma_w"], found["sigma_b"]
    # cells overlap a little: side by side, their edges would show as stripes
    wide, high = columns[1] - columns[0], lines[1] - lines[0]
    for b, chis in zip(lines, found["chi"], strict=True):
        for w, chi in zip(columns, chis, strict=True):
            gain = math.log10(chi) / 2 if 0 < chi < math.inf else (-9.0 if chi <= 0 else 9.0)
            rows.append(
                {"w": w - wide, "w2": w + wide / 3, "b": b, "b2": b + high * 4 / 3, "gain": max(-0.3, min(0.3, gain))}
            )
    edge = []
    for b, chis in zip(lines, found["chi"], strict=True):
        for n in range(len(columns) - 1):
            low, up = chis[n] - 1, chis[n + 1] - 1
            if math.isfinite(low) and math.isfinite(up) and low * up <= 0 and low != up:
                edge.append({"b": b, "w": columns[n] + wide * (low / (low - up))})
                break
    x = alt.X("w:Q", title="sigma_w", scale=alt.Scale(domain=[0, columns[-1]], nice=False))
    y = alt.Y("b:Q", title="sigma_b", scale=alt.Scale(domain=[lines[0], lines[-1]], nice=False))
    field = (
        alt.Chart(alt.Data(values=rows))
        .mark_rect(clip=True)
        .encode(
            x=x,
            x2="w2:Q",
            y=y,
            y2="b2:Q",
            color=alt.Color(
                "gain:Q",
                title="decades a layer",
                scale=alt.Scale(scheme="purpleorange", domain=[-0.3, 0.3], reverse=True),
            ),
        )
    )
    layers: list[Any] = [field]
    if edge:
        layers.append(alt.Chart(alt.Data(values=edge)).mark_line(color="#222", strokeWidth=2).encode(x=x, y=y))
    if point is not None:
        mark = alt.Chart(alt.Data(values=[{"w": point[0], "b": point[1]}]))
        layers.append(mark.mark_point(size=120, filled=True, color="#222", shape="diamond").encode(x=x, y=y))
    title = f"{found['activation']}: left of the line the gradient fades (order), right of it it blows up (chaos)"
    return alt.layer(*layers).properties(width=560, height=360, title=title)


def write_diagram(found: dict[str, Any], path: Path, *, point: tuple[float, float]) -> None:
    """Write the phase diagram as a picture, an offline page, or its data.

    Raises:
        FadeoutError: If the ending is none of these or the file can't be written.
    """
    if path.suffix not in SUFFIXES:
        raise FadeoutError(f"predict: can't draw a diagram as {path.name!r}; end it in {', '.join(SUFFIXES)}")
    spec = phase_chart(found, point=point).to_dict()
    try:
        if path.suffix == ".json":
            path.write_text(json.dumps(found, allow_nan=True), encoding="utf-8")
        elif path.suffix == ".png":
            path.write_bytes(vl_convert.vegalite_to_png(spec))
        elif path.suffix == ".svg":
            path.write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")
        else:
            path.write_text(vl_convert.vegalite_to_html(spec, bundle=True), encoding="utf-8")
    except OSError as error:
        raise FadeoutError(f"predict: can't write {path}: {error.strerror}; check the folder") from error


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return words.UNKNOWN
    if math.isinf(value):
        return "unbounded" if value > 0 else "-inf"
    return f"{value:.4g}"
