"""The account in the terminal: decades by kind, the stages that change most, what could not be priced."""

import math
from collections.abc import Iterator, Sequence

from rich.text import Text

from fadeout.records import Exam, Ledger
from fadeout.render import bars, sentences, views, words
from fadeout.render.layout import Page, cell, dim, flow, heading, prose
from fadeout.render.tones import Tone

STYLES: dict[Tone, str] = {"plain": "cyan", "mild": "yellow", "warm": "dark_orange", "bad": "red"}
LEAST_BAR = 12


def kinds(exam: Exam, page: Page) -> Iterator[Text]:
    """What each kind of operation does to the gradient between the last layer and the data."""
    every = views.kinds(exam)
    if views.carried_by_skips(every):
        return
    yield from _kinds([row for row in every if row.kind != "loss"], page, "from the last layer back to the data")


def by_kind(ledger: Ledger, page: Page) -> Iterator[Text]:
    """The same of a ledger alone, the loss included, so that the rows add up to its total."""
    yield from _kinds(views.every_kind(ledger), page, "from the loss back to the data")


def _kinds(every: Sequence[views.KindRow], page: Page, way: str) -> Iterator[Text]:
    rows = [row for row in every if abs(row.decades) >= 0.05]
    if not rows:
        return
    labels = [_operations(row, page.width) for row in rows]
    column = max(len(label) for label in labels)
    parts = [words.share(r.part) if math.isfinite(r.part) else "" for r in rows]
    numbers = [words.decades(r.decades) for r in rows]
    wide, tail = max(len(n) for n in numbers), max(len(p) for p in parts)
    stacked = 4 + column + 2 + wide + 2 + LEAST_BAR + 2 + tail > page.width
    room = page.width - (6 if stacked else 4 + column + 2) - wide - 2 - 2 - tail
    room = max(4, min(room, 50))
    most = max((abs(row.decades) for row in rows if math.isfinite(row.decades)), default=1.0)
    yield Text()
    yield from heading("where the decades go", page, f"{way}; {sentences.LEGEND_DECADES}")
    for row, label, part, value in zip(rows, labels, parts, numbers, strict=True):
        size = min(1.0, abs(row.decades) / most)
        drawn = bars.bar(size, room, ascii_only=page.ascii_only)
        if stacked:
            yield Text(f"    {label}")
        out = Text(f"      {value:>{wide}}  " if stacked else f"    {label:<{column}}  {value:>{wide}}  ")
        out.append(cell(drawn, room), STYLES[row.tone])
        out.append(f"  {part}" if part else "")
        out.rstrip()
        yield out


def _operations(row: views.KindRow, width: int) -> str:
    shown = ", ".join(f"{n:,} {op}" for n, op in row.operations[: 2 if width >= 100 else 1])
    more = len(row.operations) - (2 if width >= 100 else 1)
    if more > 0:
        shown += f", {more} more"
    return f"{row.label} ({shown})" if shown else row.label


def stages(exam: Exam, page: Page) -> Iterator[Text]:
    """The stages that change the gradient most; a chain's stages are its layers, drawn already."""
    total = len(exam.ledger.stages)
    joined = views.carried_by_skips(views.kinds(exam))
    rows = [
        row
        for row in views.stages(exam, most=6)
        if (row.stage.branches or joined) and row.stage.start != "loss" and not abs(row.stage.log_gain) < 0.005
    ]
    if not any(row.stage.branches for row in rows):
        return
    yield Text()
    title = f"largest of {total:,} stages" if total > len(rows) else "stages"
    yield from heading(title, page, "data side first; at a join, each branch's share of the gradient")
    names = [views.span(row.stage) for row in rows]
    index = len(f"{rows[-1].number}")
    column = min(max(len(name) for name in names), max(16, page.width - 30 - index))
    for row, name in zip(rows, names, strict=True):
        said = [f"{who or 'input'} {words.share(share)}" for who, share in views.branches(row.stage)]
        out = Text(f"    {row.number:>{index}}  ")
        indent = out.cell_len
        if len(name) > column:
            yield out.append(name)
            out = Text(" " * indent + " " * column)
        else:
            out.append(cell(name, column))
        out.append(f"  {words.decades(row.stage.log_gain):>6}")
        shares = ", ".join(said)
        if shares and out.cell_len + 2 + len(shares) <= page.width:
            yield out.append("  " + shares, "dim")
            continue
        yield out
        for line in flow(said, ", ", page.width - indent - 2):
            yield dim(" " * (indent + 2) + line)


def unaccounted(ledger: Ledger, page: Page) -> Iterator[Text]:
    lines = sentences.unaccounted(ledger)
    if not lines:
        return
    yield Text()
    yield from heading("not in the account", page)
    for line in lines[:3]:
        yield from prose(line, page, indent="    ")
    if len(lines) > 3:
        yield dim(f"    and {len(lines) - 3:,} more")
