"""A ledger in the terminal: what `measure` returns, before any rule has read it."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from fadeout.records import Ledger
from fadeout.render import account_text, depth_text, printout, sentences, views, words
from fadeout.render.layout import Page, fit, flow, heading, page_of, prose


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerText:
    """A ledger that is laid out when rich prints it: a display hook with a record's body."""

    ledger: Ledger

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        page = page_of(console, options)
        yield from fit(_lines(self.ledger, page), page, console)

    def __str__(self) -> str:
        return printout.printed(self)


def _lines(ledger: Ledger, page: Page) -> Iterator[Text]:
    yield Text()
    yield from prose(sentences.ledger(ledger), page)
    yield from account_text.by_kind(ledger, page)
    yield from depth_text.profile(views.weights(ledger), page)
    ends = [
        f"{words.plain(end.path)} ({end.what}) {words.level(end.decades, floor=ledger.floor)}" for end in ledger.ends
    ]
    if ends:
        yield Text()
        yield from heading("where the account ends", page, "log10 of the gradient's norm there, the loss's own being 0")
        shown = ends[:6] + ([f"and {len(ends) - 6:,} more"] if len(ends) > 6 else [])
        for line in flow(shown, " · ", page.width - 4):
            yield Text("    " + line)
    yield from account_text.unaccounted(ledger, page)
    yield Text()
