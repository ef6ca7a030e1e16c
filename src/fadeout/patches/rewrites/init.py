"""Weights drawn anew: a small function in the file, called where the factory has made the network."""

from collections.abc import Sequence

import libcst as cst
from torch import nn

from fadeout.errors import FadeoutError
from fadeout.patches.draft import Draft, define
from fadeout.patches.initials import initial_code
from fadeout.patches.placing import Work, draft_of, refuse
from fadeout.patches.source import dotted
from fadeout.treatments.treatment import Edit


def rewrite(edits: Sequence[Edit], work: Work) -> None:
    """`work.program` is the patched one by now; the paths of edits are those in it."""
    known = [e for e in edits if initial_code(e.new) is not None]
    refuse(work, [e for e in edits if e not in known], "fadeout knows no lines of torch for it")
    if not known:
        return
    file, name = work.program.factory
    try:
        draft = draft_of(work, file) if file and not file.startswith("<") else None
    except FadeoutError as error:
        refuse(work, known, str(error).removeprefix("patch: "))
        return
    place = _factory(draft, name) if draft is not None else None
    if draft is None or place is None:
        refuse(work, known, "the factory was not found in a file of yours")
        return
    text = _function(known, work)
    function = define(draft, "_initialise", text)
    _called(draft, place, function)


def _factory(draft: Draft, name: str) -> cst.FunctionDef | cst.ClassDef | None:
    """The definition of a qualified name."""
    body: Sequence[cst.CSTNode] = draft.source.tree.body
    found: cst.FunctionDef | cst.ClassDef | None = None
    for part in name.split("."):
        named = [n for n in body if isinstance(n, cst.FunctionDef | cst.ClassDef) and n.name.value == part]
        if not named:
            return None
        found = named[-1]
        body = found.body.body
    return found


def _called(draft: Draft, place: cst.FunctionDef | cst.ClassDef, function: str) -> None:
    """Call the function on the network: before the factory returns it, or last in the constructor of a class."""
    if isinstance(place, cst.ClassDef):
        inits = [n for n in place.body.body if isinstance(n, cst.FunctionDef) and n.name.value == "__init__"]
        if inits:
            draft.bottom.setdefault(inits[-1], []).append(f"{function}(self)")
        return
    for line, found in _returns(place):
        model = found.value
        if isinstance(model, cst.Tuple) and model.elements:
            model = model.elements[0].value
        if isinstance(model, cst.Name):
            draft.before.setdefault(line, []).append(f"{function}({dotted(model)})")
        elif model is not None:
            draft.swaps.setdefault(model, []).append(
                lambda value: cst.Call(func=cst.Name(function), args=[cst.Arg(value)])
            )


def _returns(place: cst.FunctionDef) -> list[tuple[cst.SimpleStatementLine, cst.Return]]:
    """The factory's own return statements."""
    found: list[tuple[cst.SimpleStatementLine, cst.Return]] = []

    class Returns(cst.CSTVisitor):
        def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
            return node is place

        def visit_Lambda(self, node: cst.Lambda) -> bool:
            return False

        def visit_ClassDef(self, node: cst.ClassDef) -> bool:
            return False

        def visit_SimpleStatementLine(self, node: cst.SimpleStatementLine) -> None:
            found.extend((node, part) for part in node.body if isinstance(part, cst.Return))

    place.visit(Returns())
    return found


def _function(edits: Sequence[Edit], work: Work) -> str:
    """The text of the function: a loop for every kind of layer and every way to draw."""
    model = work.program.model
    modules = dict(model.named_modules(remove_duplicate=False))
    groups: dict[str, list[str]] = {}
    for edit in edits:
        groups.setdefault(edit.new, []).append(edit.path)
    lines = ["def NAME(model):", '    """Draws the weights anew."""']
    for new, paths in groups.items():
        treated = [modules[p] for p in paths]
        code = initial_code(new) or ()
        lines += _loop(model, treated, paths)
        for line in code:
            lacks = "module.bias" in line and any(getattr(m, "bias", None) is None for m in treated)
            lines += ["        if module.bias is not None:", f"            {line}"] if lacks else [f"        {line}"]
    return "\n".join([*lines, "    return model"]) + "\n"


def _loop(model: nn.Module, treated: list[nn.Module], paths: list[str]) -> list[str]:
    """The head of a loop over just these modules, as short as it can be said."""
    kinds = sorted({type(m).__name__ for m in treated})
    ids = {id(m) for m in treated}
    if all(hasattr(nn, k) for k in kinds):
        types = tuple(getattr(nn, k) for k in kinds)
        alike = [m for m in model.modules() if isinstance(m, types)]
        named = f"nn.{kinds[0]}" if len(kinds) == 1 else "(" + ", ".join(f"nn.{k}" for k in kinds) + ")"
        every = f"[m for m in model.modules() if isinstance(m, {named})]"
        for cut, rows in (("", alike), ("[:-1]", alike[:-1]), ("[1:]", alike[1:]), ("[-1:]", alike[-1:])):
            if {id(m) for m in rows} == ids:
                return [f"    for module in {every}{cut}:"]
    listed = ", ".join(f"'{p}'" for p in paths)
    return [f"    for module in map(model.get_submodule, [{listed}]):"]
