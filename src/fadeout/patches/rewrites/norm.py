"""A norm after a module: a further element of a Sequential, or a Sequential of the two."""

from collections.abc import Sequence

import libcst as cst
from torch import nn

from fadeout.patches.draft import Draft, expression, name_of
from fadeout.patches.placing import Placed, Work, place, refuse
from fadeout.patches.program import modules_of
from fadeout.treatments.patient import Edit

_WIDTHS = {"GroupNorm": 1}  # which argument is the width; the first where nothing is said


def rewrite(edits: Sequence[Edit], work: Work) -> None:
    """The norm is written once where several modules come from one line, with its width as the line calls it."""
    for placed in place(work, edits):
        code = _common(placed)
        if code is None:
            refuse(work, placed.edits, "this line makes several modules that need different norms")
        else:
            follow(placed, expression(placed.draft, code), work)


def follow(placed: Placed, value: cst.BaseExpression, work: Work) -> None:
    """Let what `value` makes run after what the call makes."""
    draft = placed.draft
    if is_element(placed, work):
        draft.after.setdefault(placed.call, []).append(value)
    else:
        sequential = expression(draft, "nn.Sequential")
        draft.swaps.setdefault(placed.call, []).append(
            lambda call: cst.Call(
                func=sequential,
                args=[cst.Arg(value=call, comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))), cst.Arg(value)],
            )
        )


def joined(draft: Draft, call: cst.Call) -> None:
    """What was to follow a call is put into one Sequential with it, for whoever wraps both."""
    for value in draft.after.pop(call, []):
        sequential = expression(draft, "nn.Sequential")

        def both(
            call: cst.BaseExpression,
            value: cst.BaseExpression = value,
            sequential: cst.BaseExpression = sequential,
        ) -> cst.BaseExpression:
            comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
            return cst.Call(func=sequential, args=[cst.Arg(value=call, comma=comma), cst.Arg(value)])

        draft.swaps.setdefault(call, []).append(both)


def is_element(placed: Placed, work: Work) -> bool:
    """Whether the call stands among the parts of a Sequential, so that another part may stand after it."""
    draft = placed.draft
    modules = modules_of(work.program.model)
    holders = {type(modules.get(p.rpartition(".")[0])) for p in placed.paths}
    holder = draft.source.parents.get(placed.call)
    around = draft.source.parents.get(holder) if holder is not None else None
    if holders != {nn.Sequential} or "" in placed.paths:
        return False
    if isinstance(holder, cst.Arg) and isinstance(around, cst.Call):
        return holder.keyword is None and not holder.star and name_of(around).rpartition(".")[2] == "Sequential"
    if isinstance(holder, cst.Element) and isinstance(around, cst.List | cst.Tuple):
        return not any(isinstance(e.value, cst.SimpleString | cst.FormattedString) for e in around.elements)
    return False


def _common(placed: Placed) -> str | None:
    """One expression for all norms of a line; None where there is none."""
    codes = {e.new for e in placed.edits}
    width = _width_in_source(placed.call)
    calls = [cst.parse_expression(e.new) for e in placed.edits]
    shapes = set()
    for call, module in zip(calls, placed.modules, strict=True):
        place = _WIDTHS.get(name_of(call).rpartition(".")[2], 0) if isinstance(call, cst.Call) else 0
        out = getattr(module, "out_features", getattr(module, "out_channels", None))
        if width is None or not isinstance(call, cst.Call) or len(call.args) <= place:
            return codes.pop() if len(codes) == 1 else None
        arg = call.args[place]
        if not isinstance(arg.value, cst.Integer) or int(arg.value.value) != out:
            return codes.pop() if len(codes) == 1 else None
        args = [a.with_changes(value=width) if i == place else a for i, a in enumerate(call.args)]
        shapes.add(cst.Module([]).code_for_node(call.with_changes(args=args)))
    return shapes.pop() if len(shapes) == 1 else None


def _width_in_source(call: cst.Call) -> cst.BaseExpression | None:
    """What the source calls the number of features that the layer gives: nn.Linear(a, b) -> b."""
    named = {a.keyword.value: a.value for a in call.args if a.keyword is not None}
    value = named.get("out_features", named.get("out_channels"))
    if value is None and len(call.args) > 1 and all(a.keyword is None and not a.star for a in call.args[:2]):
        value = call.args[1].value
    simple = isinstance(value, cst.Name | cst.Attribute | cst.Integer) or (
        isinstance(value, cst.Subscript | cst.BinaryOperation) and "(" not in cst.Module([]).code_for_node(value)
    )
    return value if simple and name_of(call).rpartition(".")[2] in _LAYERS else None


_LAYERS = ("Linear", "Conv1d", "Conv2d", "Conv3d")
