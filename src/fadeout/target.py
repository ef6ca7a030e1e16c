"""A target: what the command line names, a function that returns a model (a factory), in a package or a file."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from fadeout.errors import FadeoutError, ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a factory returned; None for each part that it did not return."""

    model: nn.Module
    batch: Any
    loss: Any
    optimizer: Optimizer | None


def load_object(spec: str, *, verb: str) -> Any:
    """The object that `package.module:name` or `file.py:name` names.

    Raises:
        FadeoutError: If the text is no such name or the name is not there.
        ModelError: If the module itself raises when imported.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise FadeoutError(
            f"{verb}: {spec!r} names no factory; write file.py:function or package.module:function, "
            "with a function that takes no arguments and returns the model"
        )
    module = _import_file(Path(place), verb) if place.endswith(".py") else _import_module(place, verb)
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
            near = ", ".join(names[:8]) or "nothing callable"
            raise FadeoutError(f"{verb}: {place} has no function {name!r}; it has {near}")
        found = getattr(found, part)
    return found


def _import_file(path: Path, verb: str) -> Any:
    if not path.is_file():
        raise FadeoutError(f"{verb}: there is no file {path}; check the path")
    name = f"fadeout_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FadeoutError(f"{verb}: {path} can't be imported as a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # a script imports its neighbours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ModelError(f"{verb}: {path} failed while it was imported: {_said(error)}") from error
    return module


def _import_module(place: str, verb: str) -> Any:
    if "" not in sys.path and "." not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and place.startswith(error.name):
            raise FadeoutError(
                f"{verb}: there is no module {place!r}; run from its folder, install its package, or name a file.py"
            ) from error
        raise ModelError(f"{verb}: {place} failed while it was imported: {_said(error)}") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"{verb}: {place} failed while it was imported: {_said(error)}") from error


def make(spec: str, *, verb: str) -> Target:
    """Call a factory and take its answer apart.

    It may return the model; (model, batch); (model, batch, loss); or these and the optimizer.

    Raises:
        FadeoutError: If it returns something else.
        ModelError: If it raises.
    """
    factory = load_object(spec, verb=verb)
    if isinstance(factory, nn.Module):
        return Target(model=factory, batch=None, loss=None, optimizer=None)
    if not callable(factory):
        raise FadeoutError(f"{verb}: {spec} is of type {type(factory).__name__}, not a function that returns the model")
    try:
        made = factory()
    except (Exception, SystemExit) as error:
        raise ModelError(f"{verb}: your function {spec} failed: {_said(error)}") from error
    if isinstance(made, nn.Module):
        return Target(model=made, batch=None, loss=None, optimizer=None)
    parts = list(made) if isinstance(made, tuple) else []
    if not (1 <= len(parts) <= 4 and isinstance(parts[0], nn.Module)):
        raise FadeoutError(
            f"{verb}: the function {spec} returned {type(made).__name__}; let it return the model, (model, batch), "
            "(model, batch, loss) or (model, batch, loss, optimizer)"
        )
    model, batch, loss, optimizer = [*parts, None, None, None][:4]
    if isinstance(loss, Optimizer):
        loss, optimizer = None, loss
    return Target(model=model, batch=batch, loss=loss, optimizer=optimizer)


def _said(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"
