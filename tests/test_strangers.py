"""The strangers: their records hold together, and their halves share no program."""

import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.strangers import Truth, cases, truths
from benchmarks.strangers.ground import drawn
from benchmarks.truth.case import Case
from benchmarks.truth.draw import spell_out

LABELS = {"flows", "vanishing", "exploding", "dead", "saturated", "bad_init", "severed", "not_finite"}
CAUSES = {"weight", "slope", "norm", "skip", "mix", "loss", "other", "gates", "truncation"}
SPOILT = [case for case in cases() if case.group != "healthy"]


def test_names_are_unique_and_every_case_has_its_truth() -> None:
    names = [case.name for case in cases()]
    assert len(names) == len(set(names))
    assert set(names) == set(truths())


def test_no_program_is_in_both_halves() -> None:
    halves: dict[str, set[str]] = defaultdict(set)
    for half, _, case in drawn():
        halves[case.program].add(half)
    assert all(len(found) == 1 for found in halves.values())


def test_labels_and_causes_are_of_the_vocabulary() -> None:
    for case in cases():
        assert set(case.labels) <= LABELS, case.name
        assert set(case.causes) <= CAUSES, case.name
        assert (case.labels == ("flows",)) == (case.group != "fault"), case.name


def test_what_is_spoilt_says_what_cures_it() -> None:
    told = truths()
    for case in SPOILT:
        truth = told[case.name]
        assert truth.cure.endswith("."), case.name
        assert truth.cures is not None, case.name
    assert all(told[case.name].cures is None for case in cases() if case.group == "healthy")


@pytest.mark.slow
def test_accepted_places_are_modules_of_the_sick_model() -> None:
    for case in SPOILT:
        if case.where:
            names = {name for name, _ in case.build().model.named_modules()}
            assert set(spell_out(case).where) <= names, case.name


@pytest.mark.slow
@pytest.mark.parametrize("case", SPOILT[::9], ids=lambda case: case.name)
def test_a_cure_gives_the_twin(case: Case) -> None:
    truth: Truth = truths()[case.name]
    assert truth.cures is not None
    assert case.twin is not None
    cured, twin = truth.cures(case.build()).model.state_dict(), case.twin().model.state_dict()
    assert cured.keys() == twin.keys()
    assert all(torch.equal(value, twin[name]) for name, value in cured.items())
