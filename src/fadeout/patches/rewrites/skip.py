"""A way around a module: a small Residual class in the file, and the construction inside it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import libcst as cst

from fadeout.patches.draft import Draft, Gather, define, expression
from fadeout.patches.placing import Placed, Work, draft_of, place, refuse
from fadeout.patches.rewrites.norm import is_element, joined
from fadeout.patches.source import calls_on, is_alone
from fadeout.treatments.patient import Edit

_CODE = '''class NAME(nn.Module):
    """A block and a way around it: {said}."""

    def __init__(self, block{argument}):
        super().__init__()
        self.block = block
{more}
    def forward(self, x):
        return {formula}
'''


def rewrite(edits: Sequence[Edit], work: Work) -> None:
    """`new` says what becomes of x, with f for the block.

    "x + f(x)", "(x + f(x)) / 2 ** 0.5", "x + alpha * f(x)" with a number alpha that is learned and starts at 0, or
    "nn.Linear(8, 4)(x) + f(x)" with another way than x itself.
    """
    called = [e for e in edits if e.line and not e.until and _in_function(e, edits, work)]
    for placed in place(work, [e for e in edits if e not in called]):
        draft = placed.draft
        if len({e.new for e in placed.edits}) > 1:
            refuse(work, placed.edits, "this line makes several modules that need different ways around")
            continue
        last = _last(placed, work)
        if isinstance(last, str):
            refuse(work, placed.edits, last)
            continue
        template, way = _template(placed.edits[0].new or "x + f(x)", draft)
        name = define(draft, "Residual", template)
        if last is not None:
            draft.merged.setdefault(placed.call, []).append((last, _gathering(name, way, draft)))
            continue
        joined(draft, placed.call)

        def wrap(
            call: cst.BaseExpression, name: str = name, way: cst.BaseExpression | None = way
        ) -> cst.BaseExpression:
            comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
            args = [cst.Arg(call)] if way is None else [cst.Arg(call, comma=comma), cst.Arg(way)]
            return cst.Call(func=cst.Name(name), args=args)

        draft.swaps.setdefault(placed.call, []).append(wrap)


def _in_function(edit: Edit, edits: Sequence[Edit], work: Work) -> bool:
    """Whether the line holds act(layer(x)) once, so that x + act(layer(x)) can stand there; written, if so."""
    name, _, number = edit.line.rpartition(":")
    files = [f for f in work.program.files if Path(f).name == name]
    if len(files) != 1 or not number.isdigit() or "nn." in edit.new or "alpha" in edit.new:
        return False
    draft = draft_of(work, files[0])
    found = [(c, x) for c in calls_on(draft.source, int(number)) if (x := _innermost(c)) is not None]
    if len(found) != 1 or len({e.new for e in edits if e.line == edit.line}) > 1:
        return False
    call, x = found[0]
    if edit is next(e for e in edits if e.line == edit.line):
        draft.swaps.setdefault(call, []).append(
            lambda value: _formula(edit.new, value, x, is_alone(draft.source, call))
        )
    return True


def _innermost(call: cst.Call) -> cst.BaseExpression | None:
    """x of act(layer(x)), layer(x).act() and the like."""
    inner = call.args[0].value if len(call.args) == 1 else None
    if not call.args and isinstance(call.func, cst.Attribute):
        inner = call.func.value
    if not isinstance(inner, cst.Call) or len(inner.args) != 1:
        return None
    x = inner.args[0].value
    return x if isinstance(x, cst.Name) else None


def _formula(formula: str, value: cst.BaseExpression, x: cst.BaseExpression, alone: bool) -> cst.BaseExpression:
    class Putting(cst.CSTTransformer):
        def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
            return (
                value if isinstance(original_node.func, cst.Name) and original_node.func.value == "f" else updated_node
            )

        def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
            return x if original_node.value == "x" else updated_node

    put = cst.parse_expression(formula).visit(Putting())
    code = cst.Module([]).code_for_node(put)  # type: ignore[arg-type]
    return cst.parse_expression(code if alone else f"({code})")


def _last(placed: Placed, work: Work) -> cst.CSTNode | str | None:
    """The last of several modules in one list that the way leads around; None where it is only one, else why not."""
    if not any(e.until and e.until != e.path for e in placed.edits):
        return None
    ends = list(place(work, [replace(e, path=e.until) for e in placed.edits]))
    rows = placed.draft.source.parents
    if len(ends) != 1 or any(not e.until for e in placed.edits):
        return "the modules inside do not come from one line each"
    begin, end = rows.get(placed.call), rows.get(ends[0].call)
    holder = rows.get(begin) if begin is not None else None
    if end is None or holder is None or rows.get(end) is not holder or not is_element(placed, work):
        return "the modules inside do not stand side by side"
    return ends[0].call


def _gathering(name: str, way: cst.BaseExpression | None, draft: Draft) -> Gather:
    sequential = expression(draft, "nn.Sequential")

    def gather(values: list[cst.BaseExpression]) -> cst.BaseExpression:
        whole = cst.Call(func=sequential, args=[cst.Arg(v) for v in values])
        return cst.Call(func=cst.Name(name), args=[cst.Arg(v) for v in (whole, way) if v is not None])

    return gather


def _template(formula: str, draft: Draft) -> tuple[str, cst.BaseExpression | None]:
    reading = _Reading()
    code = cst.Module([]).code_for_node(cst.parse_expression(formula).visit(reading))  # type: ignore[arg-type]
    more = "        self.alpha = nn.Parameter(torch.zeros(()))\n" if reading.learned else ""
    argument = ""
    if reading.way is not None:
        argument, more = ", way", more + "        self.way = way\n"
    template = _CODE.format(said=formula, argument=argument, more=more, formula=code)
    way = cst.Module([]).code_for_node(reading.way) if reading.way is not None else None
    return template, expression(draft, way) if way is not None else None


class _Reading(cst.CSTTransformer):
    """f becomes self.block, alpha self.alpha, and what is constructed in the formula self.way."""

    def __init__(self) -> None:
        self.learned = False
        self.way: cst.BaseExpression | None = None

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        if isinstance(original_node.func, cst.Call):
            self.way = original_node.func
            return updated_node.with_changes(func=cst.parse_expression("self.way"))
        return updated_node

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        if original_node.value == "alpha":
            self.learned = True
        return cst.parse_expression(
            {"alpha": "self.alpha", "f": "self.block"}.get(original_node.value, updated_node.value)
        )
