"""The depth profile in the terminal: the gradient norm at every layer as bars."""

from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from fadeout.render import bars, fold, sentences, views, words
from fadeout.render.account_text import LEAST_BAR, STYLES
from fadeout.render.layout import Page, cell, dim, flow, heading, prose
from fadeout.render.tones import TONES

NARROW = 80  # columns: below, a row that does not fit takes two lines; above, a long path loses its start
MOST_BAR = 64
UNREAD = {"none", "undefined", "unseen", "outside"}


def profile(depth: views.Depth, page: Page) -> Iterator[Text]:
    """A bar a layer, neighbours that behave alike folded into one row."""
    rows = fold.fold(depth)
    if not rows:
        return
    numbers = [f"{r.first}" if r.layers == 1 else f"{r.first}-{r.last}" for r in rows]
    names = [_names(row) for row in rows]
    values = [_values(row, depth.floor) for row in rows]
    marks = [_marks(row) for row in rows]
    if len(set(marks)) == 1:
        marks = [""] * len(rows)  # the same for every layer: the head of the report says it
    wide, kind = max(map(len, numbers)), max(cell_len(row.kind) for row in rows)
    value, mark = max(len("log10"), *map(len, values)), max(map(len, marks))
    fixed = 4 + wide + 3 + 2 + value + 2 + (2 + mark if mark else 0)
    path = max(1, *(cell_len(name) for name in names))
    stacked = fixed + kind + 2 + path + LEAST_BAR > page.width
    if stacked and page.width >= NARROW:
        stacked, kind = False, min(kind, 20)
        path = max(12, page.width - fixed - kind - 2 - LEAST_BAR)
        kind = min(kind, max(6, page.width - fixed - path - 2 - LEAST_BAR))
    left = 4 + wide + 3 if stacked else 4 + wide + 3 + kind + 2 + path + 2
    room = max(4, min(page.width - left - value - 2 - (2 + mark if mark and not stacked else 0), MOST_BAR))
    ruler = bars.scale([v for r in rows for v in (r.low, r.high) if r.state == "measured"], room)
    yield Text()
    title = "gradient norm at every layer" if len(rows) == len(depth.points) else "gradient norm along the layers"
    yield from heading(title, page, "data side first")
    yield dim(" " * left + f"{'log10':>{value}}  " + bars.axis(ruler))
    for row, number, name, said, word in zip(rows, numbers, names, values, marks, strict=True):
        out = Text(f"    [{number:>{wide}}] ")
        if stacked:
            yield out.append(row.kind, "dim").append(f"  {name}").append(f"  {word}" if word else "", "dim")
            out = Text(" " * left)
        else:
            out.append(cell(words.clip(row.kind, kind), kind), "dim")
            out.append(f"  {cell(name, path)}  ")
        out.append(f"{said:>{value}}  ")
        drawn = _bar(row, ruler, page)
        out.append(drawn, STYLES[row.tone])
        if word and not stacked:
            out.append(" " * (room - cell_len(drawn)) + f"  {word}", "dim")
        out.rstrip()
        yield out
    yield from _legend(depth, page, folded=len(rows) < len(depth.points), marks=marks)


def _bar(row: fold.Row, ruler: bars.Scale, page: Page) -> str:
    if row.state in UNREAD:
        return ""
    low, high = (ruler.part(v) for v in (row.low, row.high))
    return "".join(bars.span(low, high, ruler.width, ascii_only=page.ascii_only))


def _legend(depth: views.Depth, page: Page, *, folded: bool, marks: list[str]) -> Iterator[Text]:
    """What numbers, colours and words in the rows mean; only those that are there."""
    used = [tone for tone in TONES if any(p.tone == tone and p.state == "measured" for p in depth.points)]
    if page.colour and len(used) > 1:
        chip = "=" if page.ascii_only else "█"
        said = [f"{chip} {sentences.tone_words(tone, depth.trouble.sign)}" for tone in used]
        for line in flow(said, "   ", page.width - 4):
            out = dim("    " + line)
            for tone, words_of in zip(used, said, strict=True):
                if (at := line.find(words_of)) >= 0:
                    out.stylize(f"not dim {STYLES[tone]}", 4 + at, 5 + at)
            yield out
    parts = [sentences.LEGEND_LAYERS, sentences.LEGEND_LEVEL]
    parts += [sentences.LEGEND_SEES] if any("see" in m for m in marks) else []
    parts += [sentences.LEGEND_MOVES] if any("move" in m for m in marks) else []
    parts += [sentences.LEGEND_SHADE.format(shade="-" if page.ascii_only else "░")] if folded else []
    yield from prose(" ".join(parts), page, style="dim", indent="    ")


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
    if row.state == "outside":
        return words.NOT_REACHED
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
