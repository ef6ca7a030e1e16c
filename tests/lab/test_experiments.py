"""Every experiment: well formed, able to run at its smallest, able to fail, and noticing broken instruments."""

import math

import pytest

from fadeout.lab import EXPERIMENTS, running
from fadeout.lab.experiment import SIZES
from fadeout.lab.results import to_dict
from fadeout.render.lab.book import CHAPTERS, book

ORDER = (
    "product frozen depth handmade activation initialisation batchnorm residual recurrent attention precision "
    "optimizers today"
).split()

# expectations that a measurement without training refutes, as the experiments' lessons say
KNOWN = {("optimizers", 0)}  # Muon moves the first layer further than the last, not as far


def test_the_story_is_complete_and_in_the_readers_order():
    assert [experiment.name for experiment in EXPERIMENTS] == ORDER
    chapters = [experiment.chapter for experiment in EXPERIMENTS]
    assert list(dict.fromkeys(chapters)) == list(CHAPTERS)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_an_experiment_is_well_formed(experiment):
    assert experiment.claim.endswith(".") and experiment.story and experiment.lesson and experiment.source
    assert experiment.figures and len(experiment.expectations) >= 2
    assert all(e.says.endswith(".") for e in experiment.expectations)
    for size in SIZES:
        tasks = experiment.tasks(size)
        keys = [running._key(task) for task in tasks]
        assert tasks and len(keys) == len(set(keys)), f"two tasks of {experiment.name} are the same at {size}"
        assert {task.experiment for task in tasks} == {experiment.name} and {task.size for task in tasks} == {size}
        assert experiment.setting[size] and experiment.seconds[size] > 0
    assert len({task.seed for task in experiment.tasks("quick")}) >= 3


def test_the_whole_lab_fits_twenty_minutes_on_two_cores():
    assert sum(experiment.seconds["quick"] for experiment in EXPERIMENTS) <= 2 * 20 * 60


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    return running.run(size="smoke", engine="here", folder=tmp_path_factory.mktemp("lab"))


def test_every_experiment_runs_at_its_smallest(smoke):
    assert [(r.name, r.why) for r in smoke if r.status != "done"] == []
    missed = {
        (report.name, number): outcome.measured
        for report in smoke
        for number, outcome in enumerate(report.outcomes)
        if outcome.held is False
    }
    assert missed.keys() <= KNOWN, missed


def test_every_figure_of_the_book_can_be_drawn(smoke):
    page = book(smoke)
    assert all(f'id="{report.name}"' in page for report in smoke)
    assert to_dict(smoke)["schema"] == "fadeout.lab/1"


def test_rows_are_numbers(smoke):
    for report in smoke:
        for row in report.table.rows:
            assert isinstance(row.value, float) and not math.isnan(row.value), f"{report.name}: {row}"
