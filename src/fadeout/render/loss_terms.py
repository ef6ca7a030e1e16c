"""Loss terms in the terminal: what each term of a summed loss sends back by itself."""

import math
from collections.abc import Iterator

from rich.text import Text

from fadeout.records import Exam, LossTerm
from fadeout.render import words
from fadeout.render.layout import Page, heading, prose


def account(exam: Exam, page: Page) -> Iterator[Text]:
    """A line a term."""
    if not exam.terms:
        return
    yield Text()
    yield from heading("terms of the loss", page)
    for term in exam.terms:
        yield from prose(said(term), page, indent="    ")


def said(term: LossTerm) -> str:
    """'mse_loss, train.py:12: gradient 3.8e-01 at the first layer, reaches 3 layers'."""
    name = f"{term.op}, {term.line}" if term.line else term.op
    if term.idle:
        return f"{name}: reaches nothing that the step trains"
    size = "" if math.isnan(term.first) else f"gradient {term.first:.1e} at the first layer, "
    return f"{name}: {size}reaches {words.count(term.reaches, 'layer')}"
