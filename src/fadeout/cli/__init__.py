"""The command line: each verb parses, calls the public function, and renders."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn, overload

import typer

from fadeout.cli.exits import Exit, fail, fault, is_fault, leave_quietly, readers_may_leave
from fadeout.cli.following import next_steps
from fadeout.cli.inputs import OPTIMIZERS, run_exam, run_forecast
from fadeout.cli.lab import lab
from fadeout.cli.race import OWN as RACERS
from fadeout.cli.race import race
from fadeout.cli.run import OWN, fails, gate, run
from fadeout.cli.treat import treat
from fadeout.errors import FadeoutError, ModelError
from fadeout.records import Exam, Plan, Run
from fadeout.version import VERSION

app = typer.Typer(
    name="fadeout",
    help="Finds where the gradient of a PyTorch network fades out between the loss and the first layer, and says why. "
    "Start with: fadeout examine net.py:build --data digits, where build() in net.py returns your model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def top(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        typer.echo(f"fadeout {VERSION}")
        raise typer.Exit


@app.command()
def examine(
    target: Annotated[
        str,
        typer.Argument(
            help="file.py:function or package.module:function, which returns the model; or a saved exam (.json)"
        ),
    ],
    data: Annotated[
        str,
        typer.Option(help="what to feed the model if the function returns no batch: digits (real scans) or random"),
    ] = "",
    shape: Annotated[
        str, typer.Option(help="feed random numbers: the shape of one sample, without the batch, e.g. 3,32,32 or 128")
    ] = "",
    tokens: Annotated[
        int,
        typer.Option(help="feed random token ids below this number, instead of random numbers; needs --shape", min=0),
    ] = 0,
    batch: Annotated[int, typer.Option(help="samples in a batch", min=1)] = 256,
    loss: Annotated[
        str,
        typer.Option(
            help="loss(output, target): a function of torch.nn.functional, e.g. mse_loss, or file.py:function"
        ),
    ] = "",
    optimizer: Annotated[
        str,
        typer.Option(
            help=f"the optimizer you train with, one of {', '.join(OPTIMIZERS)}; shows which layers it would move"
        ),
    ] = "",
    lr: Annotated[float, typer.Option(help="learning rate of --optimizer")] = 1e-3,
    within: Annotated[str, typer.Option(help="examine only this part of the model, e.g. encoder.layers.0")] = "",
    steps: Annotated[
        int,
        typer.Option(
            help="also train a copy of the model for this many steps and say whether it learns; needs an optimizer",
            min=0,
        ),
    ] = 0,
    reach: Annotated[
        int,
        typer.Option(help="for sequences: how far back the gradient gets, from this many output positions"),
    ] = 0,
    seed: Annotated[
        int, typer.Option(help="random seed, set before your function is called and used for random input")
    ] = 0,
    planned: Annotated[
        bool, typer.Option("--plan", help="also say which treatments are worth a race, and which will not help")
    ] = False,
    fail_on: Annotated[
        str, typer.Option(help="end with exit code 1 on: alarm, warning, or never; a gate for CI")
    ] = "alarm",
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="show every finding, and every layer of a healthy network too")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="print JSON instead of the report; its keys are stable")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="also write the report with charts as one HTML file that works offline")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="also save the exam as JSON, for the commands report and compare")
    ] = None,
) -> None:
    """Examine a model: does the gradient reach its first layers, and if not, where is it lost, and why?

    Exit code 0: no fault was found. 1: a fault was found. 2: the call is wrong. 3: the model raised an error.
    """
    fails((), fail_on, verb="examine")
    given = [n for n, v in (("--data", data), ("--shape", shape), ("--loss", loss), ("--optimizer", optimizer)) if v]
    if target.endswith(".json") and given:
        raise FadeoutError(
            f"examine: {target} is a saved exam, which {', '.join(given)} can't change; name the model instead"
        )
    exam = (
        _load(target)
        if target.endswith(".json")
        else run_exam(target, data, shape, tokens, batch, loss, optimizer, lr, within, steps, reach, seed, planned)
    )
    if save is not None:
        from fadeout.store.files import save as write

        write(exam, save)
    if html is not None:
        _write_page(exam, html)
    with readers_may_leave():
        if as_json:
            from fadeout.store.contract import to_json

            typer.echo(to_json(exam))
        else:
            from rich.console import Console

            from fadeout.render.terminal import report as shown

            Console().print(shown(exam, findings=99 if verbose else 3, verbose=verbose, next_steps=next_steps(exam)))
            if exam.plan is not None:
                typer.echo(str(Plan(entries=exam.plan, wont_help=exam.wont_help or ())))
    sick = exam.verdict not in ("flows", "undetermined") and fail_on != "never"
    raise typer.Exit(Exit.FINDING if sick or fails([exam], fail_on, verb="examine") else Exit.FINE)


@app.command()
def predict(
    target: Annotated[
        str, typer.Argument(help="file.py:function or package.module:function, which returns the model")
    ] = "",
    activation: Annotated[
        str, typer.Option(help="instead of a model: an activation by its torch name, e.g. tanh, or file.py:function")
    ] = "",
    sigma_w: Annotated[
        float,
        typer.Option(
            help="scale of the weights, which are drawn from N(0, sigma_w^2 / fan_in); 1.41 is He initialisation"
        ),
    ] = 1.0,
    sigma_b: Annotated[
        float | None, typer.Option(help="scale of the biases, which are drawn from N(0, sigma_b^2); 0 if not given")
    ] = None,
    depth: Annotated[int, typer.Option(help="number of layers")] = 20,
    width: Annotated[
        int,
        typer.Option(
            help="units in a layer, to say how far networks of this width scatter; 0 means infinitely many", min=0
        ),
    ] = 0,
    critical: Annotated[
        bool,
        typer.Option("--critical", help="find the initialisation at which the gradient neither fades nor explodes"),
    ] = False,
    diagram: Annotated[
        Path | None,
        typer.Option(
            help="write the map of where the gradient fades and where it explodes: .html, .svg, .png or .json"
        ),
    ] = None,
    data: Annotated[str, typer.Option(help="for a model: digits (real scans) or random (with --shape)")] = "",
    shape: Annotated[str, typer.Option(help="for a model: shape of one random sample, e.g. 3,32,32")] = "",
    tokens: Annotated[int, typer.Option(help="for a model: random token ids below this number", min=0)] = 0,
    batch: Annotated[int, typer.Option(help="samples in a batch", min=1)] = 256,
    seed: Annotated[
        int, typer.Option(help="random seed, set before your function is called and used for random input")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of the report")] = False,
) -> None:
    """Predict without training how the gradient changes with depth: from an initialisation, or for a model."""
    from rich.console import Console

    from fadeout.render import theory as shown
    from fadeout.store.contract import json_text

    if bool(target) == bool(activation):
        raise FadeoutError("predict: give either a model (file.py:function) or an activation (--activation tanh)")
    if target:
        forecast = run_forecast(target, data, shape, tokens, batch, seed)
        typer.echo(json_text(forecast)) if as_json else Console().print(forecast)
        return
    from fadeout import outlook as theory
    from fadeout.target import load_object

    phi = load_object(activation, verb="predict") if ":" in activation else theory.activation_named(activation)
    name = activation.rpartition(":")[2].lower() if ":" in activation else activation.lower()
    if diagram is not None:
        shown.write_diagram(theory.diagram(phi, name=name), diagram, point=(sigma_w, sigma_b or 0.0))
        typer.echo(f"wrote {diagram}", err=as_json)
    if critical:
        found = theory.critical_outlook(phi, name=name, sigma_b=sigma_b)
        typer.echo(json_text(found)) if as_json else Console().print(shown.critical_words(found))
        return
    found = theory.outlook(phi, name=name, sigma_w=sigma_w, sigma_b=sigma_b or 0.0, depth=depth, width=width or None)
    typer.echo(json_text(found)) if as_json else Console().print(shown.profile(found))


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="a saved exam (.json) or a run (.db)")],
    second: Annotated[str, typer.Argument(help="another one")],
    as_json: Annotated[bool, typer.Option("--json", help="print both exams as a JSON list")] = False,
) -> None:
    """Show two saved exams, or two runs by their last probe, side by side: before and after a change, say."""
    exams = (_load(first), _load(second))
    names = (Path(first).stem, Path(second).stem)
    if as_json:
        from fadeout.store.contract import to_json

        typer.echo("[" + ",\n".join(to_json(exam) for exam in exams) + "]")
        return
    from rich.console import Console

    from fadeout.render.comparison_text import side_by_side

    Console().print(side_by_side(exams, names))


@app.command()
def explain(
    word: Annotated[
        list[str] | None,
        typer.Argument(
            help="a finding's code, e.g. FO101, or a word of a report, e.g. decades; leave it out to list all"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print code, word, title and text as JSON")] = False,
) -> None:
    """Explain a finding (what it means, what helps and what does not), or a word that stands in a report."""
    from fadeout.glossary import explain as page

    asked = " ".join(word or ())
    text = page(asked)
    if as_json:
        import json

        title = text.splitlines()[0].lstrip("# ")
        code = asked.upper() if title.startswith(asked.upper()) else ""
        typer.echo(json.dumps({"code": code, "word": "" if code else asked, "title": title, "text": text}))
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console(width=min(100, Console().width)).print(Markdown(text))


@app.command()
def report(
    saved: Annotated[str, typer.Argument(help="a run (.db) that fadeout run or watch wrote, or a saved exam (.json)")],
    path: Annotated[Path | None, typer.Argument(help="the page to write (.html)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the run or the exam as JSON")] = False,
    fail_on: Annotated[
        str, typer.Option(help="end with exit code 1 on: alarm, warning, or never; a gate for CI")
    ] = "never",
) -> None:
    """Write a watched run or a saved exam as one HTML page with charts, which works offline."""
    from fadeout.pages import report as write
    from fadeout.store.contract import json_text, to_json
    from fadeout.store.run_contract import run_dict

    if path is None and not as_json and fail_on == "never":
        raise FadeoutError("report: name the page to write, e.g. page.html, or --json")
    fails((), fail_on, verb="report")  # a wrong word is said before anything is written
    found = _load(saved, runs=True)
    if path is not None:
        write(found, path)
        typer.echo(f"wrote {path}", err=as_json)
    if as_json:
        typer.echo(json_text(run_dict(found)) if isinstance(found, Run) else to_json(found))
    if isinstance(found, Run):
        raise typer.Exit(gate(found, fail_on, verb="report"))
    raise typer.Exit(Exit.FINDING if fails([found], fail_on, verb="report") else Exit.FINE)


@overload
def _load(path: str) -> Exam: ...
@overload
def _load(path: str, *, runs: bool) -> Exam | Run: ...
def _load(path: str, *, runs: bool = False) -> Exam | Run:
    from fadeout.store.files import is_database, load

    if not path.endswith(".json") and not is_database(Path(path)):
        if not Path(path).exists():
            raise FadeoutError(f"there is no file {path}; check the path")
        raise FadeoutError(
            f"{path!r} is neither a saved exam (.json) nor a run (.db); make one with "
            "fadeout examine ... --save exam.json, or with fadeout run train.py"
        )
    exam = load(path)
    if isinstance(exam, Run):
        if runs:
            return exam
        last = next((t.exam for t in exam.tracks if t.exam is not None), None)
        if last is None:
            raise FadeoutError(f"{path} is a run in which nothing was probed; there is nothing to compare")
        return last
    if not isinstance(exam, Exam):
        raise FadeoutError(f"{path} holds a {type(exam).__name__.lower()}, not an exam; pass a file that examine saved")
    return exam


def _write_page(exam: Exam, path: Path) -> None:
    from fadeout.pages import report as write

    write(exam, path)


app.command()(treat)
app.command()(lab)
app.command(context_settings=OWN)(run)
app.command(context_settings=RACERS)(race)


def main() -> NoReturn:
    """Entry point: errors become one clear line and an exit code."""
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except ModelError as error:
        fail(str(error), Exit.MODEL)
    except (FadeoutError, ValueError, TypeError) as error:
        if is_fault(error):
            fault(error)
        fail(str(error), Exit.USAGE)
    except (typer.Abort, KeyboardInterrupt) as stop:
        fail(str(stop) or "stopped", Exit.STOPPED)
    except BrokenPipeError:  # who reads has seen enough: no error of anybody's
        leave_quietly(Exit.FINE)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # of standard output: a full disk
            leave_quietly(Exit.USAGE, f"can't write the output: {error.strerror}")
        fault(error)
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # click's usage errors
            fail(error.format_message(), Exit.USAGE)
        fault(error)
    sys.exit(code if isinstance(code, int) else Exit.FINE)
