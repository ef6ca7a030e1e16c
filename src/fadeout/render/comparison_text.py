"""A comparison in the terminal: exams side by side, or one below the other where the terminal is narrow."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from fadeout.records import Exam
from fadeout.render import comparison, printout, words
from fadeout.render.layout import Page, cell, dim, fit, page_of


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareTable:
    """A comparison that is laid out when rich prints it: a display hook with a record's body."""

    view: comparison.Comparison
    width: int | None = None
    colour: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        page = page_of(console, options, width=self.width, colour=self.colour)
        yield from fit(_lines(self.view, page), page, console)

    def __str__(self) -> str:
        return printout.printed(self)

    def __repr__(self) -> str:
        return f"<CompareTable of {words.series([words.plain(name) for name in self.view.names])}>"

    def _repr_html_(self) -> str:
        from fadeout.render.notebook import comparison_fragment

        return comparison_fragment(self.view)


def side_by_side(
    exams: Sequence[Exam],
    names: Sequence[str],
    *,
    extra: Mapping[str, Sequence[str]] | None = None,
    width: int | None = None,
    colour: bool = True,
) -> CompareTable:
    """Any number of exams side by side; `extra` adds rows from outside, such as accuracies."""
    return CompareTable(view=comparison.compare(exams, names, extra=extra), width=width, colour=colour)


def _lines(view: comparison.Comparison, page: Page) -> Iterator[Text]:
    changes = any(row.change for row in view.rows)
    heads = [words.plain(head) for head in ((*view.names, "change") if changes else view.names)]
    rows = [(r.quantity, (*r.values, r.change) if changes else r.values) for r in (*view.rows, *view.layers)]
    first = max(len(quantity) for quantity, _ in rows)
    columns = [max(len(head), *(len(values[i]) for _, values in rows)) for i, head in enumerate(heads)]
    wide = 2 + first + sum(2 + column for column in columns) <= page.width
    yield Text()
    if wide:
        head = Text("  " + " " * first)
        for title, column in zip(heads, columns, strict=True):
            head.append("  " + cell(title, column, right=True), "bold")
        yield head
    for i, (quantity, values) in enumerate(rows):
        if i == len(view.rows):
            yield dim("  layers that changed most, log10 of the gradient norm")
        if wide:
            out = Text("  " + cell(quantity, first))
            for value, column in zip(values, columns, strict=True):
                out.append("  " + cell(value, column, right=True))
            out.rstrip()
            yield out
        else:
            yield Text(f"  {quantity}")
            label = max(len(title) for title in heads)
            for title, value in zip(heads, values, strict=True):
                if value:
                    yield dim(f"      {title:<{label}}  ").append(Text(value, style="not dim"))
    yield Text()
