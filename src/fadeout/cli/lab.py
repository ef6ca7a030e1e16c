"""fadeout lab: the classics of the vanishing gradient, run and measured."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

FINE, FINDING, STOPPED = 0, 1, 130


def lab(
    names: Annotated[
        list[str] | None, typer.Argument(help="experiments to run, or all; leave it out to list them")
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="seconds: only see whether it runs and measures")] = False,
    full: Annotated[bool, typer.Option("--full", help="the long setting: hours")] = False,
    engine: Annotated[str, typer.Option(help="where it runs: here, processes, or ray (a cluster)")] = "processes",
    folder: Annotated[
        Path, typer.Option(help="where results are kept; the same command goes on there after it was stopped")
    ] = Path("fadeout-lab"),
    data: Annotated[
        str, typer.Option(help="digits, mnist, fashion or cifar10, for experiments that can use it")
    ] = "digits",
    fresh: Annotated[bool, typer.Option("--fresh", help="measure again what the folder holds already")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of the report")] = False,
) -> None:
    """Run the classics of the vanishing gradient: claim by claim, with what was expected and what was measured.

    Exit code 0: every claim that was run is reproduced, or depends. 1: one is not reproduced, or failed.
    2: the call is wrong.
    """
    from rich.console import Console

    from fadeout.errors import FadeoutError
    from fadeout.lab import EXPERIMENTS, named, running
    from fadeout.lab.results import to_dict, write
    from fadeout.records import Size
    from fadeout.render.lab.text import LabList, LabResult
    from fadeout.store.contract import json_text

    if smoke and full:
        raise FadeoutError("lab: --smoke and --full are two sizes; give one of them")
    if not names:
        listed = running.known(folder=folder)
        typer.echo(json_text(to_dict(listed))) if as_json else Console().print(LabList(reports=listed))
        return
    chosen = EXPERIMENTS if "all" in names else tuple(named(name) for name in dict.fromkeys(names))
    size: Size = "smoke" if smoke else "full" if full else "quick"
    try:
        with _Progress() as progress:
            reports = running.run(
                chosen, size=size, engine=engine, folder=folder, data=data, fresh=fresh, progress=progress.update
            )
    except running.InterruptedLab as stop:  # typer itself ends without a word
        typer.echo(f"fadeout: {stop}", err=True)
        raise typer.Exit(STOPPED) from stop
    by_name = {report.name: report for report in reports}
    others = running.known(folder=folder) if len(chosen) < len(EXPERIMENTS) else reports
    whole = tuple(by_name.get(report.name, report) for report in others)
    book = write(whole, folder)
    if as_json:
        typer.echo(json_text(to_dict(reports)))
    else:
        console = Console()
        for report in reports:
            console.print(LabResult(report=report))
        console.print(f"\n  the lab book: {book}", highlight=False, soft_wrap=True)
    lost = any(report.status == "failed" or report.verdict == "not reproduced" for report in reports)
    raise typer.Exit(FINDING if lost else FINE)


class _Progress:
    """One line on the error stream, redrawn in a terminal, every tenth of the work elsewhere."""

    def __init__(self) -> None:
        self.alive = sys.stderr.isatty()
        self.told = 0
        self.shown = False

    def __enter__(self) -> "_Progress":
        return self

    def update(self, now: Any) -> None:
        from fadeout.render.lab.text import progress_line

        line = progress_line(now.done, now.total, now.now, now.left)
        if self.alive:
            print(f"\r\x1b[2K{line[:100]}", end="", file=sys.stderr, flush=True)
            self.shown = True
        elif now.done * 10 // max(1, now.total) > self.told:
            self.told = now.done * 10 // now.total
            print(line, file=sys.stderr, flush=True)

    def __exit__(self, *error: object) -> None:
        if self.shown:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
