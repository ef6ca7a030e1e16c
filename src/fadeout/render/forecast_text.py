"""A forecast in the terminal: what theory expects of every layer."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from fadeout.records import Forecast, ForecastLayer
from fadeout.render import printout, sentences, words
from fadeout.render.layout import Page, cell, dim, fit, page_of, prose

ROWS = 36  # layers that are printed; of more, the first two thirds and the last


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRow:
    """One layer, or neighbouring uses of the same one of which theory says the same."""

    number: str
    path: str
    decades: str
    band: str
    q: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastText:
    """A forecast that is laid out when rich prints it: a display hook with a record's body."""

    forecast: Forecast

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        page = page_of(console, options)
        yield from fit(_lines(self.forecast, page), page, console)

    def __str__(self) -> str:
        return printout.printed(self)


def rows(forecast: Forecast) -> tuple[ForecastRow, ...]:
    """Every layer, data side first."""
    found = []
    numbered = list(enumerate(forecast.layers, start=1))
    for _, group in groupby(numbered, key=lambda pair: (pair[1].path, pair[1].decades, pair[1].q, pair[1].band)):
        run = list(group)
        (first, row), (last, _) = run[0], run[-1]
        found.append(_row(f"{first}" if first == last else f"{first}-{last}", row))
    return tuple(found)


def _row(number: str, row: ForecastLayer) -> ForecastRow:
    return ForecastRow(
        number=number,
        path=words.plain(row.path) or "(model)",
        decades=words.decades(row.decades) if row.decades is not None else words.UNKNOWN,
        band=f"{words.decades(row.band[0])} .. {words.decades(row.band[1])}" if row.band is not None else "",
        q=words.number(row.q) if row.q is not None else "",
        why=words.plain(row.why) if row.decades is None else "",
    )


def _lines(forecast: Forecast, page: Page) -> Iterator[Text]:
    every = rows(forecast)
    shown = every if len(every) <= ROWS else every[: ROWS * 2 // 3] + every[-ROWS // 3 :]
    yield Text()
    yield from prose(sentences.foreseen(forecast), page)
    if not shown:
        yield Text()
        return
    heads = ForecastRow(number="", path="layer", decades="decades", band="band", q="q", why="")
    sizes = {
        name: max(cell_len(getattr(row, name)) for row in (heads, *shown)) for name in ("path", "decades", "band", "q")
    }
    number = max(len(row.number) for row in shown)
    fixed = 4 + number + 3 + sum(2 + sizes[name] for name in ("decades", "band", "q"))
    stacked = fixed + sizes["path"] > page.width
    yield Text()
    yield dim(
        _cells(heads, sizes, number, stacked=False) if not stacked else _cells(heads, sizes, number, stacked=True)
    )
    for i, row in enumerate(shown):
        if len(every) > len(shown) and i == ROWS * 2 // 3:
            yield dim(f"    and {len(every) - len(shown):,} more")
        if stacked:
            yield Text(f"    [{row.number:>{number}}] {row.path}")
        out = Text(_cells(row, sizes, number, stacked=stacked))
        if row.why:
            out = Text(f"    [{row.number:>{number}}] {row.path}" if not stacked else " " * (number + 7))
            out.append(f"  {row.why}" if not stacked else row.why, "dim")
        yield out
    yield from prose(sentences.FORECAST_LEGEND, page, style="dim", indent="    ")
    yield Text()


def _cells(row: ForecastRow, sizes: dict[str, int], number: int, *, stacked: bool) -> str:
    head = f"    [{row.number:>{number}}] " if row.number else " " * (number + 7)
    path = " " * (number + 7) if stacked else head + cell(row.path, sizes["path"])
    tail = "  ".join(cell(getattr(row, name), sizes[name], right=True) for name in ("decades", "band", "q"))
    return (path + ("" if stacked else "  ") + tail).rstrip()
