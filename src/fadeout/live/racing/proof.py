"""A proof: the winner's patch, and whether the patched script does what the arm did."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fadeout.live.racing.heats import Heats, failure
from fadeout.live.racing.order import QUIET, Report
from fadeout.live.racing.scale import losses_of, smoothed
from fadeout.live.racing.spelling import spelled
from fadeout.live.racing.start import Ran, end
from fadeout.live.racing.writer import ANSWER, VARIABLE, Wanted
from fadeout.records import Trial
from fadeout.remedy import needed
from fadeout.treatments import BY_ID, Treatment

DRAWS = re.compile(r"^def (_initialise\d*)\(", re.MULTILINE)
ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29487"}
ASIDE = '@__import__("fadeout.live.racing.aside", fromlist=["aside"]).aside\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What there is to change, and how sure it is.

    Attributes:
        diff: "" where no patch could be written.
        recipe: Lines for a person.
    """

    diff: str
    recipe: tuple[str, ...]
    notes: tuple[str, ...]


def proven(heats: Heats, trial: Trial, known: Mapping[str, Treatment], seen: Report) -> Proof:
    """Write the winner's patch and run the patched script once, or twice."""
    assert trial.winner is not None
    seed = trial.seeds[0]
    treatment = needed(trial, tuple(known.values()))
    arm = _arm(heats, trial, treatment, seed)
    given = arm.main.treated if arm.main is not None else ()
    if not seen.script.endswith(".py"):
        return Proof(diff="", recipe=given, notes=("The script is no file of its own, so there is no patch of it.",))
    if seen.started:  # alone, the script would wait for that process, or let it train to its end
        why = "The network is made in a process that the script starts, where no patch can be tried."
        return Proof(diff="", recipe=given, notes=(f"{why} The lines below say what to change.",))
    folder = heats.folder / "patch"
    folder.mkdir()
    wanted = Wanted(script=seen.script, argv=seen.argv, treatment=spelled(treatment), seed=seed, folder=str(folder))
    answer = _asked(wanted, heats.limit)
    if not answer.get("files"):
        recipe = tuple(answer.get("recipe") or given)
        return Proof(diff="", recipe=recipe, notes=(f"No patch could be written: {answer.get('why') or 'no reason'}.",))
    notes = _run(heats, seen, answer, arm, seed)
    return Proof(diff=answer["diff"], recipe=tuple(answer["recipe"]), notes=notes)


def _arm(heats: Heats, trial: Trial, treatment: Treatment, seed: int) -> Ran:
    """The run of the winner, or of what is left of it."""
    wanted = spelled(treatment)
    name = trial.winner or ""
    dropped = [part for part in _pieces(name) if trial.needed and part not in trial.needed]
    key = name + (" without " + " and ".join(dropped) if dropped else "")
    if (key, seed) not in heats.ran:
        heats.ran[key, seed] = heats.one("treated", key, seed, treatment=wanted)
    return heats.ran[key, seed]


def _pieces(name: str) -> tuple[str, ...]:
    treatment = BY_ID.get(name)
    return (treatment.pieces or treatment.parts) if treatment is not None else ()


def _asked(wanted: Wanted, limit: float) -> dict[str, Any]:
    """The writer's answer; why there is none."""
    env = {**os.environ, **QUIET, VARIABLE: json.dumps(asdict(wanted))}
    if _distributed(wanted.script):
        env |= ALONE
    log = Path(wanted.folder) / "output.txt"
    with open(log, "wb") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "fadeout.live.racing.writer"],
            env=env, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = child.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(child)
    path = Path(wanted.folder) / ANSWER
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return {"why": lines[-1] if lines and code is not None else f"it took longer than {limit:.0f} s"}


def _distributed(script: str) -> bool:
    """Whether a script talks to others: alone it needs to be told that it is alone."""
    return "init_process_group" in Path(script).read_text(encoding="utf-8", errors="replace")


def _run(heats: Heats, seen: Report, answer: dict[str, Any], arm: Ran, seed: int) -> tuple[str, ...]:
    """Run the patched script, and say whether it does what the arm did."""
    texts: dict[str, str] = answer["files"]
    if heats.command[0] == "-m":
        return ("The patch was not run as a whole: the script is started by another program.",)
    outside = [f for f in texts if not Path(f).is_relative_to(Path(seen.script).parent)]
    if outside:
        return (f"The patch was not run as a whole: {Path(outside[0]).name} lies in another folder than the script.",)
    plain = _patched(heats, seen, texts, heats.folder / "patched", seed, "")
    if (why := failure(plain, heats.limit)) or plain.main is None or arm.main is None:
        return (f"The patched script was run and failed: {why}. Don't use the patch as it is.",)
    if plain.main.losses == arm.main.losses:
        return (
            f"The patched script was run: its {len(arm.main.losses)} losses are those of the arm, to the last bit.",
        )
    ends = f"it ends at a loss of {_end(plain.main):.4g}, the arm at {_end(arm.main):.4g}"
    originals: dict[str, str] = answer["originals"]
    drawing = {f: _set_aside(text, originals[f]) for f, text in texts.items()}
    if drawing != texts:
        again = _patched(heats, seen, drawing, heats.folder / "drawn", seed, arm.folder)
        if again.main is not None and again.main.losses == arm.main.losses:
            return (
                "The patched script was run. It draws other start weights than the arm; from the arm's own its "
                f"{len(arm.main.losses)} losses are those of the arm, to the last bit. With its own draws {ends}.",
            )
    return (f"The patched script was run. Its losses are not those of the arm to the last bit; {ends}.",)


def _end(report: Report) -> float:
    losses = losses_of(report)[0]
    return smoothed(losses, len(losses))


def _set_aside(text: str, original: str) -> str:
    """The text with draws that do not move the script's own random numbers."""
    old = set(DRAWS.findall(original))
    return DRAWS.sub(lambda m: m.group(0) if m.group(1) in old else ASIDE + m.group(0), text)


def _patched(heats: Heats, seen: Report, texts: dict[str, str], folder: Path, seed: int, start: str) -> Ran:
    """Run a copy of the script's folder, links to all that did not change; the user's folder is only read."""
    home = Path(seen.script).parent
    changed = {Path(f).relative_to(home): text for f, text in texts.items()}
    script = Path(seen.script).relative_to(home)
    changed.setdefault(script, Path(seen.script).read_text(encoding="utf-8"))
    _linked(home, folder, Path(), changed)
    command = [str(folder / script), *heats.command[1:]]
    return heats.one("proof", folder.name, seed, command=command, start=start)


def _linked(home: Path, folder: Path, inside: Path, changed: Mapping[Path, str]) -> None:
    here = folder / inside
    here.mkdir(parents=True)
    deeper = {
        path.parts[len(inside.parts)]
        for path in changed
        if len(path.parts) > len(inside.parts) + 1 and path.is_relative_to(inside)
    }
    for entry in (home / inside).iterdir():
        path = inside / entry.name
        if path in changed:
            (folder / path).write_text(changed[path], encoding="utf-8", newline="")
        elif entry.name in deeper and entry.is_dir():
            _linked(home, folder, path, changed)
        elif entry.name != "__pycache__":
            (folder / path).symlink_to(entry.resolve())
