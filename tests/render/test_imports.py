"""Rendering starts in a blink: no torch anywhere, no Altair for the terminal."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("fadeout.render.terminal", ("torch", "altair", "vl_convert", "pyarrow")),
        ("fadeout.render.notebook", ("torch", "pyarrow")),
        ("fadeout.render.page.document", ("torch", "pyarrow")),
        ("fadeout.render.comparison_text", ("torch", "altair", "vl_convert", "pyarrow")),
        ("fadeout.render.forecast_text", ("torch", "altair", "vl_convert", "pyarrow")),
        ("fadeout.render.ledger_text", ("torch", "altair", "vl_convert", "pyarrow")),
        ("fadeout.render.frame", ("torch", "altair", "pyarrow")),
    ],
)
def test_import_leaves_out(module: str, banned: tuple[str, ...]) -> None:
    code = f"import sys, {module}; sys.exit(' '.join(n for n in {banned!r} if n in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
