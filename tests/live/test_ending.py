"""What a person is told at the end of a watched run, and what the run's exam leaves out."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.live.ending import lines
from fadeout.live.seen import Seen
from fadeout.live.telling import Telling
from fadeout.records import Noticed, Run, Track
from fadeout.render.run.facts import labels, past, took
from fadeout.render.run.page import run_page
from fadeout.render.sentences import about
from live import loops as ls
from live.test_watch import read


def track(name="Net", process="0:1", **fields):
    given = {"optimizer": "SGD lr 0.1", "steps": 9, "skipped": 0, "probes": (), "exam": None} | fields
    return Track(name=name, process=process, **given)


def run(*tracks, **fields):
    given = {"script": "x.py", "started": "", "exit_code": 0, "seconds": 100.0, "watching": 1.0} | fields
    return Run(tracks=tracks, **given)


@pytest.mark.parametrize(
    ("tracks", "names"),
    [
        ([("Net", "0:1")], ["Net"]),
        ([("Net", "0:1"), ("Net", "0:1"), ("Other", "0:1")], ["Net", "Net (2)", "Other"]),
        ([("Net", "0:1"), ("Net", "0:7")], ["Net, process 1", "Net, process 7"]),
        ([("Net", "0:1"), ("Net", "0:7"), ("Net", "0:7")],
         ["Net, process 1", "Net, process 7", "Net, process 7 (2)"]),
    ],
)  # fmt: skip
def test_no_two_networks_have_the_same_name(tracks, names):
    assert labels(run(*(track(name, process) for name, process in tracks))) == names


@pytest.mark.parametrize(
    ("seconds", "watching", "says"),
    [
        (1.0, 1.0, ""),
        (9.0, 3.0, ""),
        (1000.0, 12.0, "the watch took 1.2 %"),
        (30.0, 3.0, "on credit"),
        (0.0, 0.0, ""),
    ],
)
def test_a_share_is_told_where_it_means_something(seconds, watching, says, tmp_path):
    said = took(run(track(), seconds=seconds, watching=watching))
    assert (says in said) if says else not said
    assert "100" not in "".join(lines(run(track(), seconds=seconds, watching=watching), tmp_path / "run.db"))


def noticed(step, level, code="FO101"):
    return Noticed(step=step, code=code, level=level, text="" if level == "gone" else "a claim")


def test_what_was_told_and_is_gone_is_told_at_the_end(tmp_path):
    one = track(noticed=(noticed(3, "alarm"), noticed(40, "gone"), noticed(5, "warning", "FO209")))
    assert [(p.code, p.told, p.gone) for p in past(one)] == [("FO101", 3, 40)]
    assert any("alarm FO101 was told at step 3 and is gone since step 40" in x for x in lines(run(one), tmp_path))
    assert "no longer found" in run_page(run(one))


def test_every_change_is_told_once(capsys):
    kept = []
    telling = Telling(SimpleNamespace(notice=lambda track, one: kept.append(one)), live=True)
    model = SimpleNamespace(inner=ls.net(), steps=0, said={})
    finding = SimpleNamespace(code="FO101", level="alarm", claim="it fades")
    for step, there in enumerate([True, True, False, False, True, False]):
        model.steps = step
        telling.say(model, SimpleNamespace(findings=(finding,) if there else ()), several=False)
    assert [(one.step, one.level) for one in kept] == [(0, "alarm"), (2, "gone"), (4, "alarm"), (5, "gone")]
    assert capsys.readouterr().err.count("FO101 is gone") == 2


@pytest.mark.parametrize("code", [1, 130, -9])
def test_a_script_that_failed_before_it_trained_has_the_last_word(code, tmp_path):
    assert not lines(run(exit_code=code), tmp_path)
    assert any("NO OPTIMIZER STEP" in line for line in lines(run(exit_code=0), tmp_path))
    off = run(exit_code=0, gave_up=True, words=("the watch has switched itself off",))
    assert not any("NO OPTIMIZER STEP" in line for line in lines(off, tmp_path))


def trained(model, path, steps=12, rate=0.1):
    x, y = ls.data()
    optimizer = torch.optim.SGD(model.parameters(), rate)
    with fadeout.watch(model, optimizer, store=path, live=False) as seen:
        for _ in range(steps):
            optimizer.zero_grad()
            F.cross_entropy(model(x[:64]), y[:64]).backward()
            optimizer.step()
    return seen


def test_the_scalar_of_a_replay_is_not_shown_as_the_scripts_own(tmp_path):
    torch.manual_seed(0)
    seen = trained(ls.net(), tmp_path / "run.db")
    trunk = seen.exam.ledger.trunk
    assert trunk.entries and not any(edge.kind == "loss" for edge in trunk.entries)
    assert math.fsum(v for _, v in trunk.by_kind) == pytest.approx(trunk.log_gain, abs=1e-9)
    assert math.fsum(e.log_gain for e in trunk.entries) == pytest.approx(trunk.log_gain, abs=1e-6)
    page = run_page(read(tmp_path / "run.db"))
    assert "(1 mul)" not in page and "(1 sum)" not in page


def test_the_header_of_a_run_counts_no_batches_and_no_time(tmp_path):
    torch.manual_seed(0)
    seen = trained(ls.net(), tmp_path / "run.db")
    assert not any("batch" in part or part.startswith("<") for part in about(seen.exam))
    assert "12 steps" in repr(seen) and "Sequential" in repr(seen) and "flows" in repr(seen)


def test_a_rate_is_judged_before_its_own_consequences():
    """Of steps after one that has thrown the weights away, the change says nothing."""
    for start in (0.1, 1.5, 30.0):
        seen = Seen()
        for step, value in enumerate((start, 1e3 * start, 1e6 * start), 1):
            seen.note("update", step, torch.tensor([value]))
        seen.take(["body.weight"], [True])
        assert seen.updates["body"] == pytest.approx(start if start > 1 else 1e3 * start)


@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_network_that_is_dead_at_the_start_gets_advice_that_can_help(place, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(),
                          nn.Linear(24, 4))  # fmt: skip
    nn.init.constant_(model[place].bias, -30.0)
    seen = trained(model, tmp_path / "run.db", steps=30)
    (found,) = [f for f in seen.exam.findings if f.code == "FO105"]
    assert "slower" not in [t for advice in found.advice for t in advice.treatments]
    assert "smaller learning rate" not in found.advice[0].words
    assert any("smaller learning rate" in wont.what for wont in found.wont_help)
    assert "FO215" not in [f.code for f in seen.exam.findings], "the dead layer explains it"


def test_a_layer_without_a_gradient_is_named_as_a_layer(tmp_path):
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.Sequential(ls.net(2), nn.Linear(4, 4))

        def forward(self, x):
            return self.parts[0](x) + 0.0 * self.parts[1](x.new_zeros(len(x), 4))

    torch.manual_seed(0)
    seen = trained(Spare(), tmp_path / "run.db", steps=30)
    (found,) = [f for f in seen.exam.findings if f.code == "FO215"]
    assert found.claim.startswith("the layer parts.1 (Linear) never receives a gradient")
