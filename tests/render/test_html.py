"""The HTML report and the notebook fragment: self-contained, escaped, readable without charts."""

import json
import re
import xml.etree.ElementTree as ET

import pytest
from exams import EXAMS, deep1000, hostile, severed, sigmoid20

from fadeout.errors import FadeoutError
from fadeout.render import charts, notebook, views
from fadeout.render.page import document, vega

NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/2000/xmlns/"}


def specs(page: str) -> dict[str, dict[str, object]]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found.group(1))  # type: ignore[no-any-return]


def rows_of(spec: dict, layer: int) -> list:  # type: ignore[type-arg]
    """The data behind one layer of a chart."""
    return spec["datasets"][spec["layer"][layer]["data"]["name"]]  # type: ignore[no-any-return]


def visible(page: str) -> str:
    return re.sub(r"<script.*?</script>|<style.*?</style>|<svg.*?</svg>", "", page, flags=re.DOTALL)


@pytest.mark.parametrize("name", EXAMS)
def test_a_page_refers_to_nothing_outside_itself(name: str) -> None:
    page = document.page(EXAMS[name]())
    assert set(re.findall(r"https?://[^\"'`\s<>)]*", page)) <= NAMESPACES
    assert not re.search(r"<(link|img|iframe)\b|\bsrc=|@import|url\(", visible(page))
    assert page.count("<script") == 3
    assert "$" not in visible(page)


@pytest.mark.parametrize("name", EXAMS)
def test_what_is_read_on_a_page_never_says_nan(name: str) -> None:
    for text in (visible(document.page(EXAMS[name]())), visible(notebook.fragment(EXAMS[name]()))):
        assert not re.search(r"\bnan\b|\binf\b|-inf\b", text, re.IGNORECASE)


def test_names_from_a_model_are_escaped() -> None:
    page, fragment = document.page(hostile(), title="<i>t</i>"), notebook.fragment(hostile())
    for text in (page, fragment):
        assert "<script>alert" not in text
        assert "<b>Linear</b>" not in text
        assert "\x1b" not in text
    assert "<i>t</i>" not in page
    assert "&lt;script&gt;alert" in page


def test_every_chart_has_its_place() -> None:
    page = document.page(sigmoid20())
    drawn = specs(page)
    assert set(drawn) == {"chart-profile", "chart-kinds"}  # a chain's stages are its layers
    assert all(f'id="{name}"' in page for name in drawn)


def test_the_profile_chart_draws_the_views_own_numbers() -> None:
    exam = deep1000()
    spec = charts.spec(charts.profile(views.depth(exam)).chart)
    assert [row["level"] for row in rows_of(spec, -1)] == [point.level for point in views.depth(exam).points]
    assert spec["layer"][-1]["encoding"]["y"]["field"] == "level"


def test_layers_without_gradient_are_drawn_as_such() -> None:
    spec = charts.spec(charts.profile(views.depth(severed())).chart)
    assert [row["says"] for row in rows_of(spec, -1)] == ["no gradient"] * 3


def test_a_page_of_a_thousand_layers_stays_under_two_megabytes() -> None:
    assert len(document.page(deep1000())) < 2_000_000


def test_a_second_exam_can_be_drawn_over_the_first() -> None:
    spec = charts.spec(
        charts.profile(views.depth(sigmoid20()), other=views.depth(EXAMS["relu6"]()), names=("sick", "cured")).chart
    )
    assert sum("strokeDash" in str(layer["mark"]) for layer in spec["layer"]) == 1


@pytest.mark.parametrize("name", EXAMS)
def test_a_fragment_has_no_script_and_well_formed_pictures(name: str) -> None:
    fragment = notebook.fragment(EXAMS[name]())
    assert "<script" not in fragment
    for svg in re.findall(r"<svg.*?</svg>", fragment, re.DOTALL):
        ET.fromstring(svg)
    assert set(re.findall(r"https?://[^\"'`\s<>)]*", fragment)) <= NAMESPACES


def test_without_vl_convert_a_fragment_is_plain_html_and_a_page_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vega, "vl_convert", None)
    vega.library.cache_clear()
    assert "<svg" not in notebook.fragment(sigmoid20())
    assert "slopes (20 sigmoid)" in notebook.fragment(sigmoid20())
    with pytest.raises(FadeoutError, match="pip install"):
        document.page(sigmoid20())
