"""The pages of the findings: one for every code, true to the limits, and their examples hold what they say.

FADEOUT_OVERWRITE=1 writes the limits as they are now into the pages.
"""

import ast
import dataclasses
import importlib.util
import inspect
import os
import re
import sys
from pathlib import Path

import pytest
import torch

from fadeout.rules import LIMITS

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "findings"
CODES = sorted(
    {
        code
        for path in (ROOT / "src" / "fadeout" / "rules").glob("*.py")
        for code in re.findall(r'code="(FO\d{3})"', path.read_text(encoding="utf-8"))
    }
)
LIMIT = re.compile(r"^- Limit: `(?P<name>\w+)` = (?P<value>\S+) (?P<unit>[^.]+)", re.MULTILINE)
PARTS = (
    "## What it means for you",
    "## An example",
    "## What helps",
    "## What does not help",
    "## How it is measured",
    "## When it may be wrong",
    "## Limits and tuning",
)

_spec = importlib.util.spec_from_file_location("findings_examples", PAGES / "examples.py")
assert _spec is not None and _spec.loader is not None
examples = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = examples
_spec.loader.exec_module(examples)
BY_CODE = {example.code: example for example in examples.EXAMPLES}


def page(code: str) -> str:
    return (PAGES / f"{code}.md").read_text(encoding="utf-8")


def without_numbers(text: str) -> str:
    """The words of a claim: its numbers may differ in the last digit from machine to machine."""
    return re.sub(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", "#", " ".join(text.split()))


def test_every_code_of_the_rules_has_a_page_an_example_and_a_line_in_the_index() -> None:
    assert len(CODES) >= 25
    assert sorted(path.stem for path in PAGES.glob("FO*.md")) == CODES
    assert sorted(BY_CODE) == CODES
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| \[(FO\d{3})\]\(\1\.md\) \|", index, re.MULTILINE)) == CODES


@pytest.mark.parametrize("code", CODES)
def test_the_exam_of_an_example_holds_its_finding(code: str) -> None:
    before = torch.random.get_rng_state()
    exam = examples.run(BY_CODE[code])
    assert code in {finding.code for finding in exam.findings}
    assert torch.equal(before, torch.random.get_rng_state())
    found = next(finding for finding in exam.findings if finding.code == code)
    (shown,) = re.findall(r"```text\n(.*?)```", page(code), re.DOTALL)
    assert without_numbers(shown) == without_numbers(f"{found.level} {found.code}: {found.claim}")


@pytest.mark.parametrize("code", CODES)
def test_a_page_has_every_part_and_names_what_it_is_about(code: str) -> None:
    text = page(code)
    assert text.startswith(f"# {code} ")
    assert [line for line in text.splitlines() if line.startswith("## ")] == list(PARTS)
    assert f"]({code}.svg)" in text
    assert LIMIT.search(text) or re.search(r"^No limit: ", text, re.MULTILINE)
    for target in re.findall(r"\]\(([^):]+)\)", text):
        assert (PAGES / target).exists(), target


@pytest.mark.parametrize("code", CODES)
def test_a_picture_is_small_and_shows_its_finding(code: str) -> None:
    drawn = (PAGES / f"{code}.svg").read_text(encoding="utf-8")
    assert len(drawn.encode()) < 40_000
    assert f">{code}" in drawn
    assert "@font-face" not in drawn


@pytest.mark.parametrize("name", [*CODES, "index"])
def test_a_page_names_the_limits_as_they_are(name: str) -> None:
    path = PAGES / f"{name}.md"
    text = path.read_text(encoding="utf-8")
    if os.environ.get("FADEOUT_OVERWRITE"):
        text = LIMIT.sub(lambda m: m[0].replace(m["value"], repr(getattr(LIMITS, m["name"])), 1), text)
        path.write_text(text, encoding="utf-8")
    for found in LIMIT.finditer(text):
        assert float(found["value"]) == getattr(LIMITS, found["name"]), found[0]


def test_every_limit_stands_on_a_page() -> None:
    named = {found["name"] for path in PAGES.glob("*.md") for found in LIMIT.finditer(path.read_text(encoding="utf-8"))}
    assert named == {field.name for field in dataclasses.fields(LIMITS)}


@pytest.mark.parametrize("code", CODES)
def test_a_page_shows_the_code_that_was_run(code: str) -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", page(code), re.DOTALL)
    function = ast.parse(inspect.getsource(BY_CODE[code].make)).body[0]
    assert isinstance(function, ast.FunctionDef)
    parts = [ast.unparse(part).replace("return asked(", "exam = fadeout.examine(") for part in function.body]
    seen = ast.parse(shown).body
    classes = [part for part in seen if isinstance(part, ast.ClassDef)]
    for part in classes:
        source = ast.parse(inspect.getsource(getattr(examples, part.name))).body[0]
        assert isinstance(source, ast.ClassDef)
        source.body = source.body[1:]  # without its docstring
        assert ast.unparse(part) == ast.unparse(source)
    assert [ast.unparse(part) for part in seen if part not in classes] == parts
