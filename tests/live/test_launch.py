"""`fadeout run` on scripts as people write them: what they print and how they end is what it would be without."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fadeout.store.files import load

SCRIPTS = Path(__file__).with_name("scripts")
PLAIN = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def python(*args, cwd, **options):
    return subprocess.run(
        [sys.executable, *map(str, args)], capture_output=True, text=True, cwd=cwd, env=PLAIN, check=False, **options
    )


def watched(*args, cwd, own=()):
    return python("-m", "fadeout", "run", *own, *args, cwd=cwd)


def the_run(folder):
    (path,) = (folder / "fadeout-runs").glob("*.db")
    return load(path)


def told(text):
    """Lines of ours on the error stream, and the rest."""
    lines = text.splitlines()
    return [line for line in lines if line.startswith("fadeout: ")], [x for x in lines if not x.startswith("fadeout: ")]


@pytest.mark.parametrize("name", ["plain", "gan", "reinforce"])
def test_a_script_prints_and_trains_as_it_would_alone(name, tmp_path):
    alone = python(SCRIPTS / f"{name}.py", cwd=tmp_path)
    seen = watched(SCRIPTS / f"{name}.py", cwd=tmp_path)
    assert alone.returncode == seen.returncode == 0, seen.stderr
    assert seen.stdout == alone.stdout
    run = the_run(tmp_path)
    assert run.exit_code == 0 and all(track.exam is not None for track in run.tracks)
    assert len(run.tracks) == (2 if name == "gan" else 1)
    assert not any(track.exam.findings and track.exam.findings[0].level == "alarm" for track in run.tracks)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lightning_fit", "hugging_face", "accelerated"])
def test_frameworks(name, tmp_path):
    pytest.importorskip({"lightning_fit": "lightning", "hugging_face": "accelerate", "accelerated": "accelerate"}[name])
    alone = python(SCRIPTS / f"{name}.py", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    seen = watched(SCRIPTS / f"{name}.py", cwd=tmp_path)
    assert seen.returncode == 0 and seen.stdout.splitlines()[-1] == alone.stdout.splitlines()[-1], seen.stderr
    (track,) = the_run(tmp_path).tracks
    assert track.steps == {"lightning_fit": 30, "hugging_face": 20, "accelerated": 30}[name]
    assert track.exam is not None and track.exam.verdict == "flows", seen.stderr


@pytest.mark.slow
def test_a_compiled_script_has_no_new_break_and_no_new_graph(tmp_path):
    alone = python(SCRIPTS / "plain.py", "--compile", cwd=tmp_path)
    seen = watched(SCRIPTS / "plain.py", "--compile", cwd=tmp_path)
    assert alone.returncode == seen.returncode == 0, seen.stderr
    assert seen.stdout == alone.stdout
    assert the_run(tmp_path).tracks[0].exam is not None


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--compile",)])
def test_torchrun_writes_one_run(tmp_path, options):
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29617"]
    alone = python(*launcher, SCRIPTS / "ddp.py", *options, cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    seen = watched(*launcher, SCRIPTS / "ddp.py", *options, cwd=tmp_path)
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout == alone.stdout
    (track,) = the_run(tmp_path).tracks
    assert track.steps == 20 and track.exam is not None and track.exam.verdict == "flows"


@pytest.mark.slow
def test_sharded_parameters_give_the_norms_of_the_whole_without_a_collective(tmp_path):
    seen = watched(
        "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29618", SCRIPTS / "sharded.py",
        cwd=tmp_path,
    )  # fmt: skip
    assert seen.returncode == 0, seen.stderr
    expected = json.loads(re.search(r"done \S+ (\[.*\])", seen.stdout).group(1))
    (track,) = the_run(tmp_path).tracks
    samples = track.of("gradient")
    assert track.ranks == 2 and any("sharded" in word for word in the_run(tmp_path).words)
    for step, row in zip(samples.first, samples.low, strict=True):
        assert row == pytest.approx(expected[step - 1], rel=1e-4)


def test_spawned_processes_and_forked_workers(tmp_path):
    alone = python(SCRIPTS / "spawned.py", cwd=tmp_path)
    seen = watched(SCRIPTS / "spawned.py", cwd=tmp_path)
    assert seen.returncode == 0 and seen.stdout == alone.stdout, seen.stderr
    (track,) = the_run(tmp_path).tracks
    assert track.steps == 16 and track.exam is not None


def test_a_script_that_never_steps_is_told_loudly(tmp_path):
    seen = watched(SCRIPTS / "by_hand.py", cwd=tmp_path)
    assert seen.returncode == 0 and "NO OPTIMIZER STEP WAS SEEN" in seen.stderr
    assert "30 backward passes" in seen.stderr


@pytest.mark.parametrize(
    ("args", "code"), [(("raises",), 1), (("exits", "0"), 0), (("exits", "7"), 7), (("again",), 0)]
)
def test_a_script_ends_as_it_would_alone(args, code, tmp_path):
    alone = python(SCRIPTS / "ends.py", *args, cwd=tmp_path)
    seen = watched(SCRIPTS / "ends.py", *args, cwd=tmp_path)
    assert seen.returncode == alone.returncode == code
    assert seen.stdout == alone.stdout
    _, rest = told(seen.stderr)
    assert rest == alone.stderr.splitlines(), "the traceback is not the script's own"
    assert the_run(tmp_path).exit_code == code


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGINT"])
def test_a_script_that_a_signal_ends(name, tmp_path):
    alone = python(SCRIPTS / "ends.py", "killed", name, cwd=tmp_path)
    seen = watched(SCRIPTS / "ends.py", "killed", name, cwd=tmp_path)
    assert seen.returncode == alone.returncode
    assert the_run(tmp_path).tracks[0].steps == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_script(number, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "fadeout", "run", str(SCRIPTS / "ends.py"), "waits"], cwd=tmp_path, env=PLAIN,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if "waiting" in line:
            break
    process.send_signal(number)
    begun = time.monotonic()
    process.communicate(timeout=30)
    assert process.returncode == -number and time.monotonic() - begun < 20


@pytest.mark.parametrize("to_all", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_arrives_once(number, to_all, tmp_path):
    """Ctrl-C of a terminal goes to the whole group of processes, `kill` to one of them."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fadeout", "run", str(SCRIPTS / "ends.py"), "counts", number.name], cwd=tmp_path,
        env=PLAIN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    for line in process.stdout:
        if "waiting" in line:
            break
    os.killpg(process.pid, number) if to_all else process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert "signals 1" in out and process.returncode == 7, err


