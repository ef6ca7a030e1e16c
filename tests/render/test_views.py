"""Views: every number comes from the records, and folding hides nothing."""

import math
from dataclasses import replace

import pytest
from exams import EXAMS, chain, deep1000, exam, layer, sigmoid20, unseen
from hypothesis import given
from hypothesis import strategies as st

from fadeout.render import fold, sentences, views, words


@pytest.mark.parametrize("name", EXAMS)
def test_levels_are_the_logs_of_the_layers_own_norms(name: str) -> None:
    made = EXAMS[name]()
    points = views.depth(made).points
    assert [point.index for point in points] == [i + 1 for i in range(len(made.layers))]
    for point, la in zip(points, made.layers, strict=True):
        if la.gradient_norm > 0:
            assert point.level == math.log10(la.gradient_norm)
        elif la.gradient_norm == 0:
            assert point.level == -math.inf


@pytest.mark.parametrize("name", EXAMS)
def test_kinds_and_operations_carry_the_trunks_sums(name: str) -> None:
    made = EXAMS[name]()
    assert {row.kind: row.decades for row in views.kinds(made)} == pytest.approx(
        dict(made.ledger.trunk.by_kind if made.ledger.trunk.entries else made.ledger.by_kind), nan_ok=True
    )
    rows = views.operations(made)
    assert sum(row.count for row in rows) == len(made.ledger.trunk.entries)
    gains = [e.log_gain for e in made.ledger.trunk.entries]
    if all(math.isfinite(gain) for gain in gains):
        assert math.fsum(row.decades for row in rows) == pytest.approx(math.fsum(gains))


def test_parts_of_what_is_lost_add_to_one() -> None:
    parts = [row.part for row in views.kinds(sigmoid20()) if row.decades < 0 and row.kind != "loss"]
    assert math.fsum(parts) == pytest.approx(1)


def test_the_stages_asked_for_are_the_largest_in_order() -> None:
    made = deep1000()
    rows = views.stages(made, most=7)
    assert [row.number for row in rows] == sorted(row.number for row in rows)
    smallest = min(abs(row.stage.log_gain) for row in rows)
    others = [s for i, s in enumerate(made.ledger.stages) if i + 1 not in {row.number for row in rows}]
    assert all(abs(stage.log_gain) <= smallest for stage in others)


def test_zeros_just_under_the_floor_are_called_unseen_and_not_severed() -> None:
    states = [point.state for point in views.depth(unseen()).points]
    assert states == ["unseen", "unseen", "measured", "measured", "measured", "measured"]


def test_the_forecast_stands_in_the_units_of_the_profile() -> None:
    for point in views.depth(sigmoid20()).points:
        assert point.forecast == pytest.approx(point.level, abs=1e-9)
        assert point.forecast_band is not None
        assert point.forecast_band[0] <= point.level + 1e-9


level = st.one_of(st.floats(-40, 5), st.just(-math.inf), st.just(math.nan))


@given(st.lists(level, min_size=1, max_size=300))
def test_rows_cover_every_layer_once_and_bound_every_level(levels: list[float]) -> None:
    base = exam([layer("a", -1.0)], [], [])
    layers = tuple(layer(f"net.{i}", value) for i, value in enumerate(levels))
    depth = views.depth(replace(base, layers=layers))
    rows = fold.fold(depth)
    covered = [i for row in rows for i in range(row.first, row.last + 1)]
    assert covered == list(range(1, len(levels) + 1))
    for row in rows:
        for point in depth.points[row.first - 1 : row.last]:
            assert point.state == row.state
            if point.state == "measured":
                assert row.low <= point.level <= row.high


@given(st.integers(41, 400), st.floats(-1, 1), st.floats(3, 20), st.data())
def test_a_single_layer_that_is_off_always_stands_alone(n: int, step: float, jump: float, data: st.DataObject) -> None:
    where = data.draw(st.integers(1, n - 2))
    levels = [step * i * 0.1 for i in range(n)]
    levels[where] -= jump
    layers, entries, stages = chain(levels, "relu", -0.1, 0.1)
    rows = fold.fold(views.depth(exam(layers, entries, stages)))
    assert [row.layers for row in rows if row.first <= where + 1 <= row.last] == [1]
    assert len(rows) <= 24


def test_a_sentence_names_the_layers_that_do_not_train() -> None:
    assert sentences.effective_depth(sigmoid20()) == (
        "21 layers on paper, none in practice: layers 1-4 still see the input but do not move, "
        "layers 5-11 do neither, layers 12-21 move but no longer see the input."
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (-12.21, "-12.2"),
        (9.4, "+9.4"),
        (-0.853, "-0.85"),
        (0.001, "0"),
        (-math.inf, "no gradient"),
        (math.nan, "n/a"),
        (-0.997, "-1.0"),
        (0.01, "+0.01"),
    ],
)
def test_decades_read(value: float, said: str) -> None:
    assert words.decades(value) == said


def test_other_numbers_read() -> None:
    assert words.level(-45.0, floor=-37.9) == "< 1e-38"
    assert words.level(-0.01) == "0.0"
    assert [words.share(v) for v in (0.71, 0.004, 0.0, -0.2, math.nan)] == [
        "71 %",
        "< 1 %",
        "0 %",
        "-20 %",
        "n/a",
    ]
    assert [words.number(v) for v in (0.2451, 1e-5, 12345.6, 0.0)] == ["0.245", "1e-05", "12,346", "0"]
    assert words.layers([1, 2, 3, 4, 12, 13]) == "layers 1-4 and 12-13"
    assert words.layers([5]) == "layer 5"
    assert words.layers([1, 3, 5, 7, 9]) == "5 layers"
    assert words.count(1000, "layer") == "1,000 layers"
    assert words.plain("a\x1b[31m\nb") == "a?[31m?b"
    assert words.shorten("encoder.layers.3.fc", 10) == "…yers.3.fc"
