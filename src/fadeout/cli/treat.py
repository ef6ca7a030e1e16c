"""fadeout treat: what to change, raced on the user's own program, and written into the source."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fadeout.cli.inputs import OPTIMIZERS, batches_of, loss_named, optimizer_named, prints_aside
from fadeout.errors import FadeoutError

FINE, FINDING = 0, 1


def treat(
    target: Annotated[str, typer.Argument(help="file.py:function or package.module:function, which returns the model")],
    data: Annotated[
        str, typer.Option(help="what to train on if the function returns no batches: digits (real scans) or random")
    ] = "",
    shape: Annotated[str, typer.Option(help="train on random numbers: the shape of one sample, e.g. 3,32,32")] = "",
    tokens: Annotated[int, typer.Option(help="random token ids below this number; needs --shape", min=0)] = 0,
    batch: Annotated[int, typer.Option(help="samples in a batch", min=1)] = 64,
    loss: Annotated[
        str, typer.Option(help="loss(output, target): a function of torch.nn.functional, or file.py:function")
    ] = "",
    optimizer: Annotated[str, typer.Option(help=f"the optimizer you train with, one of {', '.join(OPTIMIZERS)}")] = "",
    lr: Annotated[float, typer.Option(help="learning rate of --optimizer")] = 1e-3,
    steps: Annotated[int, typer.Option(help="optimizer steps of a whole run", min=10)] = 300,
    seeds: Annotated[int, typer.Option(help="how many seeds each arm runs with", min=1)] = 2,
    arms: Annotated[int, typer.Option(help="how many treatments of the plan race; 0 for all", min=0)] = 12,
    engine: Annotated[
        str,
        typer.Option(help="where arms run: here, processes, ray (a cluster), or together (equal shapes at once)"),
    ] = "here",
    cheap: Annotated[bool, typer.Option("--cheap", help="about half the work, a little less sure")] = False,
    patch: Annotated[Path | None, typer.Option(help="write the change of your source as a unified diff")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="change your source, with a backup beside each file")] = False,
    store: Annotated[
        Path | None, typer.Option(help="keep every finished arm in this file; a killed race goes on there")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of the report")] = False,
    html: Annotated[Path | None, typer.Option(help="also write a page with the learning curves")] = None,
) -> None:
    """Find a change that makes the network learn: plan, race it against no treatment, and print the diff.

    Exit code 0: a change won, or nothing is wrong. 1: the network is sick and nothing won. 2: the call is wrong.
    3: the model raised an error.
    """
    import torch

    from fadeout.remedy import apply as write_into_source
    from fadeout.remedy import remedy
    from fadeout.target import make

    for path in (patch, html, store):
        if path is not None and not path.resolve().parent.is_dir():
            raise FadeoutError(
                f"treat: there is no folder {path.resolve().parent} to write {path.name} into; make it first"
            )
    with prints_aside():
        torch.manual_seed(0)
        first = make(target, verb="treat")
    batches = batches_of(first, data, shape, tokens, batch, 0)
    chosen: Any = loss_named(loss, "treat") if loss else first.loss
    if chosen is None and data == "digits":
        chosen = torch.nn.functional.cross_entropy
    found = remedy(
        lambda: make(target, verb="treat"),
        target,
        batches=batches,
        loss=chosen,
        optimizer=(lambda made: optimizer_named(optimizer, made, lr, "treat")) if optimizer else None,
        steps=steps,
        seeds=tuple(range(seeds)),
        engine=engine,
        arms=arms,
        cheap=cheap,
        store=store,
        progress=not as_json,
    )
    trial = found.trial
    if patch is not None:
        if not trial.patch:
            typer.echo(
                "treat: there is no patch to write: " + "; ".join(trial.recipe[:3] or ("nothing won",)), err=True
            )
        else:
            patch.write_text(trial.patch, encoding="utf-8")
            typer.echo(f"wrote {patch}", err=as_json)
    if html is not None:
        from fadeout.pages import report as page

        page(trial, html)
        typer.echo(f"wrote {html}", err=as_json)
    if as_json:
        from fadeout.store.contract import to_json

        typer.echo(to_json(trial))
    else:
        from rich.console import Console

        from fadeout.render.race.text import RaceReport

        Console().print(RaceReport(trial=trial))
    if apply and trial.winner is None:
        typer.echo("treat: nothing won, so no file was changed", err=as_json)
    elif apply:
        if found.patch is None or not found.patch.files:
            raise FadeoutError("treat: there is no patch to apply; the lines to change by hand stand above")
        if trial.recipe:
            typer.echo("treat: this is a part of the cure; the lines above are still to be changed by hand", err=True)
        for backup in write_into_source(found):
            typer.echo(f"changed; the old file is {backup}", err=as_json)
    sick = found.exam.verdict not in ("flows", "undetermined")
    raise typer.Exit(FINDING if sick and trial.winner is None else FINE)
