"""fadeout run: watch a training script as it is."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from fadeout.errors import FadeoutError
from fadeout.records import Exam, Run

FINE, FINDING, UNJUDGED = 0, 1, 2
FOLDER = Path("fadeout-runs")
GATES: dict[str, tuple[str, ...]] = {"alarm": ("alarm",), "warning": ("alarm", "warning"), "never": ()}
OWN = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}


def run(
    context: typer.Context,
    script: Annotated[str, typer.Argument(help="the script; all that follows it is its own")] = "",
    module: Annotated[str, typer.Option("-m", help="run a module, as python -m does; what follows is its own")] = "",
    folder: Annotated[Path, typer.Option(help="where the run is kept")] = FOLDER,
    budget: Annotated[float, typer.Option(help="share of the time that the watch may take, in per cent")] = 2.0,
    fail_on: Annotated[
        str,
        typer.Option(
            help="end with exit code 1 on: alarm, warning, or never; 2 where nothing was judged; "
            "a script that fails keeps its own"
        ),
    ] = "never",
    quiet: Annotated[bool, typer.Option("--quiet", help="say nothing while the script runs")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the run as JSON at the end")] = False,
) -> None:
    """Watch a PyTorch training script, unchanged: where does its gradient fade, and does it learn?

    fadeout run train.py --its --own --arguments. Findings are told while it runs, the verdict at the end.
    Exit code: the script's own; with --fail-on and a script that ends well, 1 on such a finding, 2 where nothing could
    be judged.
    """
    from fadeout.live.ending import say
    from fadeout.live.launch import end_as
    from fadeout.live.launch import run as launched
    from fadeout.live.options import Options
    from fadeout.store.contract import json_text
    from fadeout.store.run_contract import run_dict
    from fadeout.store.runs import Runs, stamp

    command = command_of(script, module, context.args, verb="run")
    fails((), fail_on, verb="run")
    if not 0 <= budget <= 100:
        raise FadeoutError(f"run: --budget is a share of the time in per cent, from 0 to 100; got {budget:g}")
    path, word = _store(folder, Path(script or module).stem or "run")
    with_words = [word] if word else []
    for line in with_words:
        typer.echo(f"fadeout: {line}", err=True)
    store = Runs(path)
    store.tell("script", " ".join(command))
    store.tell("started", stamp())
    store.close()
    options = Options(store=str(path.resolve()), budget=budget / 100, live=not quiet)
    code = launched(command, options.environment())
    store = Runs(path)
    try:
        store.tell("exit_code", code)
        seen = store.read()
    finally:
        store.close()
    if as_json:
        typer.echo(json_text(run_dict(seen)))
    if not quiet:
        say(seen, path)
    code = end_as(code)
    raise typer.Exit(code if code else gate(seen, fail_on, verb="run"))


def gate(run: Run, fail_on: str, *, verb: str) -> int:
    """The exit code that a gate gives a run: one that judged nothing doesn't let it pass.

    Raises:
        FadeoutError: If there is no gate of this name.
    """
    from fadeout.render.run.facts import judged, unjudged

    if fails([track.exam for track in run.tracks if track.exam is not None], fail_on, verb=verb):
        return FINDING
    if fail_on == "never" or judged(run):
        return FINE
    typer.echo(f"fadeout: {unjudged(run)}; --fail-on {fail_on} does not pass", err=True)
    return UNJUDGED


def fails(exams: Iterable[Exam], fail_on: str, *, verb: str) -> bool:
    """Whether the findings are such that a gate shuts.

    Raises:
        FadeoutError: If there is no gate of this name.
    """
    if fail_on not in GATES:
        raise FadeoutError(f"{verb}: --fail-on is {', '.join(GATES)}, not {fail_on!r}")
    return any(finding.level in GATES[fail_on] for exam in exams for finding in exam.findings)


def command_of(script: str, module: str, args: list[str], *, verb: str) -> list[str]:
    """What Python is started with.

    Raises:
        FadeoutError: If there is no script, or it does not exist.
    """
    if module:
        return ["-m", module, *([script] if script else []), *args]
    if not script:
        raise FadeoutError(f"{verb}: which script? fadeout {verb} train.py --its --own --arguments")
    if not Path(script).exists():
        raise FadeoutError(f"{verb}: there is no script {script}; check the path (a module goes with -m)")
    return [script, *args]


def _store(folder: Path, name: str) -> tuple[Path, str]:
    """A new file, and what to say where the folder can't be used; one file for all processes of torchrun."""
    import tempfile

    from fadeout.store.runs import new_store

    together = os.environ.get("TORCHELASTIC_RUN_ID")
    if together:  # started by torchrun, once in each process
        port = os.environ.get("MASTER_PORT", "0")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}-{together}-{port}.db", ""
    try:
        return new_store(folder, name), ""
    except FadeoutError as error:
        other = Path(tempfile.mkdtemp(prefix="fadeout-"))
        return new_store(other, name), f"{str(error).removeprefix('run: ')}; the run is kept in {other}"
