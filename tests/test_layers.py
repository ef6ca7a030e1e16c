"""Imports point one way, half of the package never loads torch, and the public names are pinned."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fadeout

LAYERS = (
    "__main__",
    "cli",
    "lab adapters",
    "live",
    "remedy",
    "trials",
    "racing",
    "engines patches",
    "planning",
    "exams pages outlook target data",
    "render store",
    "forecast counterfactual",
    "treatments course",
    "rules init probe",
    "call glossary",
    "theory records errors terms version",
)
PROBE = (  # floors inside probe
    "__init__",
    "measurement",
    "reading",
    "session process replay",
    "instruments",
    "recurrent",
    "account",
    "graph",
    "later",
)
RANK = {name: len(LAYERS) - i for i, row in enumerate(LAYERS) for name in row.split()}
SRC = Path(__file__).parents[1] / "src" / "fadeout"
# records are shown by what lies above them: these hooks alone call upward, lazily
UPWARD = {
    "to_dict", "__repr__", "__str__", "__rich_console__", "_repr_html_", "__dataframe__", "__arrow_c_stream__",
}  # fmt: skip
TORCH_FREE = ("records", "errors", "version", "rules", "store", "render", "pages", "cli", "glossary", "terms")


def modules(tree: ast.AST) -> set[str]:
    """Modules that a syntax tree imports names from."""
    plain = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    return plain | {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}


def imports(tree: ast.AST, file: Path) -> set[str]:
    """Top-level fadeout units that a syntax tree imports, lazily or not."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; write it from fadeout"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("fadeout.")}


def without_display_hooks(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            node.body = [n for n in node.body if not (isinstance(n, ast.FunctionDef) and n.name in UPWARD)]
    return tree


@pytest.mark.parametrize("unit", sorted(RANK))
def test_unit_imports_only_from_below(unit):
    files = [SRC / f"{unit}.py", *(SRC / unit).rglob("*.py")]
    for file in filter(Path.exists, files):
        tree = ast.parse(file.read_text())
        if unit == "records":
            tree = without_display_hooks(tree)
        upward = {u for u in imports(tree, file) - {unit} if RANK.get(u, 0) >= RANK[unit]}
        assert not upward, f"{file.relative_to(SRC)} imports {upward}: move the shared part down"


def test_the_rooms_of_probe_import_only_from_below():
    rank = {name: len(PROBE) - i for i, row in enumerate(PROBE) for name in row.split()}
    probe = SRC / "probe"
    for file in probe.rglob("*.py"):
        room = file.relative_to(probe).with_suffix("").parts[0]
        names = {m.split(".")[2] for m in modules(ast.parse(file.read_text())) if m.startswith("fadeout.probe.")}
        upward = {n for n in names - {room} if rank[n] >= rank[room]}
        assert not upward, f"probe/{room} imports {upward}: move the shared part down"


def test_every_unit_has_a_rank():
    units = {p.stem for p in SRC.glob("*.py")} | {p.name for p in SRC.iterdir() if (p / "__init__.py").exists()}
    assert units - {"__init__"} <= RANK.keys()


@pytest.mark.parametrize("unit", TORCH_FREE)
def test_unit_never_loads_torch(unit):
    code = (
        "import importlib, pkgutil, sys\n"
        f"m = importlib.import_module('fadeout.{unit}')\n"
        "for p in pkgutil.iter_modules(getattr(m, '__path__', [])): importlib.import_module(f'{m.__name__}.{p.name}')\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, fadeout; sys.exit(bool({'torch', 'altair', 'rich', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_are_pinned():
    assert set(fadeout.__all__) == {
        "Case", "Exam", "FadeoutError", "Finding", "Ledger", "Limits", "ModelError", "Plan", "RULES", "Reading",
        "Receipt", "TREATMENTS", "Trial", "__version__", "compare", "diagnose", "examine", "load", "measure", "plan",
        "predict", "read", "report", "save", "treat", "trial", "watch",
    }  # fmt: skip
    assert len(fadeout.__all__) <= 30
    for name in fadeout.__all__:
        assert getattr(fadeout, name) is not None


def test_public_names_are_functions_whatever_was_imported_before():
    """A submodule of a verb's name would shadow it once it is imported."""
    code = """
import importlib, pkgutil, fadeout
for module in pkgutil.walk_packages(fadeout.__path__, "fadeout."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
verbs = [name for name in fadeout.__all__ if name.islower() and not name.startswith("_")]
assert len(verbs) >= 9 and all(callable(getattr(fadeout, name)) for name in verbs), verbs
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match="examine"):
        fadeout.examin  # noqa: B018
