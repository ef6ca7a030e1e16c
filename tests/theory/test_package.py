"""theory/ stands alone: no model, no other part of fadeout, no scipy."""

import ast
import subprocess
import sys
from pathlib import Path

import fadeout.theory

FOLDER = Path(fadeout.theory.__file__).parent


def test_theory_imports_nothing_of_fadeout_but_itself():
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("fadeout") or name.startswith("fadeout.theory"), f"{file}: {name}"


def test_theory_works_without_scipy():
    code = (
        "import sys; sys.modules['scipy'] = None; import torch; from fadeout.theory import *; "
        "find_critical(torch.tanh); describe_phase(torch.tanh, sigma_w=2.0, sigma_b=0.1)"
    )
    source = str(FOLDER.parents[1])
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": source, "PATH": ""})


def test_every_public_name_exists_once():
    assert len(set(fadeout.theory.__all__)) == len(fadeout.theory.__all__)
    assert all(hasattr(fadeout.theory, name) for name in fadeout.theory.__all__)
