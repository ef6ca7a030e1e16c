"""fadeout race: treatments raced on a training script as it is."""

import importlib.util
import math
import re
import signal
from pathlib import Path
from typing import Annotated

import typer

from fadeout.cli.run import command_of
from fadeout.errors import FadeoutError

FINE, FINDING, STOPPED = 0, 1, 130
LEARNS = 0.5  # of skill
OWN = {"allow_extra_args": True, "ignore_unknown_options": True}


def race(
    context: typer.Context,
    script: Annotated[str, typer.Argument(help="the script; all that follows it is its own")] = "",
    module: Annotated[str, typer.Option("-m", help="race a module, as python -m starts it")] = "",
    steps: Annotated[int, typer.Option(help="optimizer steps of every run, at most", min=10)] = 300,
    seeds: Annotated[int, typer.Option(help="how many seeds each arm runs with", min=1)] = 1,
    arms: Annotated[int, typer.Option(help="how many treatments of the plan race; 0 for all", min=0)] = 8,
    treatment: Annotated[
        list[str] | None, typer.Option(help="race this one, whatever the plan says first; may be given again")
    ] = None,
    metric: Annotated[
        str, typer.Option(help="decide by this, printed or logged: its name, or a pattern whose last group is it")
    ] = "",
    timeout: Annotated[float, typer.Option(help="seconds until a run counts as hanging")] = 600.0,
    patch: Annotated[Path | None, typer.Option(help="write the winner's change as a unified diff")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of the report")] = False,
    html: Annotated[Path | None, typer.Option(help="also write a page with the learning curves")] = None,
) -> None:
    """Race changes on a training script, unchanged: which of them makes it learn better?

    fadeout race train.py --steps 300 --its --own. Options that are not ours are the script's; where they have the same
    names, write -- before the script's. It is started twice as it is, which shows the noise, and once for each
    treatment; your files stay as they are.
    Exit code 0: a change won, or the script learns as it is. 1: nothing won. 2: the call is wrong. 3: the script
    failed.
    """
    command = command_of(script, module, context.args, verb="race")
    _check(metric, timeout, (patch, html))
    from fadeout.live.racing.contest import Contest, contest
    from fadeout.trials import InterruptedRace

    asked = Contest(
        case=" ".join(command), command=tuple(command), steps=steps, seeds=tuple(range(seeds)), arms=arms,
        limit=timeout, metric=metric, treatments=tuple(treatment or ()),
    )  # fmt: skip
    stopped = False
    for name in ("SIGTERM", "SIGHUP"):  # as Ctrl-C: the script's processes are ended first
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop)
    try:
        trial = contest(asked, progress=True)
    except InterruptedRace as stop:
        trial, stopped = stop.trial, True
    if patch is not None and trial.patch:
        patch.write_text(trial.patch, encoding="utf-8")
        typer.echo(f"wrote {patch}", err=as_json)
    elif patch is not None:
        typer.echo(
            "race: there is no patch to write" + ("" if trial.winner else ": nothing won") + "; no file was made",
            err=True,
        )
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
    if stopped:
        raise typer.Exit(STOPPED)
    control = trial.arm("none").skill.mean
    learns = math.isfinite(control) and control >= LEARNS
    raise typer.Exit(FINE if trial.winner is not None or learns else FINDING)


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _check(metric: str, timeout: float, files: tuple[Path | None, ...]) -> None:
    """Look at the options before anything is started.

    Raises:
        FadeoutError: If an option can't be used.
    """
    if importlib.util.find_spec("torch") is None:
        raise FadeoutError("race: torch is not installed in this Python; start fadeout with the one that trains")
    try:
        re.compile(metric)
    except re.error as error:
        raise FadeoutError(f"race: --metric {metric!r} is no regular expression: {error}") from error
    if not timeout > 0:
        raise FadeoutError(f"race: --timeout counts seconds, more than 0; got {timeout:g}")
    for path in files:
        if path is not None and not path.resolve().parent.is_dir():
            raise FadeoutError(
                f"race: there is no folder {path.resolve().parent} to write {path.name} into; make it first"
            )
