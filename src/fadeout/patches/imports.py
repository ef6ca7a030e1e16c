"""Imports: what names of torch are called in a file, and what has to be imported for those it lacks."""

from collections.abc import Mapping

import libcst as cst

from fadeout.patches.source import Source, dotted

_FULL = {"nn": "torch.nn", "F": "torch.nn.functional", "optim": "torch.optim"}
_IMPORTS = (
    ("torch.nn.functional.", "F", "torch.nn.functional", "import torch.nn.functional as F"),
    ("torch.nn.", "nn", "torch.nn", "from torch import nn"),
    ("torch.", "torch", "torch", "import torch"),
)


def bindings(source: Source) -> dict[str, str]:
    """Names that imports at the top of the file bind, with what they stand for: {'nn': 'torch.nn'}."""
    bound: dict[str, str] = {}
    for statement in source.tree.body:
        if not isinstance(statement, cst.SimpleStatementLine):
            continue
        for part in statement.body:
            if isinstance(part, cst.Import):
                for alias in part.names:
                    full = dotted(alias.name)
                    if alias.asname is not None:
                        bound[dotted(alias.asname.name)] = full
                    else:
                        bound[full.split(".")[0]] = full.split(".")[0]
            elif isinstance(part, cst.ImportFrom) and part.module is not None and not part.relative:
                if isinstance(part.names, cst.ImportStar):
                    continue
                front = dotted(part.module)
                for alias in part.names:
                    name = dotted(alias.asname.name) if alias.asname is not None else dotted(alias.name)
                    bound[name] = f"{front}.{dotted(alias.name)}"
    return bound


def full_name(name: str, bound: Mapping[str, str]) -> str:
    """'torch.nn.Linear' for what a file calls 'nn.Linear' or 'Linear'."""
    head, dot, rest = name.partition(".")
    return bound.get(head, head) + dot + rest


def spelled(code: str, source: Source) -> tuple[str, set[str]]:
    """An expression or statements with `nn.`, `F.` and `torch.` as the file spells them, and imports to be added."""
    bound = bindings(source)
    taken = _assigned(source)
    needed: set[str] = set()

    class Spelling(cst.CSTTransformer):
        def visit_Attribute(self, node: cst.Attribute) -> bool:
            return not dotted(node)

        def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
            name = dotted(original_node)
            if not name:
                return updated_node
            new, needs = _spelled_name(name, bound, taken)
            needed.update(needs)
            return cst.parse_expression(new)

    return cst.parse_module(code).visit(Spelling()).code, needed


def _spelled_name(name: str, bound: Mapping[str, str], taken: set[str]) -> tuple[str, set[str]]:
    head, _, rest = name.partition(".")
    full = f"{_FULL.get(head, head)}.{rest}"
    if not full.startswith("torch."):
        own = head not in bound and head in ("fadeout", "math")
        return name, {f"import {full.rpartition('.')[0] if head == 'fadeout' else head}"} if own else set()
    known = [(whole, short) for short, whole in bound.items() if full == whole or full.startswith(whole + ".")]
    if full.startswith("torch.nn.functional."):  # torch.nn.functional is not spelled nn.functional if F is there
        known = [k for k in known if k[0].startswith("torch.nn.functional")] or known
    if known:
        whole, short = max(known, key=lambda k: len(k[0]))
        return short + full[len(whole) :], set()
    for front, short, whole, line in _IMPORTS:
        if full.startswith(front) and short not in taken and short not in bound:
            return short + full[len(whole) :], {line}
    return full, {"import torch"}


def _assigned(source: Source) -> set[str]:
    """Names that the file uses for things of its own."""
    names: set[str] = set()

    class Names(cst.CSTVisitor):
        def visit_AssignTarget(self, node: cst.AssignTarget) -> None:
            names.add(dotted(node.target))

        def visit_Param(self, node: cst.Param) -> None:
            names.add(node.name.value)

        def visit_FunctionDef(self, node: cst.FunctionDef) -> None:
            names.add(node.name.value)

        def visit_ClassDef(self, node: cst.ClassDef) -> None:
            names.add(node.name.value)

        def visit_Call(self, node: cst.Call) -> None:
            for arg in node.args:
                if isinstance(arg.value, cst.NamedExpr):
                    names.add(dotted(arg.value.target))

    source.tree.visit(Names())
    return names


def unused_name(wish: str, source: Source) -> str:
    """A name that the file does not use yet."""
    taken = _assigned(source) | set(bindings(source))
    number = 2
    name = wish
    while name in taken:
        name = f"{wish}{number}"
        number += 1
    return name