def test_nobody_is_left_when_a_run_is_killed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "fadeout", "run", str(SCRIPTS / "ends.py"), "waits"], cwd=tmp_path, env=PLAIN,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    for line in process.stdout:
        if "waiting" in line:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    group = subprocess.run(["ps", "-o", "args=", "-g", str(process.pid)], capture_output=True, text=True, check=False)
    left = [line for line in group.stdout.splitlines() if "fadeout run" in line]
    os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    assert not left, left


@pytest.mark.parametrize(
    ("script", "own", "code", "says"),
    [
        ("plain.py", "alarm", 0, ""),
        ("by_hand.py", "alarm", 2, "no optimizer step was seen, so nothing was judged"),
        ("by_hand.py", "never", 0, ""),
        ("unprobed.py", "warning", 2, "no probe could be taken, so nothing was judged"),
        ("unprobed.py", "never", 0, ""),
    ],
)
def test_a_gate_that_judged_nothing_does_not_pass(script, own, code, says, tmp_path):
    seen = watched(SCRIPTS / script, cwd=tmp_path, own=("--fail-on", own))
    assert seen.returncode == code and says in seen.stderr, seen.stderr
    (path,) = (tmp_path / "fadeout-runs").glob("*.db")
    later = python("-m", "fadeout", "report", path, "--json", "--fail-on", own, cwd=tmp_path)
    assert later.returncode == code and says in later.stderr
    if script == "unprobed.py":
        assert "the network's forward uses numbers" in seen.stderr and "the model failed" not in seen.stderr


def test_the_gate_leaves_a_failing_script_its_own_code(tmp_path):
    seen = watched(SCRIPTS / "ends.py", "exits", "7", cwd=tmp_path, own=("--fail-on", "alarm"))
    assert seen.returncode == 7 and "judged" not in seen.stderr


@pytest.mark.parametrize("text", ["import nothing_here\n", "print(1", "raise SystemExit(3)\n"])
def test_a_script_that_fails_before_it_trains_has_the_last_word(text, tmp_path):
    (tmp_path / "x.py").write_text(text)
    alone, seen = python("x.py", cwd=tmp_path), watched("x.py", cwd=tmp_path)
    assert seen.returncode == alone.returncode != 0
    assert "NO OPTIMIZER STEP" not in seen.stderr and not told(seen.stderr)[0]


