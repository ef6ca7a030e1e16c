"""The depth profile in the terminal: the gradient norm at every layer as bars."""

from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from fadeout.render import bars, fold, views, words
from fadeout.render.layout import Page, cell, dim, heading, prose

BAND_STYLES: dict[views.Band, str] = {
    "near": "green",
    "1.3": "yellow",
    "2": "dark_orange",
    "4": "red",
    "up": "magenta",
}


def profile(depth: views.Depth, page: Page) -> Iterator[Text]:
    """A bar a layer, neighbours that behave alike folded into one row."""
    rows = fold.fold(depth)
    if not rows:
        return
    labels = [f"{r.first}" if r.layers == 1 else f"{r.first}-{r.last}" for r in rows]
    names = [_names(row) for row in rows]
    values = [_values(row, depth.floor) for row in rows]
    marks = [_marks(row) for row in rows]
    if len(set(marks)) == 1:
        marks = [""] * len(rows)  # the same for every layer: the head of the report says it
    index = max(len(label) for label in labels)
    kind = min(max(len(row.kind) for row in rows), 14 if page.width < 100 else 20)
    value = max(len("log10"), *(len(v) for v in values))
    mark = max(len(m) for m in marks)
    fixed = 4 + index + 2 + 2 + kind + 2 + value + 2 + (2 + mark if mark else 0)
    path = min(max(max(len(name) for name in names), 1), max(8, (page.width - fixed) // 2))
    room = max(8, min(page.width - fixed - path, 64))
    measured = [v for r in rows for v in (r.low, r.high) if r.state == "measured"]
    ruler = bars.scale(measured, room)
    left = fixed - (2 + mark if mark else 0) + path
    yield Text()
    title = "gradient norm at every layer" if len(rows) == len(depth.points) else "gradient norm along the layers"
    yield heading(title + ", data side first")
    yield dim(" " * (left - value - 2) + f"{'log10':>{value}}  " + (bars.axis(ruler) if measured else ""))
    for row, label, name, number, word in zip(rows, labels, names, values, marks, strict=True):
        out = Text(f"    {label:>{index}}  {cell(name, path)}  ")
        out.append(cell(words.clip(row.kind, kind), kind), "dim")
        out.append(f"  {number:>{value}}  ")
        low, high = (ruler.part(v) for v in (row.low, row.high))
        solid, light = bars.span(low, high, room, ascii_only=page.ascii_only)
        if row.state != "measured":
            solid, light = "", ""
        out.append(solid, BAND_STYLES[row.band])
        out.append(light, BAND_STYLES[row.band])
        out.append(" " * (room - cell_len(solid + light)))
        out.append(f"  {word}" if word else "", "dim")
        out.rstrip()
        yield out
    if len(rows) < len(depth.points):
        shade = "-" if page.ascii_only else "░"
        note = f"a row stands for neighbours that behave alike; {shade} runs from its smallest to its largest"
        yield from prose(note, page, style="dim", indent="    ")


def _names(row: fold.Row) -> str:
    first, last = (path or "(model)" for path in row.paths)
    if first == last:
        return first
    head, dot, _ = first.rpartition(".")
    while dot and not last.startswith(head + dot):
        head, dot, _ = head.rpartition(".")
    return f"{first} .. {last[len(head + dot) :]}"


def _values(row: fold.Row, floor: float) -> str:
    if row.state == "unseen":
        return words.below(floor)
    start, end = words.level(row.start), words.level(row.end)
    return start if start == end else f"{start} .. {end}"


def _marks(row: fold.Row) -> str:
    """What the effective depth says of the row."""
    if "unknown" in (row.sees, row.moves):
        return ""
    if (row.sees, row.moves) == ("none", "none"):
        return "neither"
    said = [
        verb if some == "all" else f"some {verb[:-1]}"
        for some, verb in ((row.sees, "sees"), (row.moves, "moves"))
        if some != "none"
    ]
    return " · ".join(said)
