"""A keyword of a construction: nn.TransformerEncoderLayer(8, 2) gets norm_first=True or another activation."""

from collections.abc import Sequence

import libcst as cst

from fadeout.patches.draft import expression
from fadeout.patches.elements import with_inserted
from fadeout.patches.placing import Work, place, refuse
from fadeout.treatments.patient import Edit


def rewrite(edits: Sequence[Edit], work: Work) -> None:
    """`new` is "name=value"."""
    for placed in place(work, edits):
        name, equals, value = placed.edits[0].new.partition("=")
        if len({e.new for e in placed.edits}) > 1 or not equals or not name.strip().isidentifier():
            refuse(work, placed.edits, "it is no keyword of the construction")
            continue
        code = expression(placed.draft, value.strip())

        def change(
            call: cst.BaseExpression, name: str = name.strip(), code: cst.BaseExpression = code
        ) -> cst.BaseExpression:
            return with_keyword(call, name, code)

        placed.draft.swaps.setdefault(placed.call, []).append(change)


def with_keyword(call: cst.BaseExpression, name: str, value: cst.BaseExpression) -> cst.BaseExpression:
    """A call with one keyword argument set."""
    assert isinstance(call, cst.Call)
    args = list(call.args)
    for i, arg in enumerate(args):
        if arg.keyword is not None and arg.keyword.value == name:
            args[i] = arg.with_changes(value=value)
            return call.with_changes(args=args)
    tight = cst.AssignEqual(whitespace_before=cst.SimpleWhitespace(""), whitespace_after=cst.SimpleWhitespace(""))
    new = cst.Arg(keyword=cst.Name(name), value=value, equal=tight)
    return call.with_changes(args=with_inserted(args, len(args), new, call.whitespace_before_args))
