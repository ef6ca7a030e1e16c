"""Placing: which call in the source an edit of the live network belongs to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import libcst as cst
from torch import nn

from fadeout.errors import FadeoutError
from fadeout.patches.draft import Draft
from fadeout.patches.program import Program, modules_of
from fadeout.patches.recipe import sentence
from fadeout.patches.sites import Site
from fadeout.patches.source import call_at, parse, read_text
from fadeout.treatments.patient import Edit


@dataclass(slots=True, kw_only=True)
class Work:
    """A patch in the making.

    Attributes:
        program: As the user wrote it.
        texts: Of files that were rewritten already.
        drafts: By file.
        refused: What has to be done by hand, as a sentence each.
        whys: Why fadeout does not do it.
    """

    program: Program
    texts: dict[str, str] = field(default_factory=dict)
    drafts: dict[str, Draft] = field(default_factory=dict)
    refused: dict[Edit, str] = field(default_factory=dict)
    whys: dict[Edit, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Edits that one call in the source stands for.

    Attributes:
        edits: One a module that this call makes.
        modules: Those modules.
        paths: Where they are.
    """

    edits: tuple[Edit, ...]
    modules: tuple[nn.Module, ...]
    paths: tuple[str, ...]
    site: Site
    draft: Draft
    call: cst.Call


def draft_of(work: Work, file: str) -> Draft:
    """The draft of a file, begun where there is none.

    Raises:
        FadeoutError: If it can't be read or parsed.
    """
    if file not in work.drafts:
        text, encoding = read_text(file)
        work.drafts[file] = Draft(source=parse(file, work.texts.get(file, text), encoding))
    return work.drafts[file]


def refuse(work: Work, edits: Sequence[Edit], why: str) -> None:
    """Edits that become sentences of the recipe."""
    for edit in edits:
        place, kind = place_of(edit, work.program), kind_of(edit, work.program)
        work.refused[edit] = sentence(edit, place, kind=kind, why=why)
        work.whys[edit] = why


def place_of(edit: Edit, program: Program) -> str:
    """'net.py:12' for an edit; "" where it is not known."""
    if edit.line:
        return edit.line
    site = program.optimizer_site if edit.what == "optimizer" else program.sites.get(edit.path)
    if edit.what == "optimizer" and not edit.old:
        return ""
    return site.place if site is not None else ""


def kind_of(edit: Edit, program: Program) -> str:
    """Class of the module that an edit is about."""
    found = modules_of(program.model).get(edit.path)
    return type(found).__name__ if found is not None else ""


def place(work: Work, edits: Sequence[Edit]) -> Iterator[Placed]:
    """Edits by the call that made their modules; what has no such call goes into the recipe."""
    modules = modules_of(work.program.model)
    first = {id(m): p for p, m in modules.items()}
    groups: dict[Site, dict[str, Edit]] = {}
    for edit in edits:
        module = modules.get(edit.path)
        if module is None:
            refuse(work, [edit], "the network has no module of that name")
            continue
        site = work.program.sites.get(edit.path)
        if site is None or not site.in_file:
            refuse(work, [edit], "its construction stands in no file of yours")
        else:
            groups.setdefault(site, {})[first[id(module)]] = edit
    for site, named in groups.items():
        group = tuple(named.values())
        made = {first[id(m)] for p, m in modules.items() if work.program.sites.get(p) == site}
        if not site.direct:
            refuse(work, group, "it is made inside code that is not yours")
        elif made != set(named):
            why = f"this line also makes {_listed(sorted(made - set(named)))}, which must stay as it is"
            refuse(work, group, why)
        else:
            try:
                draft = draft_of(work, site.file)
            except FadeoutError as error:
                refuse(work, group, str(error).removeprefix("patch: "))
                continue
            call = call_at(draft.source, site)
            if call is None:
                refuse(work, group, "the line holds no call that could be told apart")
                continue
            yield Placed(
                edits=group,
                modules=tuple(modules[p] for p in named),
                paths=tuple(named),
                site=site,
                draft=draft,
                call=call,
            )


def _listed(paths: list[str]) -> str:
    return ", ".join(repr(p) if p else "the network itself" for p in paths[:3]) + (" ..." if len(paths) > 3 else "")
