"""Wording: edits as treatments write them, brought to the one form that the rewrites read."""

import ast
import inspect
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from fadeout.treatments.patient import Edit


def worded(edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """nn.LayerNorm((8,), eps=1e-05) becomes nn.LayerNorm(8); lr=0.01 becomes SGD(lr=0.01); a branch becomes f(x)."""
    return tuple(_one(e) for e in edits)


def _one(edit: Edit) -> Edit:
    if edit.what in ("module", "norm"):
        return replace(edit, new=tidied(edit.new))
    if edit.what == "skip":
        return replace(edit, new=edit.new.partition(", alpha")[0].replace("branch", "f(x)"))
    if edit.what == "optimizer":
        if edit.new.startswith("clip_grad"):
            return replace(edit, new=f"torch.nn.utils.{edit.new}")
        name, equals, _ = edit.new.partition("=")
        if equals and name.strip().isidentifier():
            return replace(edit, new=f"torch.optim.{edit.old.partition('(')[0]}({edit.new})")
    return edit


def tidied(code: str) -> str:
    """A construction without arguments that are the defaults of torch's class."""
    try:
        tree = ast.parse(code, mode="eval").body
    except SyntaxError:
        return code
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Attribute):
        return code
    kind = getattr(nn, tree.func.attr, None)
    if not inspect.isclass(kind):
        return code
    defaults = {n: p.default for n, p in inspect.signature(kind).parameters.items()}
    tree.keywords = [k for k in tree.keywords if not _is_default(k, defaults)]
    if tree.func.attr in ("LayerNorm", "RMSNorm") and tree.args and isinstance(tree.args[0], ast.Tuple):
        tree.args = [*tree.args[0].elts, *tree.args[1:]] if len(tree.args[0].elts) == 1 else tree.args
    return ast.unparse(tree)


def _is_default(keyword: ast.keyword, defaults: dict[str, object]) -> bool:
    try:
        return keyword.arg in defaults and bool(ast.literal_eval(keyword.value) == defaults[keyword.arg])
    except ValueError:
        return False
