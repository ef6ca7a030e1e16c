"""The page: its order, what it lets run, its side-by-side form, and what steps add to it."""

import base64
import hashlib
import re
from dataclasses import replace

import pytest
from exams import EXAMS, NAN, hostile, relu6, resnet, sigmoid20
from test_html import rows_of, specs, visible

from fadeout.records import Exam, LayerTrace, Training
from fadeout.render import charts, definitions, notebook, paste, training_charts
from fadeout.render.page import document, sections


def trained(**changes: object) -> Exam:
    made = relu6()
    probes = (0, 3, 6)
    course = Training(
        steps=6, losses=(2.3, 2.0, 1.5, 1.0, 0.5, 0.3), probes=probes, learned=(0.0, 0.4, 0.8), constant=2.3,
        broken=None,
        layers=tuple(
            LayerTrace(path=layer.path, gradient_norm=(0.01, 0.0, NAN)) for layer in made.layers
        ),
    )  # fmt: skip
    return replace(made, progress="learns", course=replace(course, **changes))  # type: ignore[arg-type]


def titles(page: str) -> list[str]:
    return [re.sub(r"<[^>]+>", "", title) for title in re.findall(r"<h2>(.*?)</h2>", page)]


def test_findings_stand_right_below_the_verdict() -> None:
    page = visible(document.page(sigmoid20()))
    assert titles(page)[0] == "Findings"
    assert page.index("VANISHING") < page.index("Will help") < page.index("Gradient from data to loss")


def test_a_plain_chain_has_no_stages_and_a_residual_net_has() -> None:
    assert "Stages" not in titles(document.page(sigmoid20()))
    assert "Stages" in titles(document.page(resnet()))


@pytest.mark.parametrize("name", EXAMS)
def test_only_scripts_of_ours_may_run(name: str) -> None:
    page = document.page(EXAMS[name]())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy and "default-src 'none'" in policy.group(1)
    assert "unsafe-eval" not in policy.group(1)
    allowed = set(re.findall(r"'sha256-([^']+)'", policy.group(1)))
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts} == allowed
    assert not re.search(r"\son\w+=", visible(page))  # no handlers in tags: they would not run


def test_charts_are_as_wide_as_their_place_and_name_the_layers() -> None:
    drawn = specs(document.page(sigmoid20()))
    assert {spec["width"] for spec in drawn.values()} == {"container"}
    assert "[6] net.10" in str(drawn["chart-profile"])


def test_the_band_of_theory_stands_in_the_legend() -> None:
    assert "where theory expects the gradient" in document.page(sigmoid20())
    assert "where theory expects the gradient" not in document.page(relu6())


def test_steps_add_the_loss_and_the_gradient_of_every_layer() -> None:
    page = document.page(trained())
    drawn = specs(page)
    assert {"chart-losses", "chart-gradients"} <= set(drawn)
    assert "While a copy is trained" in titles(page)
    rows = next(iter(drawn["chart-gradients"]["datasets"].values()))  # type: ignore[attr-defined]
    assert [row["level"] for row in rows[:3]] == [-2.0, None, None]
    assert [row["says"] for row in rows[:3]] == ["-2.0", "no gradient", "n/a"]
    assert len(rows_of(drawn["chart-losses"], 0)) == 6


def test_an_exam_saved_before_traces_were_kept_has_the_loss_alone() -> None:
    drawn = specs(document.page(trained(layers=())))
    assert "chart-losses" in drawn and "chart-gradients" not in drawn


def test_of_many_layers_as_many_are_drawn_as_can_be_told_apart() -> None:
    many = tuple(LayerTrace(path=f"net.{i}", gradient_norm=(1.0, 1.0, 1.0)) for i in range(200))
    drawn = training_charts.gradients(trained(layers=many))
    assert drawn is not None
    rows = next(iter(charts.spec(drawn.chart)["datasets"].values()))
    assert len({row["number"] for row in rows}) == training_charts.LINES
    assert {1, 200} <= {row["number"] for row in rows}


def test_several_exams_stand_side_by_side_on_one_scale() -> None:
    page = document.side_by_side([sigmoid20(), relu6()], ["<sick>", "cured"], extra={"accuracy": ["10 %", "97 %"]})
    assert page.count('class="card"') == 2
    assert "<sick>" not in page and "&lt;sick&gt;" in page and "97 %" in page
    first, second = (specs(page)[f"chart-{i}-profile"]["layer"][-1]["encoding"]["y"]["scale"] for i in (1, 2))  # type: ignore[index]
    assert first == second
    drawn = specs(page)
    assert all(page.count(f'id="{name}"') == 1 for name in drawn)


def test_every_word_is_explained_once() -> None:
    page = visible(document.page(sigmoid20()))
    told = re.findall(r'<dfn tabindex="0" title="([^"]*)"', page)
    assert told and len(told) == len(set(told))


def test_marked_text_is_escaped() -> None:
    assert "<script>" not in definitions.marked("<script>decades</script>")
    assert definitions.marked("two decades of decades").count("<dfn") == 1


def test_every_section_of_the_page_stands_in_the_notebook() -> None:
    shown = notebook.fragment(sigmoid20())
    for section in sections(sigmoid20()):
        assert section.title in re.sub(r"</?dfn[^>]*>", "", shown)
    assert "Will help" in shown and "ReLU with He" in shown
    assert "background: #fff" not in shown


def test_other_results_show_themselves_in_a_notebook() -> None:
    made = sigmoid20()
    assert made.forecast is not None
    assert "slopes" in made.ledger._repr_html_() and "<svg" in made.ledger._repr_html_()
    assert "theory expects" in made.forecast._repr_html_()
    assert "<script>alert" not in hostile().ledger._repr_html_()


def test_a_line_to_paste_is_python_and_fits_the_finding() -> None:
    made = sigmoid20()
    found = made.findings[0]
    assert paste.line(found, made) == ""  # its slopes are to blame: another activation, which no one line gives
    rate = replace(found.evidence[0], name="update over weight", value=2.0, unit="ratio")
    weights = replace(found, cause=(replace(found.cause[1], share=1.0),), evidence=(rate,))
    assert "xavier_normal_" in paste.line(weights, made)
    for code in ("FO102", "FO107", "FO206", "FO209", "FO221", "FO301", "FO303"):
        line = paste.line(replace(weights, code=code), made)
        assert line and compile(line, code, "exec")
    assert compile(paste.line(replace(found, code="FO205"), made) + " pass", "FO205", "exec")
    listed = replace(found, code="FO220", where=("hids[0]", "hids[1]"))
    assert paste.line(listed, made) == "self.hids = nn.ModuleList(self.hids)"
    assert paste.line(replace(listed, where=("a[0]", "b[0]")), made) == ""
