"""Code: the names that a function's code reads and writes, by which what it can reach is found."""

import dis
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

BY_NAME = frozenset({"getattr", "setattr", "delattr", "vars"})  # they may read an attribute of any name
UNSEEN = frozenset({"eval", "exec", "globals", "locals", "compile", "__import__"})  # what they reach can't be seen
OUTSIDE = frozenset({"open", "input"})  # they reach out of the process


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Of one function, with the functions written inside it.

    Attributes:
        globals: Read or written as globals, or as builtins where there is no global of this name.
        attributes: Read or written on any object, and texts that may be one.
        imports: Modules that it imports when it runs.
    """

    globals: frozenset[str]
    attributes: frozenset[str]
    imports: frozenset[str]


@functools.lru_cache(maxsize=4096)
def names_in(code: CodeType) -> Names:
    """The names in a function's code."""
    found: dict[str, set[str]] = {"GLOBAL": set(), "ATTR": set(), "IMPORT": set()}
    for part in _nested(code):
        for step in dis.get_instructions(part):
            if step.opname.startswith("IMPORT"):
                found["ATTR" if step.opname == "IMPORT_FROM" else "IMPORT"].add(str(step.argval))
            elif "GLOBAL" in step.opname or "NAME" in step.opname:
                found["GLOBAL"].add(str(step.argval))
            elif "ATTR" in step.opname or "METHOD" in step.opname:
                found["ATTR"].add(str(step.argval))
            elif isinstance(step.argval, str) and "CONST" in step.opname and step.argval.isidentifier():
                found["ATTR"].add(step.argval)
    return Names(
        globals=frozenset(found["GLOBAL"]), attributes=frozenset(found["ATTR"]), imports=frozenset(found["IMPORT"])
    )


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
