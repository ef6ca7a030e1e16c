"""`fadeout race` on scripts as people write them: a winner where there is one, and none where losses rank nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).with_name("scripts")
PLAIN = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
DEEP = """
import torch, torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
x = torch.randn(512, 16)
y = x[:, :4].argmax(1)
layers = []
for _ in range(8):
    layers += [nn.Linear(16, 16), nn.Sigmoid()]
model = nn.Sequential(*layers, nn.Linear(16, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(400):
    rows = torch.randint(len(x), (64,))
    loss = F.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
LOADED = """
import torch, torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
model.load_state_dict({k: v * 1.5 for k, v in model.state_dict().items()})
optimizer = torch.optim.Adam(model.parameters(), 1e-4)
with open("log.txt", "w") as log:
    log.write("written over")
assert open("log.txt").read() == "written over"
for step in range(15):
    x = torch.randn(32, 8)
    loss = F.mse_loss(model(x), x[:, :2] * x[:, 2:4])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    torch.save(model.state_dict(), "model.pt")
model.load_state_dict(torch.load("model.pt"))
open("new.txt", "w").write("new")
"""


def race(*args, cwd):
    return subprocess.run(
        [sys.executable, "-m", "fadeout", "race", *map(str, args)],
        capture_output=True, text=True, cwd=cwd, env=PLAIN, check=False,
    )  # fmt: skip


def raced(*args, cwd):
    done = race(*args, "--json", cwd=cwd)
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


def noted(trial, word):
    return next((note for note in trial["notes"] if word in note), "")


@pytest.mark.slow
def test_a_deep_sigmoid_script_gets_a_winner_and_a_patch_that_does_what_the_arm_did(tmp_path):
    (tmp_path / "deep.py").write_text(DEEP)
    trial = raced("deep.py", "--steps", 120, "--treatment", "init_adam", "--patch", "cure.diff", cwd=tmp_path)
    assert trial["schema"] == "fadeout.trial/1" and trial["case"] == "deep.py"
    assert trial["winner"] == "init_adam" and trial["noise"] == 0
    arms = {arm["treatment"]: arm for arm in trial["arms"]}
    assert arms["init_adam"]["skill"]["mean"] > 0.3 > arms["none"]["skill"]["mean"]
    assert arms["none"]["role"] == "control" and arms["none"]["steps"] == 120
    assert "torch.optim.Adam" in trial["patch"] and (tmp_path / "cure.diff").read_text() == trial["patch"]
    assert "to the last bit" in noted(trial, "patched script"), trial["notes"]
    assert "agree at every step" in noted(trial, "same data")
    assert (tmp_path / "deep.py").read_text() == DEEP


@pytest.mark.slow
def test_a_patch_without_draws_gives_the_losses_of_the_arm_with_no_help(tmp_path):
    (tmp_path / "deep.py").write_text(DEEP.replace("range(8)", "range(1)").replace("lr=0.1", "lr=0.01"))
    trial = raced("deep.py", "--steps", 60, "--treatment", "faster", cwd=tmp_path)
    assert trial["winner"] == "faster"
    assert "lr=0.1" in trial["patch"]
    assert "are those of the arm, to the last bit" in noted(trial, "patched script"), trial["notes"]
    assert "draws" not in noted(trial, "patched script")


@pytest.mark.slow
@pytest.mark.parametrize("script", ["gan.py", "gan_at_once.py"])
def test_an_adversarial_pair_gets_no_winner_by_loss(script, tmp_path):
    done = race(SCRIPTS / script, "--steps", 15, "--arms", 1, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "NO WINNER" in done.stdout and "adversarial" in done.stdout and "--metric" in done.stdout


@pytest.mark.slow
def test_a_policy_gets_no_winner_by_loss(tmp_path):
    trial = raced(SCRIPTS / "reinforce.py", "--steps", 15, "--arms", 1, cwd=tmp_path)
    assert trial["winner"] is None and "reinforcement" in trial["undecided"]


@pytest.mark.slow
def test_loaded_weights_are_not_drawn_anew_and_files_stay_untouched(tmp_path):
    (tmp_path / "loaded.py").write_text(LOADED)
    (tmp_path / "log.txt").write_text("mine")
    (tmp_path / "model.pt").write_text("mine")
    trial = raced("loaded.py", "--arms", 2, cwd=tmp_path)
    assert "load_state_dict" in noted(trial, "refused") and "init" in noted(trial, "refused")
    assert not any("init" in arm["treatment"] for arm in trial["arms"])
    assert (tmp_path / "log.txt").read_text() == (tmp_path / "model.pt").read_text() == "mine"
    assert "log.txt, model.pt" in noted(trial, "written over") and "new.txt" in noted(trial, "new files")


RACED = {  # script, what it needs, treatment, options, arguments
    "a loss scaler that leaves out steps": ("scaled.py", "", "gelu", (), ()),
    "LBFGS": ("lbfgs.py", "", "init_layernorm_adam", (), ()),
    "two optimizers of one network": ("two_groups.py", "", "init_layernorm_adam", (), ()),
    "two networks under one loss": ("encoder_decoder.py", "", "init_layernorm_adam", (), ()),
    "a thread": ("threaded.py", "", "init_adam", (), ()),
    "a fork whose parent waits for its answer": ("answers.py", "", "init_adam", (), ("fork",)),
    "a spawned process whose parent waits for its answer": ("answers.py", "", "init_adam", (), ("spawn",)),
    "two spawned workers under DDP": ("spawned_pair.py", "", "init_adam", (), ("29741",)),
    "Accelerate": ("accelerated.py", "accelerate", "init_layernorm_adam", (), ()),
    "a metric that is printed": ("printed.py", "", "init_adam", ("--metric", "val_acc", "--steps", 48), ()),
    "a metric that Lightning logs": (
        "lightning_logged.py", "lightning", "init_adam", ("--metric", "val_acc", "--steps", 48), ()
    ),
    "two seeds": ("printed.py", "", "init_adam", ("--seeds", 2), ()),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(("script", "needs", "treatment", "options", "own"), RACED.values(), ids=RACED)
def test_every_way_to_train_gives_comparable_arms(script, needs, treatment, options, own, tmp_path):
    if needs:
        pytest.importorskip(needs)
    trial = raced("--steps", 20, "--treatment", treatment, *options, SCRIPTS / script, *own, cwd=tmp_path)
    assert trial["undecided"] == "" and trial["noise"] == 0, trial["undecided"]
    assert "agree at every step" in noted(trial, "same data"), trial["notes"]
    arms = {arm["treatment"]: arm for arm in trial["arms"]}
    for name in ("none", treatment):
        assert arms[name]["state"] == "done" and arms[name]["skill"]["mean"] is not None, arms[name]
    assert not list(tmp_path.iterdir()), "files of the race beside the user's own"
    assert not any("Error" in note or "run again" in note for note in trial["notes"]), trial["notes"]
    if "--metric" in options:
        assert "val_acc" in trial["scale"]


@pytest.mark.slow
def test_sharded_weights_are_refused_in_a_sentence(tmp_path):
    done = race(
        "--steps", 10, "-m", "torch.distributed.run", "--nproc_per_node", 2, "--master_port", 29742,
        SCRIPTS / "sharded.py", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2 and "sharded" in done.stderr and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (None, 2, "there is no script"),
        ("import torch\nraise RuntimeError('no data here')", 3, "no data here"),
        ("import torch\nprint('nothing to do')", 2, "no optimizer"),
        ("print('no torch')", 2, "never imported torch"),
    ],
)
def test_a_script_that_can_not_race_says_why(text, code, said, tmp_path):
    if text is not None:
        (tmp_path / "bad.py").write_text(text)
    done = race("bad.py", cwd=tmp_path)
    assert done.returncode == code and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_options_are_said_before_anything_is_started(tmp_path):
    (tmp_path / "bad.py").write_text("open('ran', 'w')")
    for options, said in (
        (("--metric", "(", "bad.py"), "no regular expression"),
        (("--timeout", "0", "bad.py"), "--timeout counts seconds"),
        (("--patch", "nowhere/p.diff", "bad.py"), "there is no folder"),
        ((), "which script?"),
    ):
        done = race(*options, cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_script_that_hangs_is_ended(tmp_path):
    (tmp_path / "hangs.py").write_text("import time, torch\ntime.sleep(600)")
    done = race("--timeout", 8, "hangs.py", cwd=tmp_path)
    assert done.returncode == 2 and "took longer than 8 s" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_script_too(number, tmp_path):
    code = "import os, time, torch\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)"
    (tmp_path / "hangs.py").write_text(code)
    child = subprocess.Popen(
        [sys.executable, "-m", "fadeout", "race", "hangs.py"], cwd=tmp_path, env=PLAIN, stderr=subprocess.PIPE
    )
    pid = tmp_path / "pid"
    for _ in range(1200):
        if pid.exists() and pid.read_text():
            break
        time.sleep(0.1)
    child.send_signal(number)
    assert child.wait(60) == 130
    assert child.stderr is not None
    child.stderr.close()
    time.sleep(0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
