"""A source: one file of the user's, parsed, with the place of every call in it."""

import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider

from fadeout.errors import FadeoutError
from fadeout.patches.sites import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One parsed file.

    Attributes:
        file: Absolute path.
        text: As it is decoded, with its own ends of line.
        encoding: As its first lines declare it.
        tree: The module; all nodes of the other attributes belong to it.
        calls: Every call, by (line, column, end line, end column) in characters.
        parents: The node around every node.
        lines: Every statement line and call by the line it begins on.
    """

    file: str
    text: str
    encoding: str
    tree: cst.Module
    calls: dict[tuple[int, int, int, int], cst.Call]
    parents: dict[cst.CSTNode, cst.CSTNode]
    lines: dict[cst.CSTNode, int]


def read_text(file: str) -> tuple[str, str]:
    """The text of a Python file, its ends of line kept, and its encoding.

    Raises:
        FadeoutError: If it can't be read or decoded.
    """
    try:
        data = Path(file).read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding), encoding
    except (OSError, SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise FadeoutError(f"patch: {file} can't be read: {error}") from error


def parse(file: str, text: str, encoding: str) -> Source:
    """Parse a text.

    Raises:
        FadeoutError: If it is no Python that libcst understands.
    """
    try:
        wrapper = MetadataWrapper(cst.parse_module(text))
    except (cst.ParserSyntaxError, RecursionError) as error:
        line = f":{error.raw_line}" if isinstance(error, cst.ParserSyntaxError) else ""
        raise FadeoutError(f"patch: {Path(file).name}{line} can't be parsed") from error
    found = wrapper.resolve_many([PositionProvider, ParentNodeProvider])
    places = found[PositionProvider]
    calls, lines = {}, {}
    for node, place in places.items():
        lines[node] = place.start.line  # type: ignore[attr-defined]
        if isinstance(node, cst.Call):
            start, end = place.start, place.end  # type: ignore[attr-defined]
            calls[start.line, start.column, end.line, end.column] = node
    return Source(
        file=file,
        text=text,
        encoding=encoding,
        tree=wrapper.module,
        calls=calls,
        parents=dict(found[ParentNodeProvider]),  # type: ignore[arg-type]
        lines=lines,
    )


def call_at(source: Source, site: Site) -> cst.Call | None:
    """The call of a site; by its line alone where Python kept no columns and only one call begins there."""
    if site.column >= 0:
        rows = source.text.split("\n")
        if site.end_line > len(rows):
            return None
        start, end = (
            len(rows[line - 1].encode()[:column].decode(errors="replace"))
            for line, column in ((site.line, site.column), (site.end_line, site.end_column))
        )
        return source.calls.get((site.line, start, site.end_line, end))
    on_line = [node for (line, *_), node in source.calls.items() if line == site.line]
    return on_line[0] if len(on_line) == 1 else None


def calls_on(source: Source, line: int) -> Iterator[cst.Call]:
    """Calls that a line number of Python's names: those that begin on it."""
    return (node for (start, *_), node in source.calls.items() if start == line)


def around(source: Source, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The nodes around a node, from the inside out."""
    while (parent := source.parents.get(node)) is not None:
        yield parent
        node = parent


def is_alone(source: Source, node: cst.CSTNode) -> bool:
    """Whether an expression is the whole of an assignment, a return or an argument, so that it needs no brackets."""
    return isinstance(source.parents.get(node), cst.Assign | cst.Return | cst.Arg)


def dotted(node: cst.CSTNode) -> str:
    """'nn.Linear' of a name or a chain of attributes; "" of anything else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        front = dotted(node.value)
        return f"{front}.{node.attr.value}" if front else ""
    return ""
