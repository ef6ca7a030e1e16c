"""The account: which kinds of operations take or give the gradient, operation by operation, and where it ends."""

from collections.abc import Sequence

from fadeout.records import Exam, Ledger
from fadeout.render import charts, sentences, tags, views, words
from fadeout.render.drawing import Drawing
from fadeout.render.page.section import Section

MOST = 12  # operations
CANCELLED = (
    "Skips send the gradient two ways and add it up again: what they give cancels what the branches take. "
    "The stages below say what each branch carries."
)


def section(exam: Exam) -> Section:
    rows = views.kinds(exam)
    shown = [row for row in rows if row.kind != "loss"]
    parts: list[str | Drawing] = []
    if views.carried_by_skips(rows):
        parts.append(tags.prose(CANCELLED, of="dim"))
    elif any(abs(row.decades) >= 0.05 for row in shown):
        parts += [tags.prose("From the last layer back to the data, in decades.", of="dim"), charts.kinds(shown)]
    parts.append(f'<div class="columns">{operations(views.operations(exam))}{ends(exam.ledger)}</div>')
    parts.append(unaccounted(exam.ledger))
    return Section(title="Where the decades go", parts=tuple(parts))


def operations(every: Sequence[views.OperationRow]) -> str:
    """The operations of the trunk that take or give most."""
    rows = [row for row in every if not abs(row.decades) < 0.005]
    sourced = any(row.lines for row in rows)
    heads = ["operations on the trunk", *(["source"] if sourced else []), "decades"]
    body = [(row.label, *([_lines(row.lines)] if sourced else []), words.decades(row.decades)) for row in rows[:MOST]]
    more = tags.tag("p", f"and {len(rows) - MOST:,} more", of="dim") if len(rows) > MOST else ""
    return f"<div>{tags.table(heads, body, left=len(heads) - 1)}{more}</div>" if body else ""


def _lines(lines: tuple[str, ...]) -> str:
    return ", ".join(lines[:2]) + (f" and {len(lines) - 2} more" if len(lines) > 2 else "")


def ends(ledger: Ledger) -> str:
    """Every data end with the decades that arrive."""
    rows = [(words.plain(end.path), end.what, words.level(end.decades, floor=ledger.floor)) for end in ledger.ends]
    heads = ["where the account ends", "what", "log10 of gradient norm"]
    return f"<div>{tags.table(heads, rows, left=2, paths=(0,))}</div>" if rows else ""


def unaccounted(ledger: Ledger) -> str:
    missing = "".join(tags.tag("li", line) for line in sentences.unaccounted(ledger))
    return f"<h3>Not in the account</h3><ul>{missing}</ul>" if missing else ""
