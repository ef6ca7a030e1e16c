"""Time and tokens in every report: golden outputs, what is folded, what is drawn, what is escaped."""

import io
import math
import re
from dataclasses import replace

import pytest
from along_exams import ALONG, attention, broken, gates, healthy, reach, recurrent, sequence
from exams import relu6
from rich.cells import cell_len
from rich.console import Console
from test_html import specs, visible
from test_terminal import check

from fadeout.records import Exam
from fadeout.render import across_tokens, along_charts, along_time, charts, notebook, terminal
from fadeout.render.page import document


def flows(**changes: object) -> Exam:
    return replace(relu6(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("name", ALONG)
def test_report_with_time_and_tokens_reads_as_it_did(name: str, width: int) -> None:
    check(f"along-{name}-{width}", terminal.text(ALONG[name](), width))


def test_verbose_report_with_time_and_tokens_reads_as_it_did() -> None:
    check("along-healthy-verbose-80", terminal.text(healthy(), 80, verbose=True))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
@pytest.mark.parametrize("name", ALONG)
def test_no_line_is_wider_than_the_page_and_none_says_nan(name: str, width: int) -> None:
    text = terminal.text(ALONG[name](), width, verbose=True)
    assert all(cell_len(line) <= width for line in text.splitlines())
    assert not re.search(r"\bnan\b(?! )|\binf\b|-inf", text.replace("    nan ", "    "))
    assert "\x1b" not in text


@pytest.mark.parametrize("name", ALONG)
def test_a_console_without_blocks_gets_ascii(name: str) -> None:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="ascii") as file:
        console = Console(file=file, width=80, color_system=None, legacy_windows=False)
        console.print(terminal.report(ALONG[name](), verbose=True))
        file.flush()
        assert "along time" in raw.getvalue().decode("ascii")


def test_a_healthy_network_says_at_most_one_line_on_time_and_one_on_tokens() -> None:
    plain = len(terminal.text(relu6(), 100).splitlines())
    odd = replace(healthy(), tokens=tuple(attention(f"h.{i}", 0.1, 0.01) for i in range(40)))
    many = replace(odd, time=tuple(recurrent(f"r.l{i}", 5.0 + i, 200) for i in range(40)))
    for exam in (healthy(), odd, many):
        said = terminal.text(exam, 100).splitlines()
        assert sum(line.startswith("  Along time:") for line in said) == 1
        assert len(said) <= plain + 3  # with the horizon in the verdict's own sentence


def test_a_network_that_remembers_everything_says_nothing_more() -> None:
    keeps = tuple(recurrent(f"r.l{i}", math.inf, 50) for i in range(2))
    assert terminal.text(flows(time=keeps, tokens=(reach(), attention("a"))), 100) == terminal.text(relu6(), 100)


def test_a_healthy_network_whose_gates_alone_were_read_names_the_hastiest() -> None:
    said = along_time.short(flows(time=(gates("slow", 40.0), gates("fast", 2.0))))
    assert said.startswith("Along time: fast forgets a decade in 2 tokens (median), 8 (slowest of 8 heads)")
    hasty = flows(time=(gates("m", 0.2),), sentence="The gradient flows: 0. 1 recurrence forgets a decade.")
    assert along_time.short(hasty) == ""


def test_three_layers_are_spelled_out_longest_horizon_first_and_the_rest_counted() -> None:
    text = terminal.text(sequence(), 100)
    assert re.findall(r"^    (r\.l\d) remembers (\d+) of 200", text, re.M) == [
        ("r.l0", "20"),
        ("r.l1", "17"),
        ("r.l2", "14"),
    ]
    assert "and 2 more recurrent layers, horizons 8 steps to 11 steps" in text


def test_only_unusual_attentions_are_named() -> None:
    text = terminal.text(sequence(), 100)
    assert "4 attentions: live rows 3 % to 100 %, tokens apart 0.02 to 0.97" in text
    assert "h.2: only 3 %" in text and "h.3: tokens nearly alike" in text
    assert "h.0" not in text and "h.1" not in text


@pytest.mark.parametrize("n", [*range(1, 40), 101, 200, 1000, 5000, 100_000])
def test_lags_to_show_are_few_sorted_and_hold_both_ends(n: int) -> None:
    shown = along_time.steps_to_show(n)
    assert len(shown) <= 8
    assert list(shown) == sorted(set(shown))
    assert shown[0] == 0 and shown[-1] == n - 1


def test_the_rows_hold_the_profiles_own_numbers() -> None:
    profile = recurrent("r.l0", 7.0, 1000)
    (row,) = along_time.measured(flows(time=(profile,)))
    for lag in (*along_time.some_lags(row), *along_time.thinned(row)):
        assert lag.decades == profile.log_gain[lag.steps]
        assert lag.shares == tuple(s[lag.steps] for _, s in profile.paths)
    assert along_time.thinned(row)[-1].steps == 999 and len(along_time.thinned(row)) == along_time.POINTS


def test_the_step_that_is_not_a_number_is_named() -> None:
    lost = recurrent("r", math.nan, 30, log_gain=(0.0, -0.1, *(math.nan,) * 28))
    assert along_time.measured(flows(time=(lost,)))[0].remembers == "is not a number 2 steps back, of 30 steps"


def test_a_single_path_is_no_split() -> None:
    one = recurrent("r", 3.0, 9, paths=(("cell", (1.0,) + (0.0,) * 8), ("hidden", (0.0,) + (1.0,) * 8)))
    assert along_time.measured(flows(time=(one,)))[0].paths == ()


def test_a_folded_reach_map_keeps_the_largest_of_its_neighbours_and_leaves_nothing_blank() -> None:
    profile = reach(tokens=1000, sampled=3)
    (view,) = across_tokens.reaches(flows(tokens=(profile,)))
    assert len(view.cells) <= 3 * across_tokens.COLUMNS
    for cell in view.cells:
        levels = profile.reach[profile.positions.index(cell.position)][cell.first : cell.last + 1]
        assert cell.level == max(levels) > -math.inf
    assert max(cell.last for cell in view.cells if cell.position == 999) == 999


def test_the_curve_says_where_a_decade_is_lost() -> None:
    (view,) = across_tokens.reaches(flows(tokens=(reach(),)))
    assert view.decade == 1
    assert across_tokens.about(view) == "loses a decade within 1 token; -2.0 at the furthest, 47 back"


def test_a_page_has_the_charts_of_time_and_tokens_with_a_sentence_each() -> None:
    page = document.page(sequence())
    drawn = specs(page)
    assert {"chart-time", "chart-paths", "chart-reach", "chart-far"} <= set(drawn)
    for name in ("time", "paths", "reach", "far"):
        assert re.search(
            rf'<p class="dim">.+</p>\s*(<p class="legend">.+</p>)?<div class="chart"><div id="chart-{name}">', page
        )
    assert not {"chart-time", "chart-paths", "chart-reach", "chart-far"} & set(specs(document.page(relu6())))


def test_the_line_chart_draws_decades_with_a_gap_where_nothing_arrives() -> None:
    rows = along_time.measured(broken())
    spec = charts.spec(along_charts.lines([row for row in rows if row.path in ("cut", "nan")]).chart)
    points = spec["datasets"][spec["layer"][-1]["data"]["name"]]
    assert [p["decades"] for p in points if p["layer"] == "cut"][:3] == [0.0, -0.5, None]


@pytest.mark.parametrize("name", ALONG)
def test_pages_and_fragments_are_escaped_and_never_say_nan(name: str) -> None:
    for text in (visible(document.page(ALONG[name]())), visible(notebook.fragment(ALONG[name]()))):
        assert "<script>alert" not in text and "\x1b" not in text
        assert not re.search(r"\binf\b|-inf\b|[ (:]nan\b", text)


def test_a_page_of_long_sequences_stays_under_three_megabytes() -> None:
    long = tuple(recurrent(f"r.l{i}", 50.0 + i, 5000) for i in range(12))
    assert len(document.page(flows(time=long, tokens=(reach(tokens=2048, sampled=32),)))) < 3_000_000
