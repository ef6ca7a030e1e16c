"""Rules on hand-made readings: levels, persistence, precedence, abstention."""

import math
from dataclasses import replace

import pytest

from fadeout.records import Chain, Origin, Signal, TimeProfile
from fadeout.rules import LIMITS, Limits, diagnose, progress, sentence, verdict
from fadeout.rules.persistence import all_along, learning, settled, stands
from rules.readings import course, layer, reading

STUCK = [0.0, 0.0, 0.01, 0.0, 0.02]
SLOW = [0.0, 0.02, 0.05, 0.1, 0.2]
WELL = [0.0, 0.2, 0.4, 0.6, 0.8]


def codes(found, level="alarm"):
    return [f.code for f in diagnose(found) if f.level == level]


def judged(found):
    findings = diagnose(found)
    return verdict(found, findings), progress(found, findings)


def dead(share, path="b"):
    return tuple(layer(n, activation="relu", dead=share if n == path else 0.0, saturated=math.nan) for n in "abc")


def flat(share, path="b"):
    return tuple(layer(n, saturated=share if n == path else 0.1) for n in "abc")


@pytest.mark.parametrize(
    ("flags", "there"),
    [
        ([True], True),
        ([False, False, False, True, True], True),  # it collapsed in the course of training, and stays
        ([False, False, True, False, True], True),
        ([False, False, False, False, True], False),  # one probe says little
        ([True, True, True, False, False], False),  # it was overcome
        ([True, True, True, True, False], True),  # a single probe just inside a bound acquits nobody
    ],
)
def test_a_sign_that_came_late_and_stayed_counts(flags, there):
    assert settled(flags) is there


@pytest.mark.parametrize(
    ("flags", "last", "along"),
    [
        ([True], True, True),
        ([False, False, True], True, False),
        ([True, True, True, False], True, False),  # three of four
        ([True, False, False, False], False, False),  # came and went
        ([True, True, True, True, True], True, True),
        ([True, False, True, True, True], True, True),
        ([False, True, True, True, True], True, True),  # one probe beside a bound acquits nobody
        ([False, False, True, True, True], True, False),  # three of five
    ],
)
def test_a_sign_that_came_and_went_does_not_count(flags, last, along):
    assert (stands(flags), all_along(flags)) == (last, along)


def test_a_healthy_reading_and_a_healthy_course_are_met_with_silence():
    assert diagnose(reading()) == ()
    found = course([reading()] * 5, WELL)
    assert diagnose(found) == () and judged(found) == ("flows", "learns")


@pytest.mark.parametrize(
    ("learned", "word"), [(STUCK, "does_not_learn"), (SLOW, "learns"), (WELL, "learns"), ([math.nan] * 5, "unknown")]
)
def test_progress_alone_is_never_an_alarm_and_never_an_acquittal(learned, word):
    assert judged(course([reading()] * 5, learned)) == ("flows", word)
    sick = course([reading(-8.0)] * 5, learned)
    assert any(f.code == "FO101" for f in diagnose(sick))


def test_a_fade_alarms_where_nothing_is_learned_and_handicaps_where_something_is():
    assert judged(course([reading(-8.0)] * 5, STUCK)) == ("vanishing", "does_not_learn")
    assert judged(course([reading(-8.0)] * 5, WELL)) == ("flows", "handicapped")
    assert codes(course([reading(-8.0)] * 5, WELL), "warning") == ["FO101"]


def test_a_fade_of_the_first_steps_that_training_mends_is_no_finding():
    mended = [reading(-3.5), reading(-3.2), reading(-2.0), reading(-1.0), reading(-0.5)]
    assert codes(course(mended, WELL)) == [] and codes(course(mended, STUCK)) == []


def test_an_extreme_fade_at_step_0_counts_without_persistence_where_nothing_is_learned():
    gone = [reading(-9.0), *[reading(-1.0)] * 4]
    assert codes(course(gone, STUCK)) == ["FO101"]
    assert codes(course(gone, SLOW)) == []


