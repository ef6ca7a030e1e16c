"""Skill from a script's own losses and metrics, and treatments as JSON."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from fadeout.live.racing.heats import metric_in
from fadeout.live.racing.order import Order, Report, report_from, report_text
from fadeout.live.racing.scale import Scale, Series, losses_of, metric_of
from fadeout.live.racing.spelling import read, spelled
from fadeout.live.racing.standard import Answers
from fadeout.live.racing.start import Ran
from fadeout.treatments import TREATMENTS, Bundle

REPORT = Report(
    end="stopped", rank=0, script="train.py", argv=(), steps=(2,), losses=(), marks=(), random=(), inputs=(1, 2)
)


def test_losses_of_accumulated_backward_passes_are_summed_until_the_step():
    report = replace(REPORT, losses=(1.0, 2.0, 3.0, 4.0), marks=((0, 2), (0, 4)))
    assert losses_of(report) == ((3.0, 7.0),)


def test_losses_of_two_optimizers_are_two_series_unless_one_backward_pass_serves_both():
    report = replace(REPORT, losses=(1.0, 2.0, 3.0, 4.0), marks=((0, 1), (1, 2), (0, 3), (1, 4)))
    assert losses_of(report) == ((1.0, 3.0), (2.0, 4.0))
    assert losses_of(replace(report, losses=(1.0, 2.0), marks=((0, 1), (1, 1), (0, 2), (1, 2)))) == ((1.0, 2.0),)


def test_skill_is_0_at_the_constant_and_1_at_a_loss_of_zero():
    scale = Scale(Series(name="loss", values=(2.5, 2.4, 2.3, 2.3)), 2.3)
    assert scale.skill(2.3) == 0 and scale.skill(0.0) == 1 and scale.skill(4.6) == -1
    assert "ignores the input" in scale.said


def test_without_a_constant_skill_begins_where_the_script_does():
    scale = Scale(Series(name="loss", values=(4.0,) * 5 + (2.0,) * 20))
    assert scale.skill(4.0) == 0 and scale.skill(2.0) == 0.5


def test_losses_below_zero_have_a_scale_without_a_floor():
    scale = Scale(Series(name="loss", values=(1.0,) * 5 + (-1.0,) * 20))
    assert scale.skill(-1.0) == pytest.approx(0.5) and 0.5 < scale.skill(-9.0) < 1 and scale.skill(2.0) < 0
    assert math.isnan(scale.skill(math.nan))


@pytest.mark.parametrize(
    ("output", "name", "values", "falls"),
    [
        ("epoch 1 val_loss=0.5\nepoch 2 val_loss=0.25", "val loss", (0.5, 0.25), True),
        ("{'eval_accuracy': 0.75, 'epoch': 1.0}", "eval accuracy", (0.75,), False),
        ("Test set: Average loss: 0.1, Accuracy: 91.5%", "accuracy", (91.5,), False),
    ],
)
def test_common_metrics_are_found_in_what_a_script_prints(output, name, values, falls):
    found = metric_of(output, "")
    assert found is not None and (found.name, found.values, found.falls) == (name, values, falls)


def test_a_pattern_of_the_users_own_takes_its_last_group():
    found = metric_of("return 12.5 after 3\nreturn -1 after 4", r"return (\S+)")
    assert found is not None and found.values == (12.5, -1.0) and not found.falls
    assert metric_of("nothing", r"return (\S+)") is None


@pytest.mark.parametrize(
    "output",
    [
        "epoch 1: val_acc=0.0\nepoch 2: val_acc=0.5",
        "{'val_acc': 0.0}\n{'val_acc': 0.5}",
        "val_acc 0 \nval_acc\t0.5",
    ],
)
def test_the_name_of_a_metric_takes_the_number_that_follows_it(output):
    found = metric_of(output, "val_acc")
    assert found is not None and found.values == (0.0, 0.5) and not found.falls
    assert metric_of("val_acc is not known", "val_acc") is None


def test_a_metric_that_is_printed_comes_before_one_that_is_logged():
    report = replace(REPORT, logged=(("val_acc", 0.25), ("loss", 3.0), ("val_acc", 0.5)))
    assert report_from(report_text(report)).logged == report.logged
    silent = Ran(code=0, reports=(report,), output="nothing", seconds=1.0)
    found = metric_in(silent, "val_acc")
    assert found is not None and found.values == (0.25, 0.5)
    found = metric_in(replace(silent, output="val_acc: 0.75"), "val_acc")
    assert found is not None and found.values == (0.75,)


@pytest.mark.parametrize("treatment", TREATMENTS, ids=lambda t: t.id)
def test_every_treatment_can_be_spelled_and_read(treatment):
    assert read(spelled(treatment)) == treatment
    if isinstance(treatment, Bundle):
        smaller = treatment.without(treatment.members[-1].id)
        assert smaller is not None and read(spelled(smaller)) == smaller


def test_a_report_comes_back_as_it_was_written():
    report = replace(REPORT, losses=(0.1, 1 / 3), marks=((0, 1), (0, 2)))
    back = report_from(report_text(report))
    assert replace(back, constant=0.0) == replace(report, constant=0.0) and math.isnan(back.constant)
    assert "FADEOUT_RACE" in Order(role="scout", folder="x").environment()


def test_the_constant_is_that_of_the_answers_and_of_what_is_sent_backward():
    answers = Answers()
    losses = []
    for n in range(4):
        output, target = torch.randn(8, 4, requires_grad=True), (torch.arange(8) + n) % 4
        answers.see(F.cross_entropy, output, target, {})
        losses.append(F.cross_entropy(output, target).item())
    assert answers.constant(losses) == pytest.approx(math.log(4), abs=1e-4)
    assert answers.constant([v / 2 for v in losses]) == pytest.approx(math.log(4) / 2, abs=1e-4)
    assert math.isnan(answers.constant([v + n for n, v in enumerate(losses)]))
