"""The user's program: a factory that is run while somebody watches where its parts are made."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn
from torch.optim import Optimizer

from fadeout.call.case import seeded
from fadeout.call.subject import unwrapped
from fadeout.errors import FadeoutError
from fadeout.patches.sites import Site, is_users, site_of
from fadeout.probe.graph.paths import readable_path

MARK = "_fadeout_site"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a factory made, and where in the source.

    Attributes:
        model: The network.
        batch: What the factory returned beside it.
        optimizer: Likewise; None where it returned none.
        sites: By path, every alias included; None where the construction was not seen.
        optimizer_site: Where the optimizer was constructed.
        alone: The factory returned nothing but the network.
        factory: (file, qualified name) of the function; "" for a file that is not known.
        files: The user's files that take part: those of sites, of classes and of the factory.
    """

    model: nn.Module
    batch: Any
    optimizer: Optimizer | None
    sites: Mapping[str, Site | None]
    optimizer_site: Site | None
    alone: bool
    factory: tuple[str, str]
    files: tuple[str, ...]


def spec_of(factory: str | Callable[..., Any]) -> str | None:
    """'net.py:build' or 'package.net:build' for a factory; None where it can't be imported again."""
    if isinstance(factory, str):
        return factory
    if isinstance(factory, partial):
        return None
    name = getattr(factory, "__qualname__", "")
    module = sys.modules.get(getattr(factory, "__module__", None) or "")
    if not name or "<" in name or module is None:
        return None
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    file = getattr(module, "__file__", None)
    if found is not factory or not file:
        return None
    plain = module.__name__ != "__main__" and not module.__name__.startswith("fadeout_")
    return f"{module.__name__}:{name}" if plain and _findable(module.__name__) else f"{file}:{name}"


def _findable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def run(factory: str | Callable[..., Any], texts: Mapping[str, str] | None = None, *, seed: int = 0) -> Program:
    """Import the factory's modules afresh, with other texts for some of its files, and call it.

    What was imported before is put back afterwards.

    Raises:
        FadeoutError: If the name is wrong or the factory returns something else than a target.
        Exception: Whatever the user's own code raises.
    """
    spec = spec_of(factory)
    if spec is None:
        if texts or isinstance(factory, str):
            raise FadeoutError("this function can't be imported again, as it is made inside another or typed by hand")
        file = getattr(getattr(factory, "__code__", None), "co_filename", "")
        return _watched(lambda: (factory, file), seed, getattr(factory, "__qualname__", ""), by_import=False)
    with _fresh(spec, texts or {}) as (load, originals):
        program = _watched(load, seed, spec.rpartition(":")[2], by_import=True)
    return _renamed(program, originals) if originals else program


def _watched(load: Callable[[], tuple[Any, str]], seed: int, name: str, *, by_import: bool) -> Program:
    optimizers: dict[int, Site | None] = {}
    with seeded(seed), _constructions(optimizers), redirect_stdout(io.StringIO()):  # --json goes there
        found, file = load()
        made = found if isinstance(found, nn.Module) else found()
    parts = [made] if isinstance(made, nn.Module) else list(made) if isinstance(made, tuple) else []
    if not (1 <= len(parts) <= 4 and isinstance(parts[0], nn.Module)):
        raise FadeoutError(f"the factory returned {type(made).__name__}, not a model or a tuple that begins with one")
    model, _ = unwrapped(parts[0])
    optimizer = next((p for p in parts[1:] if isinstance(p, Optimizer)), None)
    sites = {p: m.__dict__[MARK].site if MARK in m.__dict__ else None for p, m in modules_of(model).items()}
    classes = {code_of(type(m).forward)[0] for m in model.modules()}
    for module in model.modules():
        module.__dict__.pop(MARK, None)
    loaded = {str(m.__file__) for k, m in sys.modules.items() if by_import and k != "__main__" and _is_users_module(m)}
    seen = (
        {s.file for s in sites.values() if s is not None} | classes | {str(Path(f).resolve()) for f in (file, *loaded)}
    )
    return Program(
        model=model,
        batch=parts[1] if len(parts) > 1 and not isinstance(parts[1], Optimizer) else None,
        optimizer=optimizer,
        sites=sites,
        optimizer_site=optimizers.get(id(optimizer)),
        alone=isinstance(made, nn.Module),
        factory=(file if file.startswith("<") or not file else str(Path(file).resolve()), name),
        files=tuple(sorted(f for f in seen if f and is_users(f) and Path(f).is_file())),
    )


class _Mark:
    """A site as a module carries it: no dataclass, as frameworks that move what modules hold take those apart."""

    def __init__(self, site: Site | None) -> None:
        self.site = site


