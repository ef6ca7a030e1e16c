"""Writing a patch: every edit is placed and written, the new program run, compared and, if it is right, handed out."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import libcst as cst
from torch import nn

from fadeout.call.subject import unwrapped
from fadeout.errors import FadeoutError
from fadeout.patches.checking import Examine, differs, far, other_outputs
from fadeout.patches.draft import written
from fadeout.patches.initials import initial_code
from fadeout.patches.patch import Patch
from fadeout.patches.placing import Work, kind_of, place_of, refuse
from fadeout.patches.program import modules_of, run
from fadeout.patches.recipe import once, sentence
from fadeout.patches.rewrites import REWRITES
from fadeout.patches.source import read_text
from fadeout.patches.unified import diff_of, root_of
from fadeout.patches.wording import worded
from fadeout.treatments.patient import Edit, Receipt

_BESIDE = ("optimizer", "input")  # changes beside the network: without them the rest is still what was tested


def patch_of(
    factory: str | Callable[..., Any],
    edits: Receipt | Sequence[Edit],
    *,
    treated: nn.Module | None = None,
    optimizer: Any = None,
    examine: Examine | None = None,
    tolerance: float = 0.5,
    root: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> Patch:
    """Write what a treatment did to a live network into the source that makes it.

    The factory runs three or four times and its files are imported afresh; nothing on the disk is changed.

    Args:
        factory: "net.py:build", "package.net:build", or the function itself.
        edits: The receipt, or its edits; their paths are those of the untreated network.
        treated: The network right after the treatment, not trained since: what the patched program must build.
        optimizer: The treated network's.
        examine: Gives verdict and decades of a network; the caller's way to `fadeout.examine`.
        tolerance: How many decades the two may lie apart; a quarter of their number where that is more.
        root: The folder that names in the diff start from; None: the current one, or the one that holds the files.
        seed: For the factory.
    """
    given, by_hand = (edits.edits, edits.recipe) if isinstance(edits, Receipt) else (tuple(edits), ())
    given = worded(given)
    try:
        user = run(factory, seed=seed)
    except Exception as error:
        lines = [sentence(e) for e in given]
        return Patch(recipe=once([*by_hand, *lines]), why=f"your factory could not be run again: {_said(error)}")
    work = Work(program=user)
    check = _Check(
        factory=factory,
        treated=None if treated is None else unwrapped(treated)[0],
        optimizer=optimizer,
        examine=examine,
        tolerance=tolerance,
        seed=seed,
    )
    texts, why = _attempt(given, work, check)
    if why or not texts:
        lines = [work.refused.get(e) or sentence(e, place_of(e, user), kind=kind_of(e, user)) for e in given]
        return Patch(recipe=once([*by_hand, *lines]), why=why)
    originals, encodings = ({f: read_text(f)[i] for f in texts} for i in (0, 1))
    marks = {f: "\ufeff" if encodings[f] == "utf-8-sig" else "" for f in texts}
    old, new = ({f: marks[f] + t for f, t in side.items()} for side in (originals, texts))
    base = root_of(list(texts), root)
    return Patch(
        files=texts,
        originals=originals,
        encodings=encodings,
        diff=diff_of(old, new, base),
        root=str(base),
        recipe=once([*by_hand, *work.refused.values()]),
        checked=treated is not None,
        why=_proof(check),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """What the patched program is compared with; the treated network is without wrappers."""

    factory: str | Callable[..., Any]
    treated: nn.Module | None
    optimizer: Any
    examine: Examine | None
    tolerance: float
    seed: int


def _attempt(edits: Sequence[Edit], work: Work, check: _Check) -> tuple[dict[str, str], str]:
    """New texts, and why they must not be used."""
    try:
        texts = _rewritten(edits, work, check)
        if not texts:
            return {}, "none of the changes could be written into your files"
        if any(e.what not in _BESIDE for e in work.refused):
            return {}, "only a part of the changes could be written into your files, and a part is not what was tested"
        return texts, _wrong(texts, work, check)
    except FadeoutError as error:
        return {}, str(error)
    except Exception as error:
        return {}, f"the patched program does not run: {_said(error)}"


def _rewritten(edits: Sequence[Edit], work: Work, check: _Check) -> dict[str, str]:
    known = {what for what, _ in REWRITES}
    refuse(work, [e for e in edits if e.what not in known], "fadeout can't write this kind of change")
    late: list[Edit] = []
    for what, rewrite in REWRITES:
        chosen = [e for e in edits if e.what == what]
        if what == "init":
            late = chosen
        elif chosen:
            try:
                rewrite(chosen, work)
            except cst.ParserSyntaxError:
                refuse(work, [e for e in chosen if e not in work.refused], "fadeout can't write this kind of change")
    texts = {f: t for f, d in work.drafts.items() if (t := written(d)) != d.source.text}
    if late:
        second = Work(program=run(check.factory, texts, seed=check.seed), texts=dict(texts))
        refuse(work, [e for e in late if initial_code(e.new) is None], "no lines of torch are known for it")
        moved = _moved([e for e in late if e not in work.refused], work.program.model, second.program.model)
        dict(REWRITES)["init"](list(moved), second)
        for why in dict.fromkeys(second.whys.values()):
            refuse(work, [moved[e] for e, other in second.whys.items() if other == why], why)
        texts |= {f: t for f, d in second.drafts.items() if (t := written(d)) != d.source.text}
    return texts


def _moved(edits: Sequence[Edit], old: nn.Module, new: nn.Module) -> dict[Edit, Edit]:
    """Edits with the paths that their modules have in the patched network, by the order of layers with matrices."""
    before, after = _weighted(old), _weighted(new)
    if len(before) != len(after):
        raise FadeoutError("the patched program has other layers than yours, so that its weights can't be told apart")
    alias = {p: id(m) for p, m in modules_of(old).items()}
    paths = {id(m): path for (_, m), (path, _) in zip(before, after, strict=True)}
    lost = [e.path for e in edits if alias.get(e.path) not in paths]
    if lost:
        raise FadeoutError(f"the network has no weights in {lost[0]!r} that could be drawn anew")
    return {replace(e, path=paths[alias[e.path]]): e for e in edits}


def _weighted(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(p, m) for p, m in model.named_modules() if any(w.dim() > 1 for w in m.parameters(recurse=False))]


def _wrong(texts: dict[str, str], work: Work, check: _Check) -> str:
    """What the patched program does otherwise than the treated network; "" where it does the same."""
    patched = run(check.factory, texts, seed=check.seed)
    if check.treated is None:
        return ""
    refused = {e.what for e in work.refused}
    optimizer = None if "optimizer" in refused else check.optimizer
    if said := differs(work.program.model, patched, check.treated, optimizer):
        return said
    if check.examine is not None:
        try:
            wanted = check.examine(check.treated)
        except Exception as error:
            raise FadeoutError(f"the treated network can't be examined: {_said(error)}") from error
        found = [check.examine(patched.model)]
        if far(wanted, found, check.tolerance):  # one unlucky draw is no proof
            found += [check.examine(run(check.factory, texts, seed=check.seed + i).model) for i in (1, 2)]
        if said := far(wanted, found, check.tolerance):
            return said
    return "" if "input" in refused else other_outputs(check.treated, patched)


def _proof(check: _Check) -> str:
    if check.treated is None:
        return "the patched program runs; there was no treated network to compare it with"
    exam = ", and its exam agrees" if check.examine is not None else ""
    return f"the patched program was run and builds the treated network{exam}"


def _said(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"
