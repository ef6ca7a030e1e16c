"""Tags: text, tables and legends as HTML, everything that comes from a user's model escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from fadeout.render.definitions import marked
from fadeout.render.drawing import Key


def tag(name: str, text: str, *, of: str = "") -> str:
    """<name class="of">text</name>, the text escaped."""
    kind = f' class="{escape(of)}"' if of else ""
    return f"<{name}{kind}>{escape(text)}</{name}>"


def prose(text: str, *, of: str = "") -> str:
    """A paragraph in which words of ours are explained; "" for none."""
    kind = f' class="{escape(of)}"' if of else ""
    return f"<p{kind}>{marked(text)}</p>" if text else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, paths: Sequence[int] = ()) -> str:
    """A table whose first `left` columns hold words and the others numbers.

    Args:
        paths: Columns with module paths, set in a fixed-width face.
    """
    kinds = ["path" if i in paths else "" if i < left else "n" for i in range(len(heads))]
    head = "".join(
        f'<th class="n">{marked(title)}</th>' if kind == "n" else f"<th>{marked(title)}</th>"
        for title, kind in zip(heads, kinds, strict=True)
    )
    body = "\n".join(
        "<tr>" + "".join(tag("td", text, of=kind) for text, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def folded(title: str, shown: str, *, opened: bool = False) -> str:
    """Something that a reader opens."""
    return f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>{shown}</details>"


_SHAPES = {
    "dot": "width:9px;height:9px;border-radius:50%;background:{0}",
    "bar": "width:10px;height:10px;background:{0}",
    "band": "width:16px;height:10px;background:{0};opacity:0.4",
    "line": "width:18px;height:0;border-top:3px solid {0}",
    "dash": "width:18px;height:0;border-top:2px dashed {0}",
}


SHORT = 36  # characters of an entry of a legend that is never broken


def legend(keys: Sequence[Key]) -> str:
    """A legend that wraps where there is little room; "" without entries."""
    shown = []
    for key in keys:
        mark = f'<b style="color:{key.colour}">✚</b>'
        if key.shape in _SHAPES:
            style = "display:inline-block;vertical-align:middle;" + _SHAPES[key.shape].format(key.colour)
            mark = f'<i style="{style}"></i>'
        breaks = "normal" if len(key.says) > SHORT else "nowrap"
        shown.append(f'<span style="white-space:nowrap;margin-right:16px">{mark} <span style="white-space:{breaks}">')
        shown[-1] += f"{escape(key.says)}</span></span>"
    return f'<p class="legend">{" ".join(shown)}</p>' if shown else ""
