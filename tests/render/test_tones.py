"""Tones: red only for what an alarm is about, and nothing red in a healthy network."""

import io
import re
from dataclasses import replace

import pytest
from along_exams import ALONG
from exams import EXAMS, chain, exam, relu6, sigmoid20
from rich.console import Console

from fadeout.records import Exam, Finding
from fadeout.render import charts, terminal, tones, views
from fadeout.render.drawing import Drawing
from fadeout.render.page import sections

RED = re.compile(r"\x1b\[(?:\d+;)*31m")
RED_FILL = charts.TONE_COLOURS["bad"]


def coloured(made: Exam) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="standard", no_color=False)
    with console.capture() as capture:
        console.print(terminal.report(made, verbose=True))
    return capture.get()


def exploding() -> Exam:
    """A net whose weights blow the gradient up while its slopes take some of it."""
    made = exam(
        *chain([7.0, 5.0, 3.0, 1.5, 0.2, -1.0], "relu", -0.2, 1.7), verdict="exploding", sentence="EXPLODING: x."
    )
    cause = replace(sigmoid20().findings[0].cause[0], kind="weight", share=1.0)
    found: Finding = replace(sigmoid20().findings[0], code="FO102", label="exploding", decades=8.0, cause=(cause,))
    return replace(made, findings=(found,))


@pytest.mark.parametrize("make", [relu6, EXAMS["resnet"], ALONG["healthy"]])
def test_nothing_is_red_on_a_healthy_network(make) -> None:  # type: ignore[no-untyped-def]
    made = make()
    assert not RED.search(coloured(made))
    assert all(row.tone == "plain" for row in views.kinds(made))
    for section in sections(made):
        for part in section.parts:
            if isinstance(part, Drawing):
                assert "bad" not in {
                    row.get("tone") for rows in charts.spec(part.chart)["datasets"].values() for row in rows
                }
                assert RED_FILL not in {key.colour for key in part.legend}


def test_an_exploding_nets_culprit_is_red_and_what_goes_against_it_is_not() -> None:
    by_kind = {row.kind: row for row in views.kinds(exploding())}
    assert (by_kind["weight"].tone, by_kind["slope"].tone) == ("bad", "plain")
    assert by_kind["weight"].part == pytest.approx(1.0)
    points = views.depth(exploding()).points
    assert [point.tone for point in points] == ["bad", "bad", "warm", "warm", "plain", "plain"]
    assert "32m" not in coloured(exploding()).replace("will help", "").split("FO102")[0]  # no green


def test_a_vanishing_net_is_red_where_it_has_lost_most() -> None:
    tone = [point.tone for point in views.depth(sigmoid20()).points]
    assert tone[0] == "bad" and tone[-1] == "plain"
    assert [tones.TONES.index(t) for t in tone] == sorted((tones.TONES.index(t) for t in tone), reverse=True)


def test_a_warning_is_yellow_at_most() -> None:
    warned = replace(sigmoid20(), verdict="flows", findings=(replace(sigmoid20().findings[0], level="warning"),))
    assert {point.tone for point in views.depth(warned).points} == {"plain", "mild"}


def test_contradicting_signs_have_no_colour() -> None:
    assert tones.trouble(replace(sigmoid20(), verdict="undetermined")) == tones.NOTHING
