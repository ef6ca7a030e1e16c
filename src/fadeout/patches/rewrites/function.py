"""An activation that is called: F.sigmoid(x), torch.sigmoid(x) and x.sigmoid() become F.relu(x)."""

from collections.abc import Sequence
from pathlib import Path

import libcst as cst

from fadeout.errors import FadeoutError
from fadeout.patches.draft import Draft, Swap, expression, name_of
from fadeout.patches.imports import bindings, full_name
from fadeout.patches.placing import Work, draft_of, refuse
from fadeout.patches.program import modules_of
from fadeout.patches.source import calls_on
from fadeout.treatments.patient import Edit


def rewrite(edits: Sequence[Edit], work: Work) -> None:
    """Calls by file, line and name; every module that runs the line must be treated."""
    groups: dict[str, list[Edit]] = {}
    for edit in edits:
        groups.setdefault(edit.line, []).append(edit)
    for line, group in groups.items():
        found = calls_named(work, group, line)
        if isinstance(found, str):
            refuse(work, group, found)
            continue
        draft, calls = found
        func = expression(draft, group[0].new)
        for call in calls:
            draft.swaps.setdefault(call, []).append(_renaming(func, draft))


def calls_named(work: Work, group: Sequence[Edit], line: str) -> tuple[Draft, list[cst.Call]] | str:
    """The calls that edits of one line mean, or why they can't be told."""
    name, _, number = line.rpartition(":")
    files = [f for f in work.program.files if f == name or f.endswith("/" + name) or Path(f).name == name]
    if not name or not number.isdigit() or len(files) != 1:
        return "its line is not known" if len(files) < 2 else f"several of your files are called {name}"
    if len({(e.old, e.new) for e in group}) > 1:
        return "this line calls several functions that need different ones"
    try:
        draft = draft_of(work, files[0])
    except FadeoutError as error:
        return str(error).removeprefix("patch: ")
    old = group[0].old.rpartition(".")[2]
    bound = bindings(draft.source)
    names = [
        (c, full_name(name_of(c), bound).rpartition(".")[2] or called_name(c))
        for c in calls_on(draft.source, int(number))
    ]
    calls = [c for c, called in names if called == old]
    if not calls:
        return f"the line does not call {old}"
    modules = modules_of(work.program.model)
    treated = {e.path for e in group}
    kinds = {type(modules[p]) for p in treated if p in modules}
    left = [p for p, m in modules.items() if type(m) in kinds and p not in treated]
    if left and not any(kind.__module__.startswith("torch.") for kind in kinds):
        return f"{left[0] or 'the network'} runs the same line and must stay as it is"
    if len(calls) > 1 and len(group) != len(calls) * len(treated):
        return f"the line calls {old} several times"
    return draft, calls


def called_name(call: cst.Call) -> str:
    """The last part of what is called: sigmoid of F.sigmoid(x) and of x.sigmoid()."""
    return call.func.attr.value if isinstance(call.func, cst.Attribute) else name_of(call)


def _renaming(func: cst.BaseExpression, draft: Draft) -> Swap:
    bound = bindings(draft.source)

    def rename(call: cst.BaseExpression) -> cst.BaseExpression:
        assert isinstance(call, cst.Call)
        full = full_name(name_of(call), bound)
        if isinstance(call.func, cst.Attribute) and not full.startswith("torch."):  # x.sigmoid()
            return call.with_changes(func=func, args=[cst.Arg(call.func.value)])
        return call.with_changes(func=func)

    return rename
