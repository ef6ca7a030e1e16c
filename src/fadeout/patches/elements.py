"""Elements: one more in a list or among arguments, set as its neighbours are."""

from collections.abc import Sequence
from typing import Any

import libcst as cst

_SPACE = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))


def with_inserted(items: Sequence[Any], place: int, new: Any, opening: cst.BaseParenthesizableWhitespace) -> list[Any]:
    """Elements with a new one at a place.

    Args:
        opening: The white space after the bracket: where a list is spread over lines, the first one begins here.
    """
    items = list(items)
    if not items:
        return [new]
    between = cst.Comma(whitespace_after=_bare(opening)) if _spread(opening) else _sibling(items) or _SPACE
    if place == 0:
        return [new.with_changes(comma=between), *items]
    before = items[place - 1]
    held = before.comma
    if place < len(items):
        after = held if isinstance(held, cst.Comma) else between
        new = new.with_changes(comma=after.with_changes(whitespace_after=_bare(after.whitespace_after)))
    elif isinstance(held, cst.Comma):  # a trailing comma: what follows it is the closing bracket
        new = new.with_changes(comma=held.with_changes(whitespace_after=_bare(held.whitespace_after)))
        inner = between.whitespace_after
        comment = getattr(held.whitespace_after, "first_line", None)
        if comment is not None and isinstance(inner, cst.ParenthesizedWhitespace):
            inner = inner.with_changes(first_line=comment)
        held = held.with_changes(whitespace_after=inner)
    elif isinstance(new, cst.Arg):  # the last argument owns the white space before the bracket
        closing = before.whitespace_after_arg
        comment = getattr(closing, "first_line", None)
        new = new.with_changes(whitespace_after_arg=_bare(closing))
        before = before.with_changes(whitespace_after_arg=cst.SimpleWhitespace(""))
        held = between
        if comment is not None and isinstance(held.whitespace_after, cst.ParenthesizedWhitespace):
            held = held.with_changes(whitespace_after=held.whitespace_after.with_changes(first_line=comment))
    else:
        held = between
    items[place - 1] = before.with_changes(comma=held)
    items.insert(place, new)
    return items


def _sibling(items: Sequence[Any]) -> cst.Comma | None:
    """The comma between the first two."""
    comma = items[0].comma if len(items) > 1 else None
    return comma.with_changes(whitespace_after=_bare(comma.whitespace_after)) if isinstance(comma, cst.Comma) else None


def _spread(space: cst.BaseParenthesizableWhitespace) -> bool:
    return isinstance(space, cst.ParenthesizedWhitespace)


def _bare(space: cst.BaseParenthesizableWhitespace) -> cst.BaseParenthesizableWhitespace:
    """The same without comments."""
    if isinstance(space, cst.ParenthesizedWhitespace):
        return space.with_changes(first_line=cst.TrailingWhitespace(newline=space.first_line.newline), empty_lines=())
    return space
