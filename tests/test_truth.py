"""A fast part of the scoreboard: faults found, healthy programs left alone, the truth itself sound."""

import re
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.truth import score
from benchmarks.truth.draw import drawn

import fadeout
from fadeout.rules import confidence

TUNED = [case for half, _, case in drawn() if half == "tuned"]
QUICK = sorted((c for c in TUNED if c.steps <= 200), key=lambda c: c.name)
FAULTS = [c for c in QUICK if c.group == "fault"][::3]
HEALTHY = [c for c in QUICK if c.group == "healthy"][::7]


def exam(case):
    torch.manual_seed(0)
    setup = case.build()
    return fadeout.examine(
        setup.model,
        setup.batches,
        loss=setup.loss,
        optimizer=setup.optimizer,
        train_step=setup.train_step,
        steps=case.steps,
    )


def test_programs_that_training_showed_to_be_sick_are_found():
    """Most of them: a course of training takes another way on every kind of processor."""
    missed = {}
    for case in FAULTS:
        found = exam(case)
        if found.verdict not in case.labels or found.progress == "learns":
            missed[case.name] = found.sentence
    assert len(FAULTS) >= 10
    assert len(missed) <= 0.1 * len(FAULTS), missed


@pytest.mark.parametrize("case", HEALTHY, ids=lambda c: c.name)
def test_a_program_that_training_showed_to_learn_is_left_alone(case):
    assert exam(case).verdict == "flows"


def test_the_draw_has_at_least_as_many_healthy_programs_as_sick_ones_in_either_half():
    for half in ("tuned", "sealed"):
        groups = [case.group for h, _, case in drawn() if h == half]
        assert groups.count("healthy") >= groups.count("fault") > 70 and groups.count("elsewhere") > 25


def test_no_program_of_the_draw_stands_in_both_halves():
    names = [case.name for _, _, case in drawn()]
    assert len(names) == len(set(names)) > 390


@pytest.mark.parametrize(
    ("hits", "total", "words"),
    [
        (0, 64, "0/64 0.00 [0.00, 0.06]"),
        (49, 51, "49/51 0.96 [0.87, 0.99]"),
        (42, 42, "42/42 1.00 [0.92, 1.00]"),
        (0, 0, "-"),
    ],
)
def test_wilsons_interval_is_that_of_the_published_table(hits, total, words):
    assert score.wilson(hits, total) == words


def test_a_place_is_right_at_an_accepted_module_or_inside_one():
    assert score.near(("blocks.1.linear", "head"), ("blocks.1",))
    assert not score.near(("head", "blocks.1"), ("blocks.1",))
    assert not score.near((), ("blocks.1",))


def test_confidence_rests_on_the_counts_of_the_published_page():
    page = (Path(__file__).parents[1] / "docs" / "truth.md").read_text()
    rows = re.findall(r"^\| (any|FO\d+) \| (-|\d+/\d+)[^|]*\| (-|\d+/\d+)", page, re.MULTILINE)
    assert len(rows) > 5
    for column, counts in enumerate((confidence.ONE_STEP, confidence.COURSE), start=1):
        published = {row[0]: tuple(map(int, row[column].split("/"))) for row in rows if row[column] != "-"}
        assert published == counts
