"""The two ends: the input brought to one scale, the output stretched to reach the targets."""

import ast
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import libcst as cst
from torch import nn

from fadeout.errors import FadeoutError
from fadeout.patches.draft import Draft, define, name_of, statements
from fadeout.patches.placing import Work, draft_of, place, refuse
from fadeout.patches.program import code_of, modules_of
from fadeout.patches.rewrites.function import called_name, calls_named
from fadeout.patches.rewrites.norm import follow
from fadeout.patches.source import around, is_alone
from fadeout.treatments.patient import Edit

_CODE = '''class NAME(nn.Module):
    """{said}."""

    def forward(self, x):
        return {formula}
'''


def rewrite_input(edits: Sequence[Edit], work: Work) -> None:
    """`new` is an expression in x with numbers: a first line of forward, or a first module of a Sequential."""
    for edit in edits:
        model = work.program.model
        code = _in("x", edit)
        if code is None:
            refuse(work, [edit], "it is no expression in x; a mean for every column has to be put in by hand")
        elif type(model) is nn.Sequential:
            _first(edit, code, work)
        elif sum(type(m) is type(model) for m in model.modules()) > 1:
            refuse(work, [edit], f"{type(model).__name__} also stands inside the network")
        else:
            _forward(edit, work)


def _first(edit: Edit, code: str, work: Work) -> None:
    for placed in place(work, [edit]):
        call, draft = placed.call, placed.draft
        inner = [name_of(a.value) for a in call.args if isinstance(a.value, cst.Call)]
        if name_of(call).rpartition(".")[2] != "Sequential" or any("OrderedDict" in name for name in inner):
            refuse(work, [edit], "the network is not written as a plain Sequential")
            continue
        name = define(
            draft, "Standardise", _CODE.format(said="Brings the input to mean 0 and deviation 1", formula=code)
        )
        draft.first.setdefault(call, []).append(cst.Call(func=cst.Name(name)))


def _forward(edit: Edit, work: Work) -> None:
    found = _forward_of(edit, work)
    if found is None:
        return
    draft, forward = found
    arguments = [p.name.value for p in forward.params.params[1:2]]
    code = _in(arguments[0], edit) if arguments else None
    if code is None:
        refuse(work, [edit], "the first argument of forward could not be told")
        return
    draft.top.setdefault(forward, []).append(statements(draft, f"{arguments[0]} = {code}"))


def _forward_of(edit: Edit, work: Work) -> tuple[Draft, cst.FunctionDef] | None:
    """Where the network's forward is written; a refusal where it is not in the user's files."""
    file, line = code_of(type(work.program.model).forward)
    if file not in work.program.files:
        refuse(work, [edit], "the network's forward is not in your files")
        return None
    try:
        draft = draft_of(work, file)
    except FadeoutError as error:
        refuse(work, [edit], str(error).removeprefix("patch: "))
        return None
    found = [
        n
        for n, start in draft.source.lines.items()
        if isinstance(n, cst.FunctionDef) and n.name.value == "forward" and start <= line <= start + len(n.decorators)
    ]
    if len(found) != 1:
        refuse(work, [edit], "the network's forward was not found")
        return None
    return draft, found[0]


def rewrite_output(edits: Sequence[Edit], work: Work) -> None:
    """`new` is an expression in y, the output as it was: around the call on its line, or in a module that follows."""
    for edit in edits:
        if edit.line:
            found = calls_named(work, [edit], edit.line)
            if isinstance(found, str):
                refuse(work, [edit], found)
                continue
            draft, calls = found
            for call in calls:
                draft.swaps.setdefault(call, []).append(partial(_around, edit=edit, alone=is_alone(draft.source, call)))
            continue
        code = _in("x", edit)
        if code is None:
            refuse(work, [edit], "it is no expression in y")
            continue
        old = edit.old.rpartition(".")[2].lower()
        made = _outputs(work.program.model, old)
        if not edit.path and old and len(made) != 1:
            _in_forward(edit, old, work)
            continue
        for placed in place(work, [edit] if edit.path or not old else [replace(edit, path=made[0])]):
            name = define(
                placed.draft,
                "Stretch",
                _CODE.format(said="Stretches the output so that it reaches the targets", formula=code),
            )
            follow(placed, cst.Call(func=cst.Name(name)), work)


def _outputs(model: nn.Module, old: str) -> list[str]:
    """Modules that may be the output activation: the last of a Sequential, or the only one of its class."""
    made = [p for p, m in modules_of(model).items() if type(m).__name__.lower() == old]
    last = str(len(model) - 1) if isinstance(model, nn.Sequential) else ""
    return [last] if last in made else made


def _in_forward(edit: Edit, old: str, work: Work) -> None:
    """The one call of a function in the network's own forward."""
    found = _forward_of(edit, work)
    if found is None:
        return
    draft, forward = found
    inside = [c for c in draft.source.calls.values() if forward in around(draft.source, c)]
    calls = [c for c in inside if isinstance(c.func, cst.Attribute | cst.Name) and called_name(c) == old]
    if len(calls) != 1:
        refuse(work, [edit], f"forward calls {old} {len(calls)} times")
        return
    draft.swaps.setdefault(calls[0], []).append(partial(_around, edit=edit, alone=is_alone(draft.source, calls[0])))


def _around(call: cst.BaseExpression, edit: Edit, alone: bool) -> cst.BaseExpression:
    code = _in(cst.Module([]).code_for_node(call), edit)
    return cst.parse_expression(code if alone else f"({code})") if code else call


def _in(value: str, edit: Edit) -> str | None:
    """The formula of an edit with something else for its one variable, or for the call of the old function."""
    try:
        tree = ast.parse(edit.new, mode="eval")
    except SyntaxError:
        return None
    old = edit.old.rpartition(".")[2].lower()
    called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in called}
    names -= {"torch", "nn", "F", "math"}
    if len(names) != 1:
        return None
    variable, put = names.pop(), ast.parse(value, mode="eval").body

    class Putting(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            return put if node.id == variable else node

        def visit_Call(self, node: ast.Call) -> ast.AST:
            name = ast.unparse(node.func).rpartition(".")[2]
            if old and name == old:
                return put
            self.generic_visit(node)
            if name == "tensor":
                node.keywords.append(ast.keyword("device", ast.Attribute(put, "device")))
            return node

    return ast.unparse(ast.fix_missing_locations(Putting().visit(tree)))
