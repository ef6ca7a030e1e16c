"""What a script does with files in a race: the user's stay as they are, and the script finds what it wrote."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

BEGIN = """
import os, shutil, sys, time
from pathlib import Path
import torch
from fadeout.live.racing.trackers import Trackers
from fadeout.live.racing.untouched import Untouched
Untouched(sys.argv[1], float(sys.argv[2])).begin()
trackers = Trackers(sys.argv[1])
trackers.begin()
"""

FORMS = {
    "torch.save": "torch.save(1, 'kept.pt'); assert torch.load('kept.pt') == 1",
    "open for writing": "open('kept.txt', 'w').write('new'); assert open('kept.txt').read() == 'new'",
    "open for appending": "open('kept.txt', 'a').write('!'); assert Path('kept.txt').read_text() == 'mine!'",
    "save beside, then replace": (
        "torch.save(1, 'a.tmp'); os.replace('a.tmp', 'kept.pt'); assert torch.load('kept.pt') == 1"
    ),
    "write beside, then rename": (
        "open('a.tmp', 'w').write('new'); os.rename('a.tmp', 'kept.txt'); assert open('kept.txt').read() == 'new'"
    ),
    "pathlib": "Path('a').write_text('new'); Path('a').replace('kept.txt'); assert open('kept.txt').read() == 'new'",
    "shutil.move": "open('a', 'w').write('new'); shutil.move('a', 'kept.txt'); assert open('kept.txt').read() == 'new'",
    "the user's renamed": "os.rename('kept.txt', 'old.txt'); assert open('old.txt').read() == 'mine'",
    "removed": "os.remove('kept.txt'); Path('kept.pt').unlink()",
    "removed and made anew": "os.remove('kept.txt'); open('kept.txt', 'w').write('new'); os.remove('kept.txt')",
    "a folder cleared": "shutil.rmtree('out'); os.makedirs('out'); open('out/b.txt', 'w').write('new')",
    "a folder cleared, by keyword": "shutil.rmtree(path='out'); os.makedirs(name='out'); os.mkdir('out/in')",
    "safetensors": (
        "from safetensors.torch import save_file, load_file; save_file({'a': torch.ones(2)}, 'kept.safetensors');"
        "assert load_file('kept.safetensors')['a'].sum() == 2"
    ),
}  # fmt: skip


def ran(code, folder, home):
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + textwrap.dedent(code), str(folder), str(time.time())],
        cwd=home, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.fixture
def home(tmp_path):
    """A folder with files of the user's."""
    if "/tmp/tmp" in str(tmp_path):
        pytest.skip("such folders count as nobody's")
    mine = tmp_path / "home"
    (mine / "out" / "in").mkdir(parents=True)
    for name in ("kept.txt", "kept.pt", "kept.safetensors", "out/a.txt", "out/in/c.txt"):
        (mine / name).write_text("mine")
    (tmp_path / "run").mkdir()
    time.sleep(0.3)  # files that are younger than the run are the run's
    return mine


@pytest.mark.parametrize("code", FORMS.values(), ids=FORMS)
def test_the_users_files_stay_and_the_script_reads_what_it_wrote(code, home, tmp_path):
    if "safetensors" in code:
        pytest.importorskip("safetensors")
    before = of(home)
    ran(code, tmp_path / "run", home)
    after = of(home)
    assert {name: after.get(name) for name in before} == before


def test_what_the_script_made_itself_it_moves_and_removes(home, tmp_path):
    code = """
    os.makedirs("mine/deep"); open("mine/deep/a", "w").write("1"); os.rename("mine/deep/a", "mine/b")
    assert os.path.exists("mine/b") and not os.path.exists("mine/deep/a")
    os.remove("mine/b"); shutil.rmtree("mine"); assert not os.path.exists("mine")
    """
    ran(code, tmp_path / "run", home)


FAKE = {
    "wandb": """
        mode = None
        def log(data): raise AssertionError("sent")
        def init(project=None, mode="online"):
            globals()["mode"] = mode
            globals()["log"] = lambda data: None
            return Run()
        class Run:
            def log(self, data): pass
    """,
    "mlflow": """
        import os
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        def set_tracking_uri(given): global uri; uri = given
        def log_metric(key, value, step=None): pass
        def log_metrics(metrics, step=None): pass
    """,
    "tensorboardX": """
        import sys, types
        from tensorboardX.writer import SummaryWriter
    """,
}


def test_trackers_write_into_the_run_and_what_they_are_told_is_noted(home, tmp_path):
    fakes = tmp_path / "fakes"
    for name in ("wandb", "mlflow", "tensorboardX"):
        (fakes / name).mkdir(parents=True)
        (fakes / name / "__init__.py").write_text(textwrap.dedent(FAKE[name]))
    (fakes / "tensorboardX" / "writer.py").write_text(
        "class SummaryWriter:\n"
        "    def __init__(self, logdir=None): self.logdir = logdir; open(logdir + '/events', 'w').write('x')\n"
        "    def add_scalar(self, tag, value, step=None): pass\n"
    )
    code = f"""
    sys.path.insert(0, {str(fakes)!r})
    import wandb, mlflow
    from tensorboardX import SummaryWriter
    run = wandb.init(project="p", mode="online")
    assert wandb.mode == "disabled"
    wandb.log({{"val/acc": torch.tensor(0.5), "text": "none"}}); run.log({{"val/acc": 0.75}})
    mlflow.set_tracking_uri("http://somewhere"); assert mlflow.uri != "http://somewhere"
    mlflow.log_metric("f1", 0.25, step=3); mlflow.log_metrics({{"f2": 0.5}})
    for writer in (SummaryWriter(), SummaryWriter("out"), SummaryWriter(logdir="out")):
        writer.add_scalar("loss/test", 1.5, 7); writer.add_scalar(tag="x", value=2)
        assert writer.logdir.startswith(sys.argv[1])
    print(trackers.logged, trackers.used)
    """
    before = of(home)
    said = ran(code, tmp_path / "run", home)
    assert of(home) == before
    for part in ("('val/acc', 0.5), ('val/acc', 0.75)", "('f1', 0.25), ('f2', 0.5)", "('loss/test', 1.5), ('x', 2.0)"):
        assert part in said, said
    assert "Weights & Biases" in said and "TensorBoard" in said


def test_the_environment_of_a_run_keeps_trackers_still(tmp_path):
    from fadeout.live.racing.order import Order

    told = Order(role="scout", folder=str(tmp_path)).environment()
    assert told["WANDB_MODE"] == "disabled" and str(tmp_path) in told["MLFLOW_TRACKING_URI"]
    assert os.path.isabs(told["MLFLOW_TRACKING_URI"].removeprefix("file:"))
