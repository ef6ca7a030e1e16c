"""What is said of a race besides its table."""

import pytest

from fadeout.records import Arm, Difference, Trial, interval
from fadeout.render.race.said import besides


def arm(treatment, role, skill):
    return Arm(
        treatment=treatment, title=treatment, role=role, state="done", why="", steps=10, skill=interval([skill]),
        loss=interval([1.0]), decades=-1.0, effective_depth=3.0, seconds=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("drawn", "planned", "winner", "said"),
    [
        ("a", ("b",), "a", "The winner was drawn at random, not chosen by the plan."),
        ("a", ("a", "b"), "a", ""),
        ("a", ("b",), "b", "A treatment drawn at random reaches 0.00."),
        ("a", ("a", "b"), "b", "A treatment drawn at random reaches 0.00, and the plan chose the same one."),
    ],
)
def test_a_treatment_counts_as_chance_only_where_the_plan_did_not_choose_it_as_well(drawn, planned, winner, said):
    arms = (arm("none", "control", 0.0), arm(drawn, "random", -0.001), *(arm(p, "planned", 0.5) for p in planned))
    trial = Trial(
        case="", seeds=(0,), steps=10, arms=arms, winner=winner,
        over_control=Difference(difference=0.5, low=0.5, high=0.5),
    )  # fmt: skip
    assert [line for line in besides(trial) if "random" in line] == ([said] if said else [])
