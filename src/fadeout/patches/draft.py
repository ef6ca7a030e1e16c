"""A draft: all changes to one file, collected before any of them is made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import libcst as cst

from fadeout.patches.elements import with_inserted
from fadeout.patches.imports import spelled, unused_name
from fadeout.patches.source import Source, dotted

Gather = Callable[[list[cst.BaseExpression]], cst.BaseExpression]
Swap = Callable[[cst.BaseExpression], cst.BaseExpression]


@dataclass(slots=True, kw_only=True)
class Draft:
    """Changes to one file, by nodes of its tree; filled by the rewrites.

    Attributes:
        swaps: What becomes of an expression, one after the other.
        after: Expressions that follow an element of a call's arguments, a list or a tuple.
        merged: By the first of several elements that become one: the last of them, and the one.
        first: Expressions that become the first argument of a call.
        before: Statements to stand before a statement.
        top: Statements to stand first in a function.
        bottom: Statements to stand last in a function.
        definitions: Classes and functions that the file needs, by their text, with their names.
        imports: Lines to be added.
        bound: Keyword arguments to be set on a call.
    """

    source: Source
    swaps: dict[cst.CSTNode, list[Swap]] = field(default_factory=dict)
    after: dict[cst.CSTNode, list[cst.BaseExpression]] = field(default_factory=dict)
    merged: dict[cst.CSTNode, list[tuple[cst.CSTNode, Gather]]] = field(default_factory=dict)
    first: dict[cst.CSTNode, list[cst.BaseExpression]] = field(default_factory=dict)
    before: dict[cst.CSTNode, list[str]] = field(default_factory=dict)
    top: dict[cst.CSTNode, list[str]] = field(default_factory=dict)
    bottom: dict[cst.CSTNode, list[str]] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)


def expression(draft: Draft, code: str) -> cst.BaseExpression:
    """Code in the file's own spelling, with its imports noted."""
    return cst.parse_expression(statements(draft, code).strip())


def statements(draft: Draft, code: str) -> str:
    """The same as text."""
    text, needed = spelled(code, draft.source)
    draft.imports |= needed
    return text


def define(draft: Draft, wish: str, template: str) -> str:
    """Give the file a class or function and return its name; the same text is defined once.

    Args:
        template: Its code with NAME where the name stands.
    """
    if template in draft.definitions:
        return draft.definitions[template]
    name, number = unused_name(wish, draft.source), 2
    while name in draft.definitions.values():
        name, number = unused_name(f"{wish}{number}", draft.source), number + 1
    draft.definitions[template] = name
    return name


def written(draft: Draft) -> str:
    """The new text of the file."""
    tree = draft.source.tree.visit(_Writer(draft))
    assert isinstance(tree, cst.Module)
    texts = [statements(draft, t.replace("NAME", name)) for t, name in draft.definitions.items()]
    body = list(tree.body)
    place = _after_imports(body)
    new = [_parsed(tree, line)[0] for line in sorted(draft.imports)]
    at_start = place == 0 and bool(new)
    body[place:place] = new
    place += len(new)
    if texts:
        body[place:place] = [s for text in texts for s in _spaced(_parsed(tree, text), 2)]
        place += len(texts)
    if place < len(body) and (texts or at_start):
        wide = texts or isinstance(body[place], cst.FunctionDef | cst.ClassDef)
        body[place] = _spaced([body[place]], 2 if wide else 1)[0]
    return tree.with_changes(body=body).code


def _after_imports(body: Sequence[cst.BaseStatement | cst.SimpleStatementLine]) -> int:
    """After the last import that stands before all classes and functions."""
    head = next((i for i, s in enumerate(body) if isinstance(s, cst.ClassDef | cst.FunctionDef)), len(body))
    places = [i for i, s in enumerate(body[:head]) if _is_import(s)]
    if places:
        return places[-1] + 1
    return 1 if body and _is_docstring(body[0]) else 0


def _is_import(statement: cst.CSTNode) -> bool:
    return isinstance(statement, cst.SimpleStatementLine) and any(
        isinstance(part, cst.Import | cst.ImportFrom) for part in statement.body
    )


def _is_docstring(statement: cst.CSTNode) -> bool:
    return (
        isinstance(statement, cst.SimpleStatementLine)
        and isinstance(statement.body[0], cst.Expr)
        and isinstance(statement.body[0].value, cst.SimpleString | cst.ConcatenatedString)
    )


