"""Engines: the same jobs give the same pieces to the bit, and what hangs or dies is lost alone."""

import dataclasses
import os
import time
from functools import partial

import pytest
import torch

import race_cases as rc
from fadeout.engines import ENGINES, Job, engine_of
from fadeout.engines.held_out import HeldOut
from fadeout.engines.keeper import Keeper
from fadeout.errors import FadeoutError

JOBS = [
    Job(arm=name, treatment=treatment, seed=seed, stop=12, points=(6, 12), measure=seed == 0)
    for name, treatment in (
        ("none", None),
        ("relu-he", rc.ReluHe()),
        ("sgd", rc.NewOptimizer()),
        ("raises", rc.Raises()),
    )
    for seed in (0, 1)
]


def dropout():
    torch.manual_seed(torch.initial_seed())
    return torch.nn.Sequential(rc.mlp(depth=3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.3), torch.nn.Linear(3, 3))


def pieces(engine, jobs):
    found = [dataclasses.replace(piece, seconds=0.0) for piece in engine.run(jobs)]
    return sorted(found, key=lambda piece: (piece.arm, piece.seed))


def on(name, case, *rounds):
    engine = engine_of(name, partial(Keeper, case))
    try:
        return [pieces(engine, jobs) for jobs in rounds]
    finally:
        engine.close()


def further(jobs, stop):
    return [dataclasses.replace(job, start=job.stop, stop=stop) for job in jobs if job.arm != "raises"]


def test_processes_agree_with_here_to_the_bit():
    rounds = (JOBS, further(JOBS, 20))
    case = rc.case(dropout, steps=20)
    assert repr(on("processes", case, *rounds)) == repr(on("here", case, *rounds))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_agrees_with_here_to_the_bit():
    ray = pytest.importorskip("ray", reason="Ray is not installed; pip install 'fadeout[ray]'")
    case = rc.case(dropout, steps=20)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        jobs = JOBS[:4] + JOBS[-1:]
        rounds = (jobs, further(jobs[:1], 20))
        assert repr(on("ray", case, *rounds)) == repr(on("here", case, *rounds))
    finally:
        ray.shutdown()


def test_an_arm_that_goes_on_is_one_that_never_stopped():
    case = rc.case(dropout, steps=20)
    keeper = Keeper(case)
    whole = dataclasses.replace(JOBS[2], stop=20, points=(6, 12, 20))
    straight = keeper.do(dataclasses.replace(whole, goes_on=False), limited=False)
    keeper.do(dataclasses.replace(whole, stop=12), limited=False)
    assert keeper.holds(whole)
    resumed = keeper.do(dataclasses.replace(whole, start=12), limited=False)
    assert resumed.losses == straight.losses and resumed.curve == straight.curve


def test_what_need_not_be_kept_is_let_go():
    keeper = Keeper(rc.case())
    keeper.do(JOBS[0], limited=False)
    keeper.forget(["none"])
    assert not keeper.live and keeper.bytes == 0


def test_threads_are_put_back_and_random_state_is_left():
    before, state = torch.get_num_threads(), torch.get_rng_state()
    Keeper(rc.case(dropout)).do(JOBS[0], limited=True)
    assert torch.get_num_threads() == before and torch.equal(torch.get_rng_state(), state)


class Dies(rc.Own):
    id = "dies"
    title = "one whose process dies"
    parts = ("init",)

    def apply(self, patient):
        os._exit(9)


def test_a_worker_that_hangs_or_dies_loses_its_arm_only():
    jobs = [
        Job(arm="hangs", treatment=rc.Hangs(), seed=0, stop=5, limit=1.0),
        Job(arm="dies", treatment=Dies(), seed=0, stop=5),
        Job(arm="none", treatment=None, seed=0, stop=5),
    ]
    begun = time.perf_counter()
    (found,) = on("processes", rc.case(), jobs)
    assert time.perf_counter() - begun < 28
    why = {piece.arm: piece.failed for piece in found}
    assert "longer than" in why["hangs"] and "exit code 9" in why["dies"] and why["none"] == ""


def test_what_cannot_travel_is_told():
    import threading

    lock = threading.Lock()

    def make():
        assert not lock.locked()
        return rc.mlp()

    with pytest.raises(FadeoutError, match="can't be sent to another process"):
        engine_of("processes", partial(Keeper, rc.case(make)))


def test_skill_is_the_better_of_both_modes_and_leaves_no_trace():
    case = rc.case(dropout)
    setup = case.build(0)
    held = HeldOut(case, setup)
    before = {k: v.clone() for k, v in setup.model.state_dict().items()}
    first = held.skill()
    assert held.skill() == first
    assert all(torch.equal(v, before[k]) for k, v in setup.model.state_dict().items())
    assert setup.model.training


def test_skill_of_what_is_not_finite_is_the_worst():
    case = rc.case()
    setup = case.build(0)
    held = HeldOut(case, setup)
    with torch.no_grad():
        setup.model[0].weight.fill_(float("nan"))
    assert held.skill() == -1


def stacked(monkeypatch):
    from fadeout.engines import together

    sizes, train = [], together._train
    monkeypatch.setattr(together, "_train", lambda arms, job: (sizes.append(len(arms)), train(arms, job))[1])
    return sizes


def norms():
    return torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.BatchNorm1d(16), torch.nn.Tanh(), rc.mlp(depth=3))


@pytest.mark.parametrize("make", [rc.mlp, norms])
def test_arms_together_agree_with_arms_alone_but_for_rounding(make, monkeypatch):
    sizes = stacked(monkeypatch)
    case = rc.case(make, steps=20)
    jobs = [
        Job(arm=name, treatment=treatment, seed=seed, stop=8, points=(8, 16))
        for name, treatment in (("none", None), ("redrawn", rc.Redrawn()), ("relu-he", rc.ReluHe()))
        for seed in (0, 1)
    ]
    rounds = (jobs, further(jobs, 16))
    for joint, alone in zip(on("together", case, *rounds), on("here", case, *rounds), strict=True):
        for one, two in zip(joint, alone, strict=True):
            assert (one.arm, one.seed, one.steps) == (two.arm, two.seed, two.steps)
            assert one.losses == pytest.approx(two.losses, rel=1e-4)
            assert dict(one.curve) == pytest.approx(dict(two.curve), abs=0.05)
    assert sizes[0] >= 4 and len(sizes) >= 2


def test_arms_that_draw_random_numbers_run_alone(monkeypatch):
    sizes = stacked(monkeypatch)
    case = rc.case(dropout, steps=20)
    assert repr(on("together", case, JOBS)) == repr(on("here", case, JOBS))
    assert sizes  # it was tried, and vmap refused


def test_an_arm_that_diverges_in_a_stack_is_lost_alone(monkeypatch):
    sizes = stacked(monkeypatch)

    class Spoilt(rc.Own):
        id, title, parts = "spoilt", "a weight of inf", ("init",)

        def apply(self, patient):
            with torch.no_grad():
                patient.model[0].weight[0, 0] = float("inf")
                patient.model[0].weight[0, 1] = float("-inf")
            return rc.receipt(self)

    jobs = [
        Job(arm=name, treatment=treatment, seed=0, stop=6)
        for name, treatment in (("none", None), ("spoilt", Spoilt()), ("redrawn", rc.Redrawn()))
    ]
    (found,) = on("together", rc.case(), jobs)
    why = {piece.arm: piece.failed for piece in found}
    assert sizes == [3] and "not finite at step 1" in why["spoilt"] and why["none"] == why["redrawn"] == ""


def test_the_engines_are_a_table():
    assert {"here", "processes", "ray", "together"} == ENGINES.keys()
