"""fadeout treat, from a function in a file to a proven diff of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fadeout.errors import FadeoutError
from fadeout.remedy import divided, remedy
from fadeout.target import Target, make
from fadeout.treatments import BY_ID

SICK = """
import torch
from torch import nn


def build():
    torch.manual_seed(torch.initial_seed() % 1000)
    layers = []
    for _ in range(12):
        layers.append(nn.Linear(64, 64))
        layers.append(nn.Sigmoid())
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, None, nn.functional.cross_entropy, optimizer
"""
HEALTHY = """
import torch
from torch import nn


def build():
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return model, None, nn.functional.cross_entropy, torch.optim.Adam(model.parameters(), lr=1e-3)
"""
FEW = [BY_ID[name] for name in ("relu", "init_batchnorm", "layer_norm", "slower")]


def digits(rows=64, count=18):
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x, dtype=torch.float32)[: rows * count]
    x, y = (x - x.mean()) / x.std(), torch.tensor(y)[: rows * count]
    return list(zip(x.split(rows), y.split(rows), strict=True))


def treated(tmp_path, source, **options):
    path = tmp_path / "net.py"
    path.write_text(source)
    spec = f"{path}:build"
    given = {"steps": 120, "seeds": (0, 1), "engine": "here", "arms": 0, "treatments": FEW, **options}
    return path, remedy(
        lambda: make(spec, verb="treat"), spec, batches=digits(), loss=F.cross_entropy, optimizer=None, **given
    )


@pytest.fixture(scope="module")
def cured(tmp_path_factory):
    return treated(tmp_path_factory.mktemp("sick"), SICK)


def test_a_sick_program_is_cured_and_the_diff_is_proven(cured):
    path, found = cured
    trial = found.trial
    assert found.exam.verdict == "vanishing"
    assert trial.winner in ("relu", "init_batchnorm")
    best = next(arm for arm in trial.arms if arm.treatment == trial.winner and arm.state == "done")
    control = next(arm for arm in trial.arms if arm.role == "control")
    assert best.skill.mean > 0.6 > 0.2 > control.skill.mean
    assert {w.treatment for w in trial.wont_help} >= {"layer_norm", "slower"}
    assert found.patch.checked and trial.patch.startswith("--- a/")
    assert path.read_text() == SICK


def test_the_patched_source_builds_a_network_whose_gradient_flows(cured, tmp_path):
    import fadeout

    _, found = cured
    copy = tmp_path / "patched.py"
    copy.write_text(next(iter(found.patch.files.values())))
    target = make(f"{copy}:build", verb="treat")
    assert fadeout.examine(target.model, digits()[0], loss=F.cross_entropy).verdict == "flows"


def test_a_healthy_program_is_left_as_it_is(tmp_path):
    _, found = treated(tmp_path, HEALTHY, steps=80)
    control = next(arm for arm in found.trial.arms if arm.role == "control")
    winner = next((a for a in found.trial.arms if a.treatment == found.trial.winner), None)
    assert winner is None or winner.skill.mean >= control.skill.mean


def test_without_an_optimizer_it_says_what_to_add():
    target = Target(model=nn.Linear(3, 2), batch=None, loss=None, optimizer=None)
    with pytest.raises(FadeoutError, match="--optimizer"):
        remedy(
            lambda: target, "x.py:build", batches=[(torch.randn(8, 3), torch.randn(8, 2))] * 4, loss=F.mse_loss,
            optimizer=None, steps=20, seeds=(0,), engine="here", arms=2,
        )  # fmt: skip


def test_one_batch_of_rows_is_cut_and_a_part_held_out():
    x, y = torch.randn(100, 3), torch.randn(100, 2)
    trained, held_out = divided([(x, y)])
    assert sum(len(b[0]) for b in trained) + sum(len(b[0]) for b in held_out) == 100
    assert held_out and all(len(b[0]) <= 32 for b in trained)
    assert divided([1, 2, 3, 4, 5, 6]) == ([1, 2, 3, 4, 5], [6])


@pytest.mark.slow
def test_the_command_prints_the_contract_and_writes_diff_and_page(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(SICK)
    command = [
        sys.executable, "-m", "fadeout", "treat", "net.py:build", "--data", "digits", "--steps", "60", "--seeds", "1",
        "--arms", "3", "--json", "--patch", "out.diff", "--html", "race.html", "--apply",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["schema"] == "fadeout.trial/1"
    assert data.keys() >= {"case", "seeds", "steps", "arms", "winner", "over_control", "wont_help", "patch", "recipe"}
    assert data["arms"][0].keys() >= {
        "treatment", "title", "role", "state", "why", "skill", "loss", "decades", "effective_depth", "seconds",
    }  # fmt: skip
    assert (tmp_path / "out.diff").read_text() == data["patch"]
    assert (tmp_path / "net.py.orig").read_text() == SICK != path.read_text()
    assert "<html" in (tmp_path / "race.html").read_text()[:500].lower()
    assert Path(tmp_path / "race.html").stat().st_size > 100_000


CLASSY = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(10))
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        for layer in self.layers:
            x = torch.sigmoid(layer(x))
        return self.head(x)


def build():
    model = Net()
    return model, None, nn.functional.cross_entropy, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
"""


def test_a_class_in_the_users_file_travels_to_worker_processes(tmp_path):
    few = {"steps": 40, "seeds": (0,), "treatments": FEW[:2]}
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    _, one = treated(tmp_path / "a", CLASSY, engine="here", **few)
    _, other = treated(tmp_path / "b", CLASSY, engine="processes", **few)
    assert [arm.skill for arm in one.trial.arms] == [arm.skill for arm in other.trial.arms]


def run(folder, *given):
    return subprocess.run(
        [sys.executable, "-m", "fadeout", "treat", *given], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--patch", "no/such/out.diff"), "no folder"),
        (("--optimizer", "adam", "--lr", "-1"), "check --lr"),
        (("--optimizer", "foo"), "treat: there is no optimizer 'foo'"),
        (("--engine", "foo"), "engine"),
        (("--shape", "64x"), "no shape of one sample"),
    ],
)
def test_a_wrong_call_ends_with_two_before_anything_is_trained(tmp_path, given, words):
    (tmp_path / "net.py").write_text(SICK)
    done = run(tmp_path, "net.py:build", *(() if "--shape" in given else ("--data", "digits")), *given)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert done.stdout == "" and (tmp_path / "net.py").read_text() == SICK


def test_a_small_gain_among_scattered_seeds_wins_nothing():
    from fadeout.racing.ranks import wins

    assert wins((0.9, 0.8), (0.1, 0.3), 0.0)
    assert not wins((0.95, 0.70), (0.70, 0.69), 0.0)  # 0.13 in the mean, and its interval holds zero
    assert wins((0.83, 0.84, 0.83), (0.70, 0.70, 0.70), 0.0)
    assert not wins((0.9, 0.2), (0.1, 0.3), 0.0)