def _parsed(tree: cst.Module, text: str) -> list[cst.SimpleStatementLine | cst.BaseCompoundStatement]:
    """Statements indented as the file is."""
    lines = []
    for line in text.rstrip("\n").split("\n"):
        bare = line.lstrip(" ")
        lines.append(tree.default_indent * ((len(line) - len(bare)) // 4) + bare)
    code = tree.default_newline.join(lines) + tree.default_newline
    return list(cst.parse_module(code, config=tree.config_for_parsing).body)


def _spaced(
    body: list[cst.SimpleStatementLine | cst.BaseCompoundStatement], count: int
) -> list[cst.SimpleStatementLine | cst.BaseCompoundStatement]:
    """Statements of which the first has at least so many empty lines above it."""
    first = body[0]
    leading = list(first.leading_lines)
    empty = next((i for i, line in enumerate(leading) if line.comment is not None), len(leading))
    missing = [cst.EmptyLine(indent=False)] * max(0, count - empty)
    return [first.with_changes(leading_lines=[*missing, *leading]), *body[1:]]


class _Writer(cst.CSTTransformer):
    """Makes the changes of a draft."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft

    def on_leave(self, original_node: cst.CSTNode, updated_node: cst.CSTNode) -> cst.CSTNode:  # type: ignore[override]
        draft, node = self.draft, updated_node
        if isinstance(original_node, cst.Call) and isinstance(node, cst.Call):
            ahead = [cst.Arg(value=e) for e in draft.first.get(original_node, ())]
            args = _followed(original_node.args, node.args, draft, node.whitespace_before_args)
            if ahead or len(args) != len(node.args) or any(a.value in draft.merged for a in original_node.args):
                for arg in reversed(ahead):
                    args = with_inserted(args, 0, arg, node.whitespace_before_args)
                node = node.with_changes(args=args)
        elif isinstance(original_node, cst.List) and isinstance(node, cst.List):
            items = _followed(original_node.elements, node.elements, draft, node.lbracket.whitespace_after)
            node = node.with_changes(elements=items)
        elif isinstance(original_node, cst.Tuple) and isinstance(node, cst.Tuple):
            space = node.lpar[0].whitespace_after if node.lpar else cst.SimpleWhitespace("")
            node = node.with_changes(elements=_followed(original_node.elements, node.elements, draft, space))
        elif isinstance(original_node, cst.FunctionDef) and isinstance(node, cst.FunctionDef):
            node = self._function(original_node, node)
        for swap in draft.swaps.get(original_node, ()):
            assert isinstance(node, cst.BaseExpression)
            node = swap(node)
        if original_node in draft.before:
            new = [s for text in draft.before[original_node] for s in _parsed(draft.source.tree, text)]
            assert isinstance(node, cst.SimpleStatementLine)
            new[0] = new[0].with_changes(leading_lines=node.leading_lines)
            return cst.FlattenSentinel([*new, node.with_changes(leading_lines=())])  # type: ignore[return-value]
        return node

    def _function(self, original: cst.FunctionDef, node: cst.FunctionDef) -> cst.FunctionDef:
        draft = self.draft
        top, bottom = draft.top.get(original, ()), draft.bottom.get(original, ())
        if (not top and not bottom) or not isinstance(node.body, cst.IndentedBlock):
            return node
        body = list(node.body.body)
        start = 1 if _is_docstring(body[0]) else 0
        body[start:start] = [s for text in top for s in _parsed(draft.source.tree, text)]
        body += [s for text in bottom for s in _parsed(draft.source.tree, text)]
        return node.with_changes(body=node.body.with_changes(body=body))


def _followed(
    old: Sequence[Any], new: Sequence[Any], draft: Draft, opening: cst.BaseParenthesizableWhitespace
) -> list[Any]:
    """Elements with what shall follow some of them."""
    items = list(new)
    for i in reversed(range(len(old))):
        for extra in reversed(draft.after.get(old[i].value, ())):
            kind = cst.Arg if isinstance(old[i], cst.Arg) else cst.Element
            items = with_inserted(items, i + 1, kind(value=extra), opening)
    values = [item.value for item in old]
    more = [len(draft.after.get(value, ())) for value in values]
    for i in reversed(range(len(old))):
        for last, gather in draft.merged.get(values[i], ()):
            start, end = i + sum(more[:i]), values.index(last) + sum(more[: values.index(last) + 1])
            whole = gather([item.value for item in items[start : end + 1]])
            items[start : end + 1] = [items[end].with_changes(value=whole)]
    return items


def name_of(call: cst.Call) -> str:
    """What is called: 'nn.Linear'; "" for getattr(nn, name)()."""
    return dotted(call.func)
