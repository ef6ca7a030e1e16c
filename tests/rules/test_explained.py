"""Alarms that another cause explains, parts that get nothing in a network that learns little, factors in the code."""

import math
from dataclasses import replace

import pytest

from fadeout.records import Edge, Gap, Trunk
from fadeout.rules import diagnose
from fadeout.rules.factors import before, main_factor
from rules.readings import course, layer, ledger, reading

HALF = [0.0, 0.05, 0.1, 0.2, 0.4]
WELL = [0.0, 0.2, 0.5, 0.8, 0.9]
STUCK = [0.0, 0.0, 0.01, 0.0, 0.02]


def said(found, code):
    return next((f.level for f in diagnose(found) if f.code == code), None)


def entry(op, gain, kind="other", line="net.py:7", path="net"):
    return Edge(kind=kind, op=op, path=path, line=line, log_gain=gain)


def through(*entries, decades=-8.0):
    """A reading whose trunk is made of these entries, the loss's side first."""
    gains = {kind: math.fsum(e.log_gain for e in entries if e.kind == kind) for kind in {e.kind for e in entries}}
    trunk = Trunk(log_gain=decades, entries=tuple(entries), by_kind=tuple(gains.items()))
    return reading(decades, ledger=ledger(decades, trunk=trunk))


@pytest.mark.parametrize(("travelled", "level"), [(1e-5, "warning"), (0.1, "alarm")])
def test_a_part_that_starts_at_zero_is_not_blamed_for_steps_that_move_nothing(travelled, level):
    """One step says nothing of a fade behind a zero start; nor do a hundred that leave everything where it was."""
    start = reading(-math.inf, zero_weights=("c.weight",))
    later = [reading(-6.0, zero_weights=("c.weight",))] * 4
    assert said(course([start, *later], STUCK, travelled=travelled, steps=200), "FO101") == level


def test_what_stale_gradients_drive_apart_is_a_warning():
    probes = [reading()] * 3 + [reading(9.0)] * 2
    grown = (1.0,) * 10 + (600.0,) * 10
    assert said(course(probes, STUCK, losses=grown), "FO102") == "alarm"
    assert said(course(probes, STUCK, stale=True, losses=grown), "FO102") == "warning"


def test_a_fade_to_layers_that_nobody_trains_counts_where_something_moves():
    frozen = reading(-8.0, layers=tuple(layer(name, trained=False, update_ratio=math.nan) for name in "abc"))
    assert said(frozen, "FO101") == "alarm"  # what a prompt in front of them gets
    assert said(course([frozen] * 5, STUCK, travelled=0.1), "FO101") == "alarm"
    assert said(course([frozen] * 5, STUCK, travelled=0.0), "FO101") is None


def test_where_all_rows_are_alike_dead_on_every_row_says_nothing():
    half = tuple(layer(name, activation="relu", dead=0.7, saturated=math.nan) for name in "abc")
    blind = reading(layers=half, depth=replace(reading().depth, seen=()))
    assert said(course([reading(layers=half)] * 5, STUCK), "FO105") == "alarm"
    assert said(course([blind] * 5, STUCK), "FO105") is None


@pytest.mark.parametrize(("learned", "level"), [(WELL, "warning"), (HALF, "alarm"), (STUCK, "alarm")])
def test_a_part_cut_off_by_a_named_operation_hinders(learned, level):
    gap = Gap(path="a", op="detach", line="net.py:3", layers=("a",))
    cut = reading(detached=("b",), gaps=(replace(gap, layers=("b",)),))
    assert said(course([cut] * 5, learned, steps=200), "FO103") == level


def test_a_gradient_that_explodes_is_no_success_while_the_loss_is_absurd():
    grown = [reading(19.0, loss=1e18)] * 5
    assert said(course(grown, WELL), "FO102") == "alarm"
    assert said(course([reading(19.0, loss=0.5)] * 5, WELL), "FO102") == "warning"


