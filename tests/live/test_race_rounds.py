"""Rounds: which optimizers train together, and the loss of each of their steps."""

import random

import pytest

from fadeout.live.racing.rounds import fewest, losses_by_group, rounds_of, together

SEEDS = range(30)


def script(draw, groups, length):
    """Losses and marks of a script: in every round some optimizers of one group step; the group's first always does."""
    losses, marks = [], []
    for _ in range(length):
        group = draw.choice(groups)
        losses += [draw.random() for _ in range(draw.randint(1, 3))]
        here = [group[0], *draw.sample(group[1:], draw.randint(0, len(group) - 1))]
        draw.shuffle(here)
        marks += [(optimizer, len(losses)) for optimizer in here]
    return losses, marks


@pytest.mark.parametrize("seed", SEEDS)
def test_optimizers_of_one_network_give_one_loss_a_round_in_whatever_order_and_however_seldom_they_step(seed):
    draw = random.Random(seed)
    losses, marks = script(draw, [list(range(draw.randint(1, 4)))], 20)
    (series,) = losses_by_group(losses, marks)
    ends = sorted({until for _, until in marks})
    assert series == tuple(sum(losses[a:b]) for a, b in zip([0, *ends], ends, strict=False))
    assert fewest(marks) == len(series) == len(rounds_of(marks)) == 20


@pytest.mark.parametrize("seed", SEEDS)
def test_groups_that_never_share_a_round_stay_apart_and_no_loss_is_lost(seed):
    draw = random.Random(seed)
    losses, marks = script(draw, [[0, 1], [2], [3, 4, 5]], 40)
    found = losses_by_group(losses, marks)
    seen = {optimizer for optimizer, _ in marks}
    assert len(found) == len({0 if o < 2 else 1 if o == 2 else 2 for o in seen}) == len(together(marks))
    assert sum(map(sum, found)) == pytest.approx(sum(losses))
    assert set().union(*together(marks)) == seen and fewest(marks) == min(map(len, found))


def test_groups_are_joined_by_an_optimizer_that_steps_with_both():
    marks = [(0, 1), (1, 2), (2, 3), (1, 3), (2, 4), (0, 4)]
    assert together(marks) == [frozenset({0, 1, 2})]


def test_a_step_that_a_loss_scaler_left_out_has_a_loss_of_its_own():
    assert losses_by_group((1.0, 2.0, 4.0), ((0, 1), (0, 2), (0, 3))) == ((1.0, 2.0, 4.0),)


def test_without_a_mark_there_is_nothing():
    assert losses_by_group((1.0,), ()) == () and fewest(()) == 0 and together(()) == []
