"""A term: one word of ours and what it means."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One word that a reader meets.

    Attributes:
        word: As reports and docs write it.
        text: What it means, in whole sentences.
        also: Other spellings, abbreviations, and names of the same thing in the JSON.
        more: Where to read on: codes of findings ("FO101") and files in the repository.
    """

    word: str
    text: str
    also: tuple[str, ...] = ()
    more: tuple[str, ...] = ()


def term(word: str, text: str, *, also: str = "", more: str = "") -> Term:
    """An entry of a table; `also` and `more` are lists separated by commas."""
    return Term(word=word, text=text, also=_parts(also), more=_parts(more))


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
