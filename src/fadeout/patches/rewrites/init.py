"""Weights drawn anew: a small function in the file, called where the factory has made the network."""

from collections.abc import Sequence

import libcst as cst
from torch import nn

from fadeout.errors import FadeoutError
from fadeout.patches.draft import Draft, define
from fadeout.patches.initials import initial_code
from fadeout.patches.placing import Work, draft_of, refuse
from fadeout.patches.program import modules_of
from fadeout.patches.source import call_at, dotted
from fadeout.treatments.patient import Edit


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
    if draft is None:
        refuse(work, known, "the factory was not found in a file of yours")
        return
    text = _function(known, work)
    function = define(draft, "_initialise", text)
    if not _called(draft, _factory(draft, name), function, work):
        refuse(work, known, "the place where the factory hands out the network was not found")


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


def _called(draft: Draft, place: cst.CSTNode | None, function: str, work: Work) -> bool:
    """Call the function on the network: before the factory returns it, last in the constructor of a class, or around
    the construction itself."""
    if isinstance(place, cst.ClassDef):
        inits = [n for n in place.body.body if isinstance(n, cst.FunctionDef) and n.name.value == "__init__"]
        if inits:
            draft.bottom.setdefault(inits[-1], []).append(f"{function}(self)")
        return bool(inits)
    handed = [] if not isinstance(place, cst.FunctionDef) else [(n, _model(r, work)) for n, r in _returns(place)]
    if not handed or any(model is None for _, model in handed):
        site = work.program.sites.get("")
        call = call_at(draft.source, site) if site is not None and site.file == draft.source.file else None
        if call is None:
            return False
        draft.swaps.setdefault(call, []).append(lambda value: _on(function, value))
        return True
    for line, model in handed:
        if isinstance(model, cst.Name):
            draft.before.setdefault(line, []).append(f"{function}({dotted(model)})")
        elif model is not None:
            draft.swaps.setdefault(model, []).append(lambda value: _on(function, value))
    return True


def _on(function: str, value: cst.BaseExpression) -> cst.Call:
    return cst.Call(func=cst.Name(function), args=[cst.Arg(value)])


def _model(handed: cst.Return, work: Work) -> cst.BaseExpression | None:
    """The expression of the network in a return statement; None where a function returns the whole tuple."""
    if isinstance(handed.value, cst.Tuple):
        return handed.value.elements[0].value if handed.value.elements else None
    return handed.value if work.program.alone else None


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
    modules = modules_of(model)
    groups: dict[str, list[str]] = {}
    for edit in edits:
        groups.setdefault(edit.new, []).append(edit.path)
    lines = ["def NAME(model):", '    """Draws the weights anew."""']
    last = ""
    for new, paths in groups.items():
        treated = [modules[p] for p in paths]
        code = initial_code(new) or ()
        named, loop = _loop(model, treated, paths)
        if named and f"    layers = {named}" != last:
            last = f"    layers = {named}"
            lines.append(last)
        lines.append(loop)
        for line in code:
            lacks = "module.bias" in line and any(getattr(m, "bias", None) is None for m in treated)
            lines += ["        if module.bias is not None:", f"            {line}"] if lacks else [f"        {line}"]
    return "\n".join([*lines, "    return model"]) + "\n"


def _loop(model: nn.Module, treated: list[nn.Module], paths: list[str]) -> tuple[str, str]:
    """A list of layers, and the head of a loop over just the treated ones of them, as short as it can be said."""
    kinds = sorted({type(m).__name__ for m in treated})
    ids = {id(m) for m in treated}
    if all(hasattr(nn, k) for k in kinds):
        types = tuple(getattr(nn, k) for k in kinds)
        alike = [m for m in model.modules() if isinstance(m, types)]
        named = f"nn.{kinds[0]}" if len(kinds) == 1 else "(" + ", ".join(f"nn.{k}" for k in kinds) + ")"
        cuts = (("", alike), ("[:-1]", alike[:-1]), ("[-1:]", alike[-1:]), ("[:1]", alike[:1]), ("[1:]", alike[1:]))
        for cut, rows in (*cuts, ("[1:-1]", alike[1:-1])):
            if {id(m) for m in rows} == ids:
                every = f"[m for m in model.modules() if isinstance(m, {named})]"
                return every, f"    for module in layers{cut}:"
    listed = ", ".join(f'"{p}"' for p in paths)
    return "", f"    for module in map(model.get_submodule, [{listed}]):"
