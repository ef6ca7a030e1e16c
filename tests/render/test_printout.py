"""print, repr and rich.print of every result: the terminal's width and colour, one line, no surprises."""

import io
import math
from dataclasses import replace

import pytest
from exams import relu6, sigmoid20
from rich.cells import cell_len
from rich.console import Console

from fadeout.records import Exam, Forecast, ForecastLayer
from fadeout.render import comparison_text, printout, terminal


def results() -> list[object]:
    made = sigmoid20()
    return [made, made.ledger, made.forecast, comparison_text.side_by_side([made, relu6()], ["sick", "cured"])]


@pytest.mark.parametrize("result", results(), ids=lambda r: type(r).__name__)
def test_a_repr_is_one_short_line(result: object) -> None:
    assert "\n" not in repr(result)
    assert len(repr(result)) < 120
    assert repr(result).startswith(f"<{type(result).__name__}")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("result", results(), ids=lambda r: type(r).__name__)
def test_rich_prints_it_in_the_consoles_width_and_cuts_nothing(result: object, width: int) -> None:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(result)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.strip()
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert "\u2026" not in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("result", results(), ids=lambda r: type(r).__name__)
def test_print_takes_the_terminals_width_and_colour(result: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "64")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = str(result)
    assert "\x1b[" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    plain = str(result)
    assert "\x1b[3" not in plain
    assert max(map(cell_len, plain.splitlines())) > 0
    monkeypatch.setattr("sys.stdout", io.StringIO())
    piped = str(result)
    assert "\x1b" not in piped
    assert all(cell_len(line) <= 64 for line in piped.splitlines())


def test_an_exam_prints_what_the_report_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert str(sigmoid20()) == terminal.text(sigmoid20())


def test_a_forecast_that_cannot_tell_says_why() -> None:
    row = ForecastLayer(path="rnn", q=None, decades=None, band=None, why="rnn mul: not in the theory")
    made = Forecast(decades=None, band=None, layers=(row, row, row))
    assert "can't tell" in str(made) and "not in the theory" in str(made)
    assert str(made).count("rnn ") >= 1
    assert "[1-3] rnn" in str(made)
    assert "nan" not in str(replace(made, decades=math.nan))


def explained(progress: str) -> str:
    note = replace(sigmoid20().findings[0], code="FO302", label="flows", level="note", claim="the cause lies elsewhere")
    made: Exam = replace(relu6(), progress=progress, findings=(note,))  # type: ignore[arg-type]
    return printout.plain(terminal.report(made), 80)


def test_a_note_that_says_why_nothing_is_learned_is_printed_in_full() -> None:
    assert "the cause lies elsewhere" in explained("does_not_learn")
    assert "1 note: FO302" in explained("learns")