def modules_of(model: nn.Module) -> dict[str, nn.Module]:
    """Every module under every path that it has, as treatments call them."""
    return {readable_path(p): m for p, m in reversed([*model.named_modules(remove_duplicate=False)])}


def _renamed(program: Program, originals: Mapping[str, str]) -> Program:
    """Copies called by the names of the files that they stand for."""

    def named(site: Site | None) -> Site | None:
        return None if site is None else replace(site, file=originals.get(site.file, site.file))

    file, name = program.factory
    return replace(
        program,
        sites={path: named(site) for path, site in program.sites.items()},
        optimizer_site=named(program.optimizer_site),
        factory=(originals.get(file, file), name),
        files=tuple(sorted({originals.get(f, f) for f in program.files})),
    )


@contextmanager
def _constructions(optimizers: dict[int, Site | None]) -> Iterator[None]:
    """Every module made meanwhile carries its site; a copy of it carries the same."""
    begin, start = nn.Module.__init__, Optimizer.__init__

    def module(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        self.__dict__[MARK] = _Mark(site_of(self))

    def optimizer(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        optimizers[id(self)] = site_of(self)
        start(self, *args, **kwargs)

    nn.Module.__init__, Optimizer.__init__ = module, optimizer  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.__init__, Optimizer.__init__ = begin, start  # type: ignore[method-assign]


@contextmanager
def _fresh(spec: str, texts: Mapping[str, str]) -> Iterator[tuple[Callable[[], tuple[Any, str]], dict[str, str]]]:
    """A function that imports the factory anew, and what each copy in the temporary folder stands for."""
    place, _, name = spec.rpartition(":")
    kept = dict(sys.modules)
    path = list(sys.path)
    with tempfile.TemporaryDirectory(prefix="fadeout-patch-") as folder:
        finder = _Finder(_copies(texts, Path(folder).resolve()))
        for key, module in kept.items():
            if key != "__main__" and _is_users_module(module):
                del sys.modules[key]
        sys.meta_path.insert(0, finder)
        written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            yield partial(_import, place, name, finder), {copy: file for file, copy in finder.copies.items()}
        finally:
            sys.meta_path.remove(finder)
            sys.dont_write_bytecode = written
            sys.path[:] = path
            for key, module in list(sys.modules.items()):
                if key not in kept and _is_users_module(module):
                    del sys.modules[key]
            sys.modules.update(kept)


def _is_users_module(module: ModuleType | None) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.endswith(".py") and is_users(file)


def _copies(texts: Mapping[str, str], folder: Path) -> dict[str, str]:
    copies = {}
    for number, (file, text) in enumerate(texts.items()):
        copy = folder / str(number) / Path(file).name
        copy.parent.mkdir()
        with open(copy, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        copies[file] = str(copy)
    return copies


def _import(place: str, name: str, finder: "_Finder") -> tuple[Any, str]:
    if place.endswith(".py"):
        file = str(Path(place).resolve())
        if not Path(file).is_file():
            raise FadeoutError(f"there is no file {place}")
        sys.path.insert(0, str(Path(file).parent))
        title = f"fadeout_patched_{Path(file).stem}"
        spec = importlib.util.spec_from_file_location(title, file)
        spec = finder.instead(spec, file) if spec is not None else None
        if spec is None or spec.loader is None:
            raise FadeoutError(f"{place} can't be imported as a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[title] = module
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, "")
        module = importlib.import_module(place)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    code = getattr(found, "__code__", None)
    return found, code.co_filename if code is not None else str(getattr(module, "__file__", ""))


class _Finder(importlib.abc.MetaPathFinder):
    """Gives the patched copies in place of the user's files; all other imports pass."""

    def __init__(self, copies: Mapping[str, str]) -> None:
        self.copies = copies

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or not spec.origin or not spec.origin.endswith(".py") or not is_users(spec.origin):
            return None
        return self.instead(spec, str(Path(spec.origin).resolve()))

    def instead(self, spec: importlib.machinery.ModuleSpec, file: str) -> importlib.machinery.ModuleSpec:
        # never from __pycache__: a file that was changed within the same second would come back as it was
        spec.loader = _Loader(spec.name, self.copies.get(file, file))
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Reads source only, so that what runs is what the file says now."""

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.get_data(self.path), self.path)


def code_of(function: Any) -> tuple[str, int]:
    """File and first line of a function; ("", 0) where it has none."""
    code = getattr(function, "__code__", None)
    if code is None or code.co_filename.startswith("<"):
        return "", 0
    return str(Path(code.co_filename).resolve()), code.co_firstlineno
