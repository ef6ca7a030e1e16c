"""The glossary: the page of a finding and the meaning of a word, as text."""

import difflib
import re
from pathlib import Path

from fadeout import terms
from fadeout.errors import FadeoutError

_PACKAGED = Path(__file__).parent / "pages"  # copied there when a wheel is built (setup.py)
_IN_TREE = Path(__file__).parents[2] / "docs" / "findings"
_PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n*", re.MULTILINE)


def explain(word: str = "") -> str:
    """What a finding or a word of fadeout means.

    For a finding it is its page without the picture: what was measured, what helps, what does not.

    Args:
        word: A finding's code ("FO101") or a word that stands in a report ("decades"), in any case;
            "" for the list of all findings and words.

    Returns:
        Markdown.

    Raises:
        FadeoutError: If there is no such finding or word; it names those that are near.
    """
    asked = word.strip()
    if not asked:
        return f"{_page('index') or '# Findings'}\n{_words()}"
    page = _page(asked.upper()) if re.fullmatch(r"(?i)fo\d+", asked) else None
    if page is not None:
        return page
    term = terms.find(asked)
    if term is None:
        raise FadeoutError(f"explain: there is no finding and no word {word!r}; {_hint(asked)}")
    return _entry(term)


def definition(word: str) -> str | None:
    """What a word of ours means, in a sentence or two of plain text; None where it has no entry."""
    term = terms.find(word)
    return term.text if term is not None else None


def _folder() -> Path:
    return _PACKAGED if (_PACKAGED / "index.md").is_file() else _IN_TREE


def _page(name: str) -> str | None:
    """The page of that name without its picture; None where there is none."""
    page = _folder() / f"{name}.md"
    return _PICTURE.sub("", page.read_text(encoding="utf-8")) if page.is_file() else None


def _titles() -> dict[str, str]:
    """'FO101' -> 'Vanishing gradient'."""
    first = {page.stem: page.read_text(encoding="utf-8").partition("\n")[0] for page in _folder().glob("FO*.md")}
    names = {code: title.lstrip("# ").removeprefix(code).strip() for code, title in sorted(first.items())}
    return {code: name.partition(":")[0] for code, name in names.items()}


def _entry(term: terms.Term) -> str:
    parts = [f"# {term.word}", term.text]
    if term.also:
        parts.append(f"Also written: {', '.join(term.also)}.")
    if term.more:
        read = [f"`fadeout explain {more}`" if more.startswith("FO") else more for more in term.more]
        parts.append(f"Read on: {', '.join(read)}.")
    return "\n\n".join(parts) + "\n"


def _words() -> str:
    rows = [f"- **{title}**: {', '.join(term.word for term in table)}" for title, table in terms.SECTIONS]
    return "## Words\n\n`fadeout explain decades` says what a word means.\n\n" + "\n".join(rows) + "\n"


def _hint(asked: str) -> str:
    """What the reader may have meant: findings whose title holds the word, then words that look like it."""
    wanted = terms.normal(asked)
    titles = _titles()
    if re.fullmatch(r"(fo)?\d+", wanted):
        return f"there are {', '.join(titles) or 'no pages in this installation'}"
    near = [f"{code} ({title})" for code, title in titles.items() if wanted in title.lower()][:4]
    spellings = {**{word: term.word for word, term in terms.SPELLINGS.items()}, **{c.lower(): c for c in titles}}
    alike = difflib.get_close_matches(wanted, list(spellings), n=4, cutoff=0.7)
    holding = [word for word in spellings if len(wanted) > 2 and wanted in word]
    near += dict.fromkeys(spellings[word] for word in [*alike, *holding][:5])
    return f"did you mean {', '.join(near)}?" if near else "`fadeout explain` lists all there are"
