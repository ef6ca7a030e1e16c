"""Code: a digest of all that can change a measured number, by which results are known as old."""

import ast
import functools
import hashlib
import inspect
import sys
from pathlib import Path

import torch

from fadeout.lab.experiment import Experiment

_PACKAGE = Path(__file__).parents[1]
_SILENT = frozenset(  # rooms that change no number which an experiment measures
    "cli render store terms lab adapters live patches planning racing trials remedy __pycache__".split()
)
_TOLD = frozenset({"trial.py", "run.py", "lab.py"})  # records that no measurement makes
_SHARED = ("data", "experiment", "nets", "training")  # of the lab


@functools.cache
def _below() -> bytes:
    """Digest of the instruments and of what the experiments share."""
    files = [
        file
        for file in sorted(_PACKAGE.rglob("*.py"))
        if file.relative_to(_PACKAGE).parts[0] not in _SILENT
        and file.parent != _PACKAGE
        and not (file.parent.name == "records" and file.name in _TOLD)
    ]
    files += [_PACKAGE / "lab" / f"{name}.py" for name in _SHARED]
    digest = hashlib.sha256(torch.__version__.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.digest()


def version(experiment: Experiment) -> str:
    """Digest of the code that an experiment's numbers come from."""
    digest = hashlib.sha256(_below())
    home = Path(inspect.getfile(experiment.measure)).read_text(encoding="utf-8")
    digest.update(measuring(home, {experiment.measure.__name__, experiment.tasks.__name__}).encode())
    for module in _used_by(experiment):
        digest.update(module)
    return digest.hexdigest()[:16]


def measuring(source: str, names: set[str]) -> str:
    """The part of a file that these functions can reach: words for the reader and judgements change no number."""
    tree = ast.parse(source)
    parts: dict[str, ast.stmt] = {}
    imports = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            parts[node.name] = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            imports.append(ast.dump(node))
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                parts |= {part.id: node for part in ast.walk(target) if isinstance(part, ast.Name)}
    reached, waiting = set[str](), set(names)
    while waiting:
        name = waiting.pop()
        if name in parts and name not in reached:
            reached.add(name)
            waiting |= {n.id for n in ast.walk(parts[name]) if isinstance(n, ast.Name)} - reached
    return "\n".join([*imports, *(ast.dump(parts[name]) for name in sorted(reached))])


def _used_by(experiment: Experiment) -> list[bytes]:
    """Files of the lab that the experiment's own file imports, and those that they import, besides the shared ones."""
    home = experiment.measure.__module__
    found, waiting = {home}, [home]
    while waiting:
        new = _imported(waiting.pop()) - found
        found |= new
        waiting += new
    return [Path(inspect.getfile(sys.modules[name])).read_bytes() for name in sorted(found - {home})]


def _imported(name: str) -> set[str]:
    """Modules of the lab that one of its modules names, or names something of."""
    values = vars(sys.modules[name]).values()
    names = {getattr(value, "__module__", None) for value in values}
    names |= {value.__name__ for value in values if inspect.ismodule(value)}
    return {n for n in names if isinstance(n, str) and n.startswith("fadeout.lab.") and n in sys.modules}
