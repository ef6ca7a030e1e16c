"""The glossary: the page of a finding, as text."""

import re
from pathlib import Path

from fadeout.errors import FadeoutError

_PACKAGED = Path(__file__).parent / "pages"  # copied there when a wheel is built (setup.py)
_IN_TREE = Path(__file__).parents[2] / "docs" / "findings"
_PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n*", re.MULTILINE)


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0]


def explain(code: str = "") -> str:
    """What a finding means, how it is measured, what helps: its page, without the picture.

    Args:
        code: "FO101", in any case; "" for the list of all.

    Returns:
        Markdown.

    Raises:
        FadeoutError: If there is no such finding.
    """
    folder = _PACKAGED if (_PACKAGED / "index.md").is_file() else _IN_TREE
    name = code.strip().upper() if code.strip() else "index"
    page = folder / f"{name}.md"
    if not re.fullmatch(r"\w+", name) or not page.is_file():
        near = [p.stem for p in sorted(folder.glob("FO*.md")) if code.strip().lower() in _title(p).lower()]
        if near and code.strip():
            raise FadeoutError(f"explain: there is no finding {code!r}; its word stands in {', '.join(near)}")
        known = ", ".join(sorted(found.stem for found in folder.glob("FO*.md")))
        raise FadeoutError(
            f"explain: there is no finding {code!r}; there are {known or 'no pages in this installation'}"
        )
    return _PICTURE.sub("", page.read_text(encoding="utf-8"))