def test_a_missing_run_is_told(tmp_path):
    seen = python("-m", "fadeout", "report", "nope.db", "page.html", cwd=tmp_path)
    assert seen.returncode == 2 and "there is no file nope.db" in seen.stderr


def test_a_kill_loses_at_most_the_last_second(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "fadeout", "run", "--quiet", str(SCRIPTS / "plain.py"), "--steps", "1000000"],
        cwd=tmp_path, env=PLAIN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    until, steps = time.monotonic() + 60, 0
    while time.monotonic() < until and steps < 500:
        time.sleep(0.5)
        found = list((tmp_path / "fadeout-runs").glob("*.db"))
        steps = load(found[0]).tracks[0].steps if found and load(found[0]).tracks else 0  # a reader at any time
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    run = the_run(tmp_path)
    assert run.tracks[0].steps >= steps > 0 and run.exit_code is None
    assert run.tracks[0].exam is not None


def test_a_deep_sigmoid_network_is_told_and_shuts_the_gate(tmp_path):
    seen = watched(
        SCRIPTS / "plain.py", "--sigmoid", "--depth", "16", "--steps", "40", cwd=tmp_path, own=("--fail-on", "alarm")
    )
    ours, _ = told(seen.stderr)
    assert seen.returncode == 1 and "VANISHING" in seen.stderr
    assert sum("alarm FO101" in line for line in ours) == 1
    (path,) = (tmp_path / "fadeout-runs").glob("*.db")
    page = tmp_path / "page.html"
    made = python("-m", "fadeout", "report", path, page, cwd=tmp_path)
    assert made.returncode == 0 and "Over the steps" in page.read_text()
    as_json = python("-m", "fadeout", "report", path, "--json", "--fail-on", "alarm", cwd=tmp_path)
    data = json.loads(as_json.stdout)
    assert as_json.returncode == 1 and data["verdict"] == "vanishing" and data["steps"] == 40
    assert data["since"]["FO101"] == 1 and data["exit_code"] == 0 and data["watch"]["share"] > 0
    assert data["script"].endswith("--sigmoid --depth 16 --steps 40")
    compared = python("-m", "fadeout", "compare", path, path, cwd=tmp_path)
    assert compared.returncode == 0


def test_a_module_is_run_as_python_runs_it(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "train.py").write_text((SCRIPTS / "plain.py").read_text())
    alone = python("-m", "pack.train", "--steps", "5", cwd=tmp_path)
    seen = watched("-m", "pack.train", "--steps", "5", cwd=tmp_path)
    assert seen.returncode == alone.returncode == 0 and seen.stdout == alone.stdout


def test_two_runs_in_one_folder(tmp_path):
    for _ in range(2):
        assert watched(SCRIPTS / "plain.py", "--steps", "3", cwd=tmp_path).returncode == 0
    assert len(list((tmp_path / "fadeout-runs").glob("*.db"))) == 2


def test_a_sitecustomize_of_the_users_own_still_runs(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sitecustomize.py").write_text("print('mine')\n")
    environment = {**PLAIN, "PYTHONPATH": str(tmp_path / "mine")}
    seen = subprocess.run(
        [sys.executable, "-m", "fadeout", "run", str(SCRIPTS / "plain.py"), "--steps", "2"], cwd=tmp_path,
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert seen.stdout.count("mine") == 2 and the_run(tmp_path).tracks  # once in ours, once in the script's


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("missing.py",), "no script missing.py"),
        ((), "which script"),
        (("--fail-on", "anything", "x.py"), "--fail-on is alarm, warning, never"),
        (("--budget", "200", "x.py"), "in per cent"),
    ],
)
def test_wrong_calls(args, says, tmp_path):
    (tmp_path / "x.py").write_text("print('never')\n")
    seen = python("-m", "fadeout", "run", *args, cwd=tmp_path)
    assert seen.returncode == 2 and says in seen.stderr and "never" not in seen.stdout


def test_a_folder_that_cannot_be_made_costs_the_run_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    seen = watched(SCRIPTS / "plain.py", "--steps", "3", cwd=tmp_path, own=("--folder", str(tmp_path / "file" / "x")))
    assert seen.returncode == 0 and "the run is kept in" in seen.stderr and "done" in seen.stdout


def test_the_share_of_the_watch_is_told(tmp_path):
    watched(SCRIPTS / "plain.py", "--steps", "20", cwd=tmp_path)
    run = the_run(tmp_path)
    assert 0 < run.watching <= run.seconds and math.isfinite(run.share)
