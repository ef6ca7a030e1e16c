"""Build: a warning or a note with the parts that every finding has.  No torch."""

import math
from collections.abc import Sequence

from fadeout.records import Advice, Evidence, Finding, Level, Reading, Verdict, WontHelp


def remark(
    reading: Reading,
    *,
    code: str,
    label: Verdict,
    claim: str,
    level: Level = "warning",
    where: Sequence[str] = (),
    line: str = "",
    evidence: Sequence[Evidence] = (),
    helps: Sequence[Advice | str] = (),
    wont: Sequence[WontHelp] = (),
    since: int | None = None,
) -> Finding:
    """A finding that rests on its evidence alone: no decades of its own, no cause by account."""
    places = tuple(dict.fromkeys(where))
    return Finding(
        code=code,
        label=label,
        level=level,
        claim=claim,
        where=places,
        line=line or next((w.line for w in reading.ledger.weights if places and w.path == places[0]), ""),
        decades=reading.ledger.decades,
        expected=math.nan,
        since=reading.step if since is None else since,
        confidence=math.nan,
        cause=(),
        status="account",
        evidence=tuple(evidence),
        advice=advised(helps),
        wont_help=tuple(wont),
    )


def advise(words: str, *treatments: str) -> Advice:
    """Advice with the ids of the treatments that do it."""
    return Advice(words=words, treatments=treatments)


STANDARDISE = advise("normalising the input: mean 0, spread 1", "standard_input")


def advised(helps: Sequence[Advice | str]) -> tuple[Advice, ...]:
    """Advice, where words alone stand for what only a person can do."""
    return tuple(Advice(words=one) if isinstance(one, str) else one for one in helps)


def named(path: str) -> str:
    """A module path in a sentence; quoted where it is a bare number."""
    return f"'{path}'" if path.isdigit() else path or "the model"


def listed(paths: Sequence[str]) -> str:
    """'a', 'a and b', 'a and 3 more'."""
    names = [named(path) for path in paths]
    if len(names) <= 2:
        return " and ".join(names)
    return f"{names[0]} and {len(names) - 1:,} more"
