"""Time and tokens in the terminal: small profiles over lag and distance."""

import math
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.text import Text

from fadeout.records import Exam
from fadeout.render import across_tokens, along_time, bars, words
from fadeout.render.account_text import STYLES
from fadeout.render.layout import PROSE, Page, cell, dim, flow, heading, prose
from fadeout.render.tones import Tone, of_lag

SPELLED_OUT = 3  # layers; the rest is counted
LEAST_BAR, MOST_BAR = 8, 40


def short(exam: Exam, page: Page) -> Iterator[Text]:
    """At most a line on time and a line on tokens, for a healthy network."""
    for said in (along_time.short(exam), across_tokens.short(exam)):
        if said:
            yield from prose(said, page)


def along(exam: Exam, page: Page) -> Iterator[Text]:
    """Recurrent layers, step by step back from the last."""
    rows, gates = along_time.measured(exam), along_time.gates_only(exam)
    if not rows and not gates:
        return
    yield Text()
    yield from heading("gradient along time", page, "steps back from the last" if rows else "")
    shown = rows[:SPELLED_OUT]
    levels = [lag.decades for row in shown for lag in along_time.some_lags(row)]
    for row in shown:
        said = f"{row.path} {row.remembers}" + (
            ", read with noise: the loss leaves out its end" if row.by_noise else ""
        )
        yield from prose(said, page, indent="    ")
        yield from _lags(exam, row, levels, page)
        for line in flow(along_time.openness(row), " · ", min(page.width, PROSE) - 6):
            yield dim("      " + line)
        if row.one_step:
            yield from prose(row.one_step, page, style="dim", indent="      ")
        if row.gate_horizon is not None:
            said = "by its biases alone it " + along_time.forgets(row.gate_horizon, unit="steps", of="unit")
            yield from prose(said, page, style="dim", indent="      ")
    for gate in gates[:SPELLED_OUT]:
        yield from prose(f"{gate.path} {along_time.forgets(gate.span)}", page, indent="    ")
    for said in (along_time.rest_of(rows[SPELLED_OUT:]), along_time.rest_of_gates(gates[SPELLED_OUT:])):
        if said:
            yield from prose(said, page, style="dim", indent="    ")


def _lags(exam: Exam, row: along_time.TimeRow, levels: Sequence[float], page: Page) -> Iterator[Text]:
    lags = along_time.some_lags(row)
    columns = [[along_time.part(lag.shares[i]) if lag.steps else "" for lag in lags] for i in range(len(row.paths))]
    yield from _bars(
        [(lag.steps, lag.decades) for lag in lags],
        levels,
        page,
        name="lag",
        tones=[of_lag(exam, row.path, lag.decades) for lag in lags],
        columns=columns,
        heads=row.paths,
    )


def across(exam: Exam, page: Page) -> Iterator[Text]:
    """Attentions in a line, what is unusual spelled out, and how far the output reaches back."""
    rows, maps = across_tokens.attentions(exam), across_tokens.reaches(exam)
    if exam.streams is not None:
        yield Text()
        yield from heading("residual streams", page)
        yield from prose(across_tokens.streams(exam.streams), page, indent="    ")
    if not rows and not maps:
        return
    yield Text()
    yield from heading("gradient across tokens", page)
    if rows:
        yield from prose(across_tokens.folded(rows), page, indent="    ")
    odd = [row for row in rows if row.unusual]
    for row in odd[:SPELLED_OUT]:
        yield from prose(f"{row.path}: {row.unusual}", page, indent="      ")
    if len(odd) > SPELLED_OUT:
        yield dim(f"      and {len(odd) - SPELLED_OUT:,} more like these")
    for reach in maps:
        sampled = f"from {words.count(len(reach.positions), 'sampled position')}"
        yield from prose(f"reach into {reach.path}, {sampled}: {across_tokens.about(reach)}", page, indent="    ")
        points = across_tokens.some_distances(reach)
        yield from _bars(points, [value for _, value in points], page, name="back")


def _bars(
    points: Sequence[tuple[int, float]],
    levels: Sequence[float],
    page: Page,
    *,
    name: str,
    tones: Sequence[Tone] = (),
    columns: Sequence[Sequence[str]] = (),
    heads: Sequence[str] = (),
) -> Iterator[Text]:
    """One bar a point on the common scale of `levels`, and columns of numbers where there is room."""
    if len(points) < 2:
        return
    labels = [f"{at:,}" for at, _ in points]
    values = [words.decades(value) for _, value in points]
    index = max(len(name), *(len(label) for label in labels))
    number = max(len("decades"), *(len(value) for value in values))
    wide = [max(len(head), *(len(v) for v in column)) for head, column in zip(heads, columns, strict=True)]
    fixed = 6 + index + 2 + number + 2
    if page.width - fixed - sum(w + 2 for w in wide) < LEAST_BAR:
        columns, heads, wide = (), (), []
    room = max(4, min(page.width - fixed - sum(w + 2 for w in wide), MOST_BAR))
    ruler = bars.scale(list(levels), room)
    head = "".join("  " + cell(title, w, right=True) for title, w in zip(heads, wide, strict=True))
    yield dim(f"      {name:>{index}}  {'decades':>{number}}  {bars.axis(ruler)}{head}".rstrip())
    for i, ((_, value), label, said) in enumerate(zip(points, labels, values, strict=True)):
        drawn = bars.bar(ruler.part(value), room, ascii_only=page.ascii_only) if math.isfinite(value) else ""
        out = Text(f"      {label:>{index}}  {said:>{number}}  ")
        out.append(drawn, STYLES[tones[i] if tones else "plain"])
        out.append(" " * (room - cell_len(drawn)))
        for column, w in zip(columns, wide, strict=True):
            out.append("  " + cell(column[i], w, right=True), "dim")
        out.rstrip()
        yield out
