"""A recipe: what a person has to change by hand, a whole sentence each, with the exact line."""

from fadeout.treatments.patient import Edit

_WORDS = {
    "module": "write {new} in place of {old}",
    "function": "call {new} in place of {old}",
    "attribute": "set {new}",
    "norm": "put {new} after this {old}",
    "skip": "let a way lead around this {old}, so that its output f(x) becomes {new}",
    "init": "draw the weights of this {old} anew: {new}",
    "optimizer": "write {new} in place of {old}",
    "input": "bring the input to one scale before the network sees it: {new}",
    "output": "stretch the output so that it reaches the targets: {new}",
}


def sentence(edit: Edit, place: str = "", *, kind: str = "", why: str = "") -> str:
    """One instruction.

    Args:
        place: "net.py:12", where it is known.
        kind: Class of the module, where `old` does not say it.
        why: Why fadeout does not do it itself.
    """
    old = edit.old or kind or "module"
    if edit.what == "module" and kind and "." not in old:
        old = f"nn.{old}()"
    if edit.what == "optimizer" and not edit.old:
        words = "before every optimizer.step(), add {new}" if "(" in edit.new else "train with {new}"
    else:
        words = _WORDS.get(edit.what, "change {old} to {new}")
    said = words.format(old=old, new=edit.new or "x + f(x)")
    where = place or edit.line
    if not where and edit.what == "input":
        where = "Before the network is called"
    elif not where and edit.what == "output":
        where = "Where the network returns its output"
    elif not where:
        where = f"module {edit.path}" if edit.path else "the whole network"
        where = f"In the line that makes {where}" if edit.what != "optimizer" else "In the training loop"
    return f"{where}: {said}." + (f" (fadeout does not write it: {why}.)" if why else "")


def once(lines: list[str]) -> tuple[str, ...]:
    """Every sentence once, in order."""
    return tuple(dict.fromkeys(lines))
