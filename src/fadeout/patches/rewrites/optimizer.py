"""The optimizer: another class, another rate, or gradients clipped before its step."""

from collections.abc import Sequence

import libcst as cst

from fadeout.errors import FadeoutError
from fadeout.patches.draft import Draft, expression, name_of, statements
from fadeout.patches.elements import with_inserted
from fadeout.patches.imports import bindings, full_name
from fadeout.patches.placing import Work, draft_of, refuse
from fadeout.patches.rewrites.attribute import with_keyword
from fadeout.patches.source import around, call_at
from fadeout.treatments.patient import Edit


def rewrite(edits: Sequence[Edit], work: Work) -> None:
    """`new` is a construction without its parameters, torch.optim.Adam(lr=0.01), or a call of clip_grad_norm_."""
    for edit in edits:
        new = _call(edit.new)
        if new is None:
            refuse(work, [edit], "it belongs into the training loop")
        elif name_of(new).rpartition(".")[2].startswith("clip_grad"):
            _clip(edit, new, work)
        else:
            _construct(edit, new, work)


def _call(code: str) -> cst.Call | None:
    try:
        found = cst.parse_expression(code)
    except cst.ParserSyntaxError:
        return None
    return found if isinstance(found, cst.Call) else None


def _construct(edit: Edit, new: cst.Call, work: Work) -> None:
    site = work.program.optimizer_site
    if site is None or not site.direct or not site.in_file:
        refuse(work, [edit], "the construction of the optimizer was not seen in your files")
        return
    try:
        draft = draft_of(work, site.file)
    except FadeoutError as error:
        refuse(work, [edit], str(error).removeprefix("patch: "))
        return
    call = call_at(draft.source, site)
    kind = type(work.program.optimizer).__name__
    called = full_name(name_of(call), bindings(draft.source)).rpartition(".")[2] if call is not None else ""
    if call is None or called != kind or not call.args or any(a.star for a in call.args):
        refuse(work, [edit], "the class or its arguments are chosen while the program runs")
        return
    func = expression(draft, cst.Module([]).code_for_node(new.func))
    same = name_of(new).rpartition(".")[2] == called
    values = {
        a.keyword.value: expression(draft, cst.Module([]).code_for_node(a.value))
        for a in new.args
        if a.keyword is not None
    }
    draft.swaps.setdefault(call, []).append(lambda old: _renewed(old, func, values, same))


def _renewed(
    call: cst.BaseExpression, func: cst.BaseExpression, values: dict[str, cst.BaseExpression], same: bool
) -> cst.BaseExpression:
    assert isinstance(call, cst.Call)
    args = list(call.args)
    first = next((i for i, a in enumerate(args) if a.keyword is None or a.keyword.value == "params"), 0)
    rate = next((i for i, a in enumerate(args) if a.keyword is None and i == 1), None)  # lr is second in all of torch's
    if not same:
        kept = args[first].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        named = [a for i, a in enumerate(args) if i == rate or (a.keyword is not None and a.keyword.value in values)]
        args = [kept]
        for arg in named:
            args = with_inserted(
                args, len(args), arg.with_changes(comma=cst.MaybeSentinel.DEFAULT), call.whitespace_before_args
            )
        rate = 1 if rate is not None else None
    left = dict(values)
    if rate is not None and "lr" in left:
        args[rate] = args[rate].with_changes(value=left.pop("lr"))
    renewed: cst.BaseExpression = call.with_changes(args=args) if same else call.with_changes(func=func, args=args)
    for name, value in left.items():
        renewed = with_keyword(renewed, name, value)
    return renewed


def _clip(edit: Edit, new: cst.Call, work: Work) -> None:
    """A line before every step of an optimizer in the user's files."""
    limit = [cst.Module([]).code_for_node(a) for a in new.args[1:]] or ["1.0"]
    found = False
    for file in work.program.files:
        try:
            draft = draft_of(work, file)
        except FadeoutError:
            continue
        steps = _steps(draft)
        for statement, optimizer, model in steps:
            found = True
            parameters = (
                f"{model}.parameters()" if model else f'[p for g in {optimizer}.param_groups for p in g["params"]]'
            )
            code = statements(draft, f"{name_of(new)}({parameters}, {', '.join(limit)})")
            draft.before.setdefault(statement, []).append(code)
    if not found:
        refuse(work, [edit], "no optimizer.step() stands in the files of this factory")


def _steps(draft: Draft) -> list[tuple[cst.SimpleStatementLine, str, str]]:
    """Statements `opt.step()` that follow a backward in the same block, with names of optimizer and model."""
    source = draft.source
    found = []
    for call in source.calls.values():
        name = name_of(call)
        owner, _, verb = name.rpartition(".")
        line = next((n for n in around(source, call) if isinstance(n, cst.SimpleStatementLine)), None)
        block = source.parents.get(line) if line is not None else None
        if verb != "step" or line is None or not isinstance(block, cst.IndentedBlock | cst.Module) or call.args:
            continue
        at = list(block.body).index(line)
        ahead = [cst.Module([]).code_for_node(s) for s in block.body[:at]]
        if not any(".backward(" in text for text in ahead) or any("clip_grad" in text for text in ahead):
            continue
        scope = next((n for n in around(source, call) if isinstance(n, cst.FunctionDef)), source.tree)
        text = cst.Module([]).code_for_node(scope)
        self_model = "self.model" if "self.model" in text else ""
        found.append((line, owner, _name_in(scope, "model") or self_model))
    return found


def _name_in(scope: cst.CSTNode, name: str) -> str:
    """The name, if the scope uses it."""
    seen: set[str] = set()

    class Names(cst.CSTVisitor):
        def visit_Name(self, node: cst.Name) -> None:
            seen.add(node.value)

        def visit_Attribute(self, node: cst.Attribute) -> bool:
            node.value.visit(self)
            return False

    scope.visit(Names())
    return name if name in seen else ""