@pytest.mark.parametrize(("share", "found"), [(1.0, ["FO105"]), (0.95, []), (0.5, [])])
def test_in_one_step_only_a_layer_that_is_all_dead_alarms(share, found):
    assert codes(reading(layers=dead(share))) == found


def test_a_dead_layer_beside_a_way_around_is_a_handicap_in_one_step():
    assert codes(reading(layers=dead(1.0), bypassed=frozenset({"b"})), "warning") == ["FO105"]


def test_dead_units_alarm_by_persistence_and_where_a_whole_part_is_dead_although_it_learns():
    assert codes(course([reading(layers=dead(0.95))] * 5, STUCK)) == ["FO105"]
    assert codes(course([reading(layers=dead(0.95))] * 5, WELL)) == []
    assert codes(course([reading(layers=dead(1.0))] * 5, WELL)) == ["FO105"]
    came_and_went = [reading(layers=dead(v)) for v in (0.0, 1.0, 0.2, 0.1, 0.0)]
    assert codes(course(came_and_went, STUCK)) == []


def test_saturation_that_came_with_the_learning_is_not_blamed():
    late = [reading(layers=flat(v)) for v in (0.1, 0.1, 0.2, 0.6, 0.9)]
    assert codes(course(late, SLOW)) == [] and codes(course(late, WELL)) == []
    assert codes(course(late, STUCK)) == ["FO106"]
    assert codes(course([reading(layers=flat(0.9))] * 5, SLOW)) == ["FO106"]


def test_one_class_a_batch_drives_any_network_out_and_is_no_saturation():
    late = [reading(layers=flat(v)) for v in (0.1, 0.1, 0.2, 0.6, 0.9)]
    assert codes(course(late, STUCK, one_class=True)) == []


def test_units_that_stay_alike_are_a_bad_initialisation_even_with_partial_progress():
    alike = reading(equal_units=("a", "b"))
    assert codes(course([alike] * 5, SLOW)) == ["FO107"]
    broken_up = [alike, *[reading()] * 4]  # LoRA, a zero head: left with the first step
    assert codes(course(broken_up, WELL)) == [] and codes(course(broken_up, SLOW)) == []


def test_an_output_tens_of_times_too_large_is_a_bad_initialisation_only_where_nothing_is_learned():
    loud = replace(reading().signal, output=100.0)
    assert codes(course([reading(signal=loud)] * 5, STUCK)) == ["FO107"]
    assert codes(course([reading(signal=loud)] * 5, WELL)) == []
    assert codes(course([reading(signal=replace(loud, input=200.0))] * 5, STUCK)) == []  # the data's doing


def test_rules_that_lack_evidence_abstain():
    unknown = Signal(input=math.nan, output=math.nan, target=math.nan, output_op="", loss_ops=())
    assert diagnose(reading(math.nan, signal=unknown)) == ()
    assert verdict(reading(math.nan), ()) == "undetermined"
    assert diagnose(reading(signal=None, layers=tuple(layer(n, update_ratio=math.nan) for n in "abc"))) == ()


@pytest.mark.parametrize(
    ("losses", "values", "found"),
    [
        ((1.0,) * 4 + (9.0,) * 16, {}, ["FO102"]),
        ((1.0,) * 20, {}, []),
        ((1.0,) * 20, {"growth": 100.0}, ["FO102"]),
        ((-1.0,) * 4 + (9.0,) * 16, {}, []),  # a likelihood: ratios mean nothing
        ((1.0,) * 4 + (9.0,) * 16, {"backwards": 2}, []),  # two losses: neither do they
        ((1.0, 4.0, 60.0, math.inf, math.inf), {"broken": 4}, ["FO102"]),
    ],
)
def test_training_that_blows_up_is_told_by_losses_of_one_kind_only(losses, values, found):
    assert codes(course([reading()] * 5, STUCK, losses=losses, **values)) == found


def test_training_that_stops_being_finite_out_of_calm_is_not_finite_and_no_explosion():
    calm = course([reading()] * 5, STUCK, losses=(1.0,) * 9 + (math.nan,) * 3, broken=10)
    assert codes(calm) == ["FO104"] and diagnose(calm)[0].since == 10


