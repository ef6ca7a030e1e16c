"""A way around a module: a small Residual class in the file, and the construction inside it."""

from collections.abc import Sequence

import libcst as cst

from fadeout.patches.draft import Draft, define, expression
from fadeout.patches.placing import Work, place, refuse
from fadeout.patches.rewrites.norm import joined
from fadeout.treatments.treatment import Edit

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
    for placed in place(work, edits):
        draft = placed.draft
        if len({e.new for e in placed.edits}) > 1:
            refuse(work, placed.edits, "this line makes several modules that need different ways around", placed.site)
            continue
        template, way = _template(placed.edits[0].new or "x + f(x)", draft)
        name = define(draft, "Residual", template)
        joined(draft, placed.call)

        def wrap(
            call: cst.BaseExpression, name: str = name, way: cst.BaseExpression | None = way
        ) -> cst.BaseExpression:
            comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
            args = [cst.Arg(call)] if way is None else [cst.Arg(call, comma=comma), cst.Arg(way)]
            return cst.Call(func=cst.Name(name), args=args)

        draft.swaps.setdefault(placed.call, []).append(wrap)


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