@pytest.mark.parametrize("op", ["softmax", "exp", "sigmoid"])
def test_what_is_flat_to_the_last_bit_is_saturated(op):
    found = diagnose(course([through(entry(op, -math.inf, kind="mix"), decades=-math.inf)] * 5, STUCK))[0]
    assert (found.code, found.label, found.where[0]) == ("FO106", "saturated", "net")
    other = diagnose(course([through(entry("floor", -math.inf, kind="other"), decades=-math.inf)] * 5, STUCK))[0]
    assert (other.code, other.label) == ("FO103", "severed")


def test_a_break_at_once_leads_what_stood_at_the_start():
    flat = tuple(layer(name, saturated=1.0, mean_slope=0.001) for name in "abc")
    broken = replace(reading(layers=flat, loss=math.nan), step=1)
    for at, first in ((1, "FO104"), (40, "FO106")):
        probes = [reading(layers=flat)] * 4 + [broken]
        found = course(probes, STUCK, broken=at, losses=(1.0,) * (at - 1) + (math.nan,))
        assert next(f.code for f in diagnose(found) if f.level == "alarm") == first, at


def test_the_factor_that_takes_most_is_named_by_its_line():
    stack = [entry("linear", -0.1, kind="weight", line="net.py:9"), entry("mul", -1.0)] * 8
    assert main_factor(through(*stack), sign=-1) == "mul at net.py:7 multiplies the gradient by 0.1, 8 times"
    assert diagnose(through(*stack))[0].advice[0].words.startswith("a factor near 1: mul at net.py:7")
    sigmoids = [entry("sigmoid", -0.7, kind="slope"), entry("mul", -0.05)] * 12
    assert main_factor(through(*sigmoids), sign=-1) == ""
    assert main_factor(through(*[entry("mul", 1.0)] * 6, decades=6.0), sign=1).endswith("by 10, 6 times")


def test_a_parameter_that_multiplies_is_a_factor_and_a_matrix_is_none():
    assert "mul at net.py:7" in main_factor(through(*[entry("mul", -1.0, kind="weight")] * 4), sign=-1)
    assert main_factor(through(*[entry("linear", -1.0, kind="weight")] * 4), sign=-1) == ""


def test_what_makes_the_input_of_an_activation_large_is_named():
    steep = through(entry("tanh", -2.0, kind="slope"), entry("mul", 2.3))
    assert before(steep, "tanh") == "mul at net.py:7 multiplies what enters tanh by about 2e+02"
    assert before(steep, "sigmoid") == ""
    assert before(through(entry("tanh", -2.0, kind="slope"), entry("linear", 2.3, kind="weight")), "tanh") == ""


@pytest.mark.parametrize(
    ("sizes", "learned", "level"),
    [((0.0,), HALF, "alarm"), ((0.0,), STUCK, "alarm"), ((0.0,), WELL, None), ((0.0, 1.0), HALF, None)],
)
def test_embeddings_that_all_start_as_zeros_are_a_bad_start(sizes, learned, level):
    tables = tuple(layer(f"e{i}", kind="Embedding", weight_rms=size) for i, size in enumerate(sizes))
    start = reading(layers=(*tables, layer("a"), layer("b")))
    assert said(course([start] * 5, learned, steps=200), "FO107") == level


@pytest.mark.parametrize(("decades", "plain", "normed"), [(-3.3, "alarm", "warning"), (-4.5, "alarm", "alarm")])
def test_one_step_does_not_judge_a_mild_change_in_a_network_with_norms(decades, plain, normed):
    for sign, code in ((1, "FO101"), (-1, "FO102")):
        size = sign * decades
        stack = through(entry("linear", size, kind="weight"), decades=size)
        norm = through(entry("layer_norm", 0.1, kind="norm"), entry("linear", size, kind="weight"), decades=size)
        assert said(replace(stack, optimizer=""), code) == plain
        assert said(replace(norm, optimizer=""), code) == normed