def test_what_is_not_finite_comes_before_everything_else():
    origin = Origin(path="b", op="log", line="net.py:7", where="forward")
    found = reading(-9.0, origin=origin, loss=math.nan)
    assert verdict(found, diagnose(found)) == "not_finite" and diagnose(found)[0].line == "net.py:7"


def test_a_side_branch_that_receives_nothing_counts_from_the_last_layer_on():
    chain = Chain(layers=("x", "y", "z"), fade=-0.2, lowest="x", below=-6.0, around=True)
    assert codes(course([reading(chains=(chain,))] * 5, STUCK)) == ["FO101"]
    on_the_way = replace(chain, around=False)
    assert codes(course([reading(chains=(on_the_way,))] * 5, STUCK)) == []


def along_time(early, gates):
    return TimeProfile(
        path="rnn.l0", horizon=3.0, steps=40, log_gain=(0.0,), paths=(), gates=gates, source="loss",
        gate_horizon=None, cause="recurrent weight", early=early,
    )  # fmt: skip


def test_a_fade_along_time_alarms_for_a_plain_layer_and_waits_for_a_plateau_of_a_gated_one():
    plain = reading(time=(along_time(-8.0, (("state", math.nan, 0.9),)),))
    gated = reading(time=(along_time(-8.0, (("forget", 0.5, 0.2), ("input", 0.5, 0.2))),))
    assert codes(course([plain] * 5, STUCK)) == ["FO108"] and codes(course([plain] * 5, WELL)) == []
    assert codes(course([gated] * 5, STUCK)) == [] and codes(course([gated] * 5, STUCK), "warning") == ["FO108"]
    assert codes(course([gated] * 8, [0.0] * 8)) == ["FO108"]
    assert codes(plain, "warning") == ["FO108"] and codes(gated, "note") == ["FO108"]


def test_of_several_recurrences_the_one_that_fades_counts_unless_another_carries_the_same_time():
    state = (("state", math.nan, 0.9),)
    fades, carries = along_time(-8.0, state), along_time(-0.1, state)
    stack = reading(time=(fades, replace(carries, path="rnn.l1")))
    apart = reading(time=(fades, replace(carries, path="decoder", steps=12)))
    assert codes(course([stack] * 5, STUCK)) == [] and codes(course([apart] * 5, STUCK)) == ["FO108"]


def test_a_fixed_decay_is_no_gate_and_its_line_is_named():
    row = replace(along_time(-8.0, (("decay", 0.8, math.nan),)), cause="decay", line="net.py:12")
    (found,) = (f for f in diagnose(course([reading(time=(row,))] * 5, STUCK)) if f.code == "FO108")
    assert (found.level, found.line) == ("alarm", "net.py:12") and any("decay" in help for help in found.helps)


def test_signs_that_contradict_each_other_leave_the_verdict_open():
    turned = [reading(-8.0), reading(-8.0), reading(5.0), reading(5.0), reading(5.0)]
    found = course(turned, STUCK)
    findings = diagnose(found)
    assert {f.code for f in findings if f.level == "alarm"} == {"FO101", "FO102"}
    assert verdict(found, findings) == "undetermined"
    assert "contradict" in sentence(found, "undetermined", findings)


def test_every_limit_can_be_set():
    assert diagnose(reading(-2.5), limits=Limits(vanishing=-2.0, surely=-2.2))[0].code == "FO101"
    assert diagnose(reading(-3.5, optimizer=""), limits=Limits(vanishing=-5.0)) == ()
    assert Limits() == LIMITS


def test_rules_can_be_added():
    from fadeout.rules import RULES

    def mine(found, limits):
        return replace(diagnose(reading(-9.0))[0], code="X1", level="alarm")

    assert diagnose(reading(), rules=(*RULES, mine))[0].code == "X1"


def test_learning_is_judged_against_the_constant_not_the_first_loss():
    """A huge first loss that falls to the constant's has learned nothing."""
    probes = [replace(reading(), loss=v) for v in (1e5, 1e3, 50.0, 1.2, 1.0)]
    assert learning(course(probes, [-1e5, -1e3, -49.0, -0.2, 0.0], constant=0.99), LIMITS) == "not"
