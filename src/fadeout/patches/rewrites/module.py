"""A module that another one takes the place of: nn.Sigmoid() becomes nn.ReLU()."""

from collections.abc import Sequence

import libcst as cst

from fadeout.patches.draft import expression, name_of
from fadeout.patches.imports import bindings, full_name
from fadeout.patches.placing import Placed, Work, place, refuse
from fadeout.treatments.patient import Edit

_RECURRENT = ("RNN", "GRU", "LSTM")


def rewrite(edits: Sequence[Edit], work: Work) -> None:
    """The call gets another name and other arguments; recurrent layers keep their arguments."""
    for placed in place(work, edits):
        kinds = {type(m).__name__ for m in placed.modules}
        called = full_name(name_of(placed.call), bindings(placed.draft.source)).rpartition(".")[2]
        if kinds != {called}:
            refuse(work, placed.edits, "the class is chosen while the program runs")
            continue
        if {e.old.rpartition(".")[2] for e in placed.edits} != {called}:
            refuse(work, placed.edits, f"the source makes {called} here")
            continue
        _swap(placed, called, work)


def _swap(placed: Placed, called: str, work: Work) -> None:
    draft = placed.draft
    new = [cst.parse_expression(e.new) for e in placed.edits]
    callee = new[0].func if isinstance(new[0], cst.Call) else None
    becomes = name_of(new[0]).rpartition(".")[2] if isinstance(new[0], cst.Call) else ""
    if callee is not None and called in _RECURRENT and becomes in _RECURRENT:
        func = expression(draft, cst.Module([]).code_for_node(callee))

        def rename(call: cst.BaseExpression) -> cst.BaseExpression:
            assert isinstance(call, cst.Call)
            kept = [a for a in call.args if a.keyword is None or a.keyword.value != "nonlinearity"]
            if len(kept) < len(call.args) and kept:
                kept[-1] = kept[-1].with_changes(
                    comma=call.args[-1].comma, whitespace_after_arg=call.args[-1].whitespace_after_arg
                )
            return call.with_changes(func=func, args=kept)

        draft.swaps.setdefault(placed.call, []).append(rename)
    elif len({e.new for e in placed.edits}) > 1:
        refuse(work, placed.edits, "this line makes several modules that need different ones")
    else:
        value = expression(draft, placed.edits[0].new)
        draft.swaps.setdefault(placed.call, []).append(lambda _: value)
