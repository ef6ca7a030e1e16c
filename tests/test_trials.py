"""A race: a sick program is won by what mends it, a healthy one is left alone, and no arm can end it."""

import functools
import io
import json
import math
import os
import signal
import threading
import time

import jsonschema
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout
import race_cases as rc
from fadeout.racing.ranks import Entrant, best_of, go_on, ranked, wins
from fadeout.racing.statistics import paired
from fadeout.records import Measured, interval, student
from fadeout.store import schema
from fadeout.store.contract import to_dict
from fadeout.trials import InterruptedRace

TOP = {"schema", "case", "seeds", "steps", "arms", "winner", "over_control", "wont_help", "patch", "recipe"}
ARM = {
    "treatment", "title", "role", "state", "why", "skill", "loss", "decades", "effective_depth", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def sick():
    given = rc.case(functools.partial(rc.mlp, depth=12), steps=90)
    return rc.race(given, rc.ReluHe(), rc.Redrawn(), rc.Smaller(), rc.NewOptimizer(), wont=[rc.Kills()])


def test_a_sick_program_is_won_by_relu_and_he(sick):
    assert sick.winner == "relu-he"
    assert sick.arm("relu-he").skill.mean > 0.8 and sick.arm("none").skill.mean < 0.1
    assert sick.over_control.low > 0.5
    assert sick.recipe == ("replace nn.Sigmoid() by nn.ReLU()",)
    assert sick.arm("none").decades < -4 < sick.arm("relu-he").decades


def test_no_treatment_and_the_random_one_run_to_the_end_and_the_others_are_halved(sick):
    assert {arm.role for arm in sick.arms} == {"control", "random", "planned"}
    drawn = next(arm for arm in sick.arms if arm.role == "random")
    assert drawn.treatment != "relu-he"
    assert sick.arm("none").state == "done" and sick.arm("none").steps == 90
    assert drawn.state in ("done", "failed")
    planned = {arm.treatment: arm for arm in sick.arms if arm.role == "planned"}
    assert planned["relu-he"].state == "done"
    others = [arm for arm in planned.values() if arm.treatment not in ("relu-he", drawn.treatment)]
    assert others and all(arm.state == "stopped" and arm.steps in (9, 22) and arm.why for arm in others)


def test_the_json_has_the_keys_of_the_contract_and_survives_the_round_trip(sick, tmp_path):
    data = json.loads(json.dumps(to_dict(sick)))
    assert data["schema"] == "fadeout.trial/1" and data.keys() >= TOP
    assert all(arm.keys() >= ARM for arm in data["arms"])
    assert data["arms"][0]["skill"].keys() == {"mean", "low", "high"} == data["arms"][0]["loss"].keys()
    assert data["over_control"].keys() == {"difference", "low", "high"}
    assert data["wont_help"][0].keys() == {"treatment", "reason", "measured"}
    jsonschema.validate(data, json.loads(schema.TRIAL_FILE.read_text()))
    assert schema.text(fadeout.Trial) == schema.TRIAL_FILE.read_text()
    path = fadeout.save(sick, tmp_path / "trial.json")
    assert fadeout.load(path).to_dict() == sick.to_dict()


def test_a_trial_prints_itself_and_makes_a_page(sick, tmp_path):
    assert "winner 'relu-he'" in repr(sick) and "\n" not in repr(sick)
    text = str(sick)
    assert "WINNER: ReLU with He initialisation." in text and "no treatment" in text
    assert all(len(line) <= 100 for line in text.splitlines())
    page = fadeout.report(sick, tmp_path / "race.html").read_text()
    assert "Learning curves" in page and "https://" not in page
    assert "<table" in sick._repr_html_()


def test_a_healthy_program_is_left_alone():
    trial = rc.race(rc.healthy(steps=120), rc.Smaller(), rc.Redrawn(), rc.Diverges())
    control = trial.arm("none").skill.mean
    assert control > 0.8
    assert trial.winner is None or trial.arm(trial.winner).skill.mean > control + 0.02
    assert trial.arm("smaller-rate").role == "planned" or trial.winner != "smaller-rate"


def test_the_same_race_gives_the_same_trial():
    def once():
        trial = rc.race(rc.case(steps=30), rc.ReluHe(), rc.NewOptimizer(), seeds=(3, 4))
        return [(arm.treatment, arm.role, arm.state, arm.skill, arm.loss, arm.curve) for arm in trial.arms]

    before = torch.get_rng_state()
    first = once()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert repr(once()) == repr(first)


def test_arms_that_raise_diverge_die_or_hang_are_lost_and_the_race_goes_on():
    begun = time.perf_counter()
    trial = rc.race(
        rc.case(steps=60), rc.ReluHe(), rc.Raises(), rc.Diverges(), rc.Kills(), rc.Hangs(), seeds=(0,), limit=1.0
    )
    assert time.perf_counter() - begun < 20
    assert trial.winner == "relu-he"
    why = {arm.treatment: arm.why for arm in trial.arms if arm.state == "failed"}
    assert "no layer to stand behind" in why["raises"]
    assert "not finite" in why["diverges"]
    assert "exactly zero" in why["kills"]
    assert "longer than" in why["hangs"]


def test_a_bundle_is_taken_apart_and_its_needed_parts_are_told():
    trial = rc.race(rc.case(steps=60), rc.Bundle(), rc.Smaller(), seeds=(0, 1))
    assert trial.winner == "bundle"
    assert trial.needed and "optimizer" not in trial.needed
    assert "needed" in str(trial)


def test_a_program_that_is_not_deterministic_has_a_noise_that_a_winner_must_beat():
    calls = iter(range(10**6))

    def skill(model):
        return 0.1 * (next(calls) % 7)

    trial = rc.race(rc.healthy(steps=20, skill=skill), rc.Redrawn(), seeds=(0, 1))
    assert trial.noise > 0.05
    assert not wins((0.55, 0.5), (0.5, 0.5), trial.noise)
    assert "not deterministic" in str(trial)


def test_batches_that_run_dry_are_cycled_and_a_generator_is_read_once():
    given = fadeout.Case(
        rc.mlp, (b for b in rc.batches(3)), F.cross_entropy, functools.partial(torch.optim.Adam, lr=1e-3), steps=20
    )
    assert rc.race(given, rc.ReluHe(), seeds=(0,)).arm("none").steps == 20


def test_a_factory_that_is_not_the_same_twice_is_found_and_told():
    draw = torch.Generator().manual_seed(0)

    def changing():
        model = rc.mlp()
        nn.init.normal_(model[0].weight, generator=draw)
        return model

    with pytest.raises(fadeout.FadeoutError, match=r"different weights each time.*draw them from torch's own"):
        rc.race(rc.case(changing), rc.ReluHe())
    one = rc.mlp()
    with pytest.raises(fadeout.FadeoutError, match="same network"):
        rc.race(rc.case(lambda: one), rc.ReluHe())
    widths = iter((16, 17, 18, 19))
    with pytest.raises(fadeout.FadeoutError, match="different network each time"):
        rc.race(rc.case(lambda: rc.mlp(width=next(widths))), rc.ReluHe())


def test_wrong_calls_say_what_to_do():
    with pytest.raises(fadeout.FadeoutError, match="the plan names 'relu-he'"):
        fadeout.trial(rc.case(), rc.plan(rc.ReluHe()), treatments=[rc.Smaller()])
    with pytest.raises(fadeout.FadeoutError, match="there is no engine 'gpu'"):
        rc.race(rc.case(), rc.ReluHe(), engine="gpu")
    with pytest.raises(TypeError, match="expected a Case"):
        fadeout.trial(rc.mlp(), rc.plan(rc.ReluHe()), treatments=[rc.ReluHe()])
    with pytest.raises(ValueError, match="seeds="):
        rc.race(rc.case(), rc.ReluHe(), seeds=())

    def broken():
        return nn.Sequential(nn.Linear(5, 3))

    with pytest.raises(fadeout.FadeoutError, match="fails without any treatment"):
        rc.race(rc.case(broken), rc.ReluHe())


def test_ctrl_c_keeps_the_arms_so_far():
    seen = []

    def stop(board):
        seen.append(board)
        if board.stage.startswith("the best"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRace) as caught:
        rc.race(rc.case(steps=60), rc.ReluHe(), rc.Smaller(), seeds=(0,), progress=stop)
    trial = caught.value.trial
    assert not trial.complete and trial.winner is None
    assert trial.arm("relu-he").steps >= 6 and trial.arm("none").skill.mean < 0.2
    assert "INTERRUPTED" in str(trial)
    assert threading.active_count() < 20


def test_the_boards_say_who_leads_and_how_long_is_left():
    boards = []
    rc.race(rc.case(steps=60), rc.ReluHe(), rc.Smaller(), seeds=(0,), progress=boards.append)
    assert boards[0].done == 0 and math.isnan(boards[0].left)
    assert all(math.isfinite(board.left) for board in boards[2:])
    assert boards[-1].done <= boards[-1].total
    from rich.console import Console

    from fadeout.render.race.live import RaceDisplay, drawn

    shown = io.StringIO()
    Console(width=90, file=shown).print(drawn(boards[-1], 90))
    assert "leads" in shown.getvalue()
    with RaceDisplay(Console(file=shown, force_terminal=False)) as display:
        display.update(boards[3])
    said = shown.getvalue()
    assert "race: " in said and ("left" in said or "nearly done" in said)
    moving = io.StringIO()
    with RaceDisplay(Console(file=moving, force_terminal=True, width=90)) as display:
        display.update(boards[-1])
        time.sleep(0.4)
    assert "leads" in moving.getvalue()


def test_a_training_step_of_ones_own_counts_for_every_arm_by_itself():
    seen = []

    def step(model, batch, optimizer):
        seen.append(1)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    trial = rc.race(rc.case(steps=30, train_step=step), rc.ReluHe(), seeds=(0,))
    assert trial.winner == "relu-he"


def test_cheap_races_do_about_half_the_work():
    def work(cheap):
        boards = []
        many = [rc.ReluHe(), rc.Redrawn(), rc.Smaller(), rc.NewOptimizer()]
        trial = rc.race(rc.case(steps=40), *many, seeds=(0,), cheap=cheap, progress=boards.append)
        return trial, boards[-1].done

    cheap, few = work(True)
    _, more = work(False)
    assert cheap.winner == "relu-he" and few < more


# ranks and statistics


def entrant(arm, *skills, loss=1.0, parts=("init",)):
    return Entrant(arm=arm, skills=skills, loss=loss, parts=parts)


def test_arms_are_ranked_by_skill_then_loss_then_fewer_parts():
    a = entrant("a", 0.9, loss=2.0)
    b = entrant("b", 0.895, loss=1.0)
    c = entrant("c", 0.5, loss=0.1)
    unknown = entrant("d", math.nan)
    assert [e.arm for e in ranked([unknown, c, a, b])] == ["b", "a", "c", "d"]
    whole = entrant("whole", 0.9, loss=0.1, parts=("init", "norm"))
    assert best_of([whole, a]).arm == "a"


def test_one_arm_of_every_kind_is_kept():
    many = [entrant(f"init {n}", 0.9 - n / 10) for n in range(5)]
    skip = entrant("skip", 0.0, parts=("skip",))
    worse = entrant("skip 2", -0.1, parts=("skip",))
    assert [e.arm for e in go_on([*many, worse, skip], 2)] == ["init 0", "init 1", "skip"]


def test_a_winner_gains_more_than_the_noise_and_loses_with_no_seed():
    assert wins((0.9, 0.8), (0.1, 0.2), 0.0)
    assert not wins((0.9, 0.15), (0.1, 0.2), 0.0)
    assert not wins((0.5, 0.5), (0.4, 0.4), 0.2)
    assert not wins((0.51, 0.51), (0.5, 0.5), 0.0)
    assert not wins((math.nan, 0.9), (0.1, 0.1), 0.0)


@pytest.mark.parametrize("freedom", [1, 2, 5, 9, 10, 20, 100])
def test_students_t_is_scipys(freedom):
    stats = pytest.importorskip("scipy.stats")
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=4e-3)


def test_intervals_are_students():
    found = interval([0.0, 1.0, 2.0])
    assert found.mean == 1 and found.high - found.mean == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert interval([0.5]).low == interval([0.5]).high == 0.5
    assert paired([1, 2], [0, 1]).difference == 1
    assert math.isnan(interval([]).mean)
    assert math.isnan(Measured(decades=math.nan, effective_depth=1).decades)
