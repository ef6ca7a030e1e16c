"""The terminal report: golden outputs (FADEOUT_OVERWRITE=1 writes them anew) and what always holds."""

import io
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from exams import EXAMS, chain60, deep1000, relu6, resnet, severed, sigmoid20
from rich.cells import cell_len
from rich.console import Console

from fadeout.render import comparison_text, printout, terminal
from fadeout.render.layout import wrap

GOLDEN = Path(__file__).parent / "golden"
CASES = [(name, width) for name in EXAMS for width in ((80, 100, 140) if name == "sigmoid20" else (80,))]


def check(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("FADEOUT_OVERWRITE"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "width"), CASES)
def test_report_reads_as_it_did(name: str, width: int) -> None:
    check(f"{name}-{width}", terminal.text(EXAMS[name](), width))


def test_verbose_report_of_a_healthy_network_reads_as_it_did() -> None:
    check("resnet-verbose-100", terminal.text(resnet(), 100, verbose=True))


def test_comparisons_read_as_they_did() -> None:
    check("compare-100", printout.plain(comparison_text.side_by_side([sigmoid20(), relu6()], ("sigmoid", "ReLU"))))
    table = comparison_text.side_by_side(
        [sigmoid20(), relu6(), resnet()],
        ["sigmoid", "ReLU, He", "residual"],
        extra={"accuracy after 5 s": ["10 %", "97 %", "98 %"]},
    )
    check("side-by-side-80", printout.plain(table, 80))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 140])
@pytest.mark.parametrize("name", EXAMS)
def test_no_line_is_wider_than_the_page_and_none_says_nan(name: str, width: int) -> None:
    text = terminal.text(EXAMS[name](), width, verbose=True, next_steps=["fadeout explain FO101"])
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert not re.search(r"\bnan\b|\binf\b", text, re.IGNORECASE)
    assert text.isprintable() or not set(text) - {"\n"} - {c for c in text if c.isprintable()}


@pytest.mark.parametrize("make", [relu6, resnet])
def test_a_healthy_network_gets_three_lines_and_one_about_its_blocks(make) -> None:  # type: ignore[no-untyped-def]
    lines = [line for line in terminal.text(make(), 100).splitlines() if line]
    assert lines[0].startswith("  The gradient flows:")
    assert len(lines) <= 4


def test_every_layer_has_its_bar_up_to_forty_and_long_networks_fit_one_screen() -> None:
    assert len(re.findall(r"^    \[ ?\d+\] Linear", terminal.text(sigmoid20(), 100), re.M)) == 21
    for make in (chain60, deep1000):
        assert len(terminal.text(make(), 100).splitlines()) <= 50


def test_the_layer_that_is_off_stands_alone_among_a_thousand() -> None:
    rows = [
        line for line in terminal.text(deep1000(), 100).splitlines() if re.match(r" +\[ *500\] Linear  net\.998 ", line)
    ]
    assert len(rows) == 1
    assert "-12.0" in rows[0]


def test_no_gradient_is_said_and_never_printed_as_zero() -> None:
    text = terminal.text(severed(), 100)
    assert "no gradient" in text
    assert "-inf" not in text


def test_findings_beyond_the_asked_number_are_counted() -> None:
    exam = sigmoid20()
    exam = replace(exam, findings=exam.findings * 5)
    assert "and 2 more findings" in terminal.text(exam, 100)
    assert "more finding" not in terminal.text(exam, 100, findings=5)


@pytest.mark.parametrize("name", EXAMS)
def test_a_console_without_blocks_gets_ascii(name: str) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as file:
        console = Console(file=file, width=80, color_system=None, legacy_windows=False)
        console.print(terminal.report(EXAMS[name](), verbose=True))
        file.flush()
        text = raw.getvalue().decode("ascii")
    assert text


def test_colour_can_be_left_out() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="truecolor")
    with console.capture() as capture:
        console.print(terminal.report(sigmoid20(), colour=False))
    assert "\x1b[" not in capture.get()


def test_a_wrong_number_of_names_is_refused() -> None:
    with pytest.raises(ValueError, match="1 names for 2 exams"):
        comparison_text.side_by_side([relu6(), relu6()], ("a",))


def test_a_number_is_never_parted_from_its_unit() -> None:
    for width in range(20, 60):
        lines = wrap("it loses 17.0 decades over layers 1-20, that is < 1e-38 and 71 % of it", width)
        assert not any(re.match(r"decades|%|1e-38|1-20", line) for line in lines)


def test_a_comparison_prints_itself() -> None:
    table = comparison_text.side_by_side([sigmoid20(), relu6()], ("<a>", "b"))
    assert str(table) == printout.plain(table, 100)
    assert "&lt;a&gt;" in table._repr_html_()
